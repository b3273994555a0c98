"""Losses that attacks make larger, one number per image, and the best points found."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lipjax.attacks.projections import per_image

Loss = Callable[[jax.Array, jax.Array], jax.Array]
"""logits [n, C] and labels [n] to losses [n]."""

Logits = Callable[[jax.Array], jax.Array]
"""Images [n, ...] to logits [n, C]."""


def targeted_dlr(rank: int = 1) -> Loss:
    r"""The targeted difference of logits ratio, towards a runner-up.

    .. math:: -\frac{z_y - z_t}{z_{\pi_1} - (z_{\pi_3} + z_{\pi_4}) / 2}

    pi sorts the logits, largest first. The ratio does not depend on their scale.

    Args:
      rank: the target t is the class with the rank-th largest logit among the others.

    Returns:
      A loss; it raises ValueError for fewer than four classes.

    References: Croce & Hein, Reliable evaluation of adversarial robustness, ICML 2020.

    Example:
      >>> targeted_dlr()(jnp.array([[4.0, 3.0, 2.0, 0.0]]), jnp.array([0]))
      Array([-0.33333334], dtype=float32)
    """

    def loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
        if logits.shape[1] < 4:
            raise ValueError(f"the ratio needs four classes: {logits.shape[1]}")
        own = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
        is_own = jnp.arange(logits.shape[1])[None] == labels[:, None]
        others = lax.top_k(jnp.where(is_own, -jnp.inf, logits), rank)[0]
        ranked = lax.top_k(logits, 4)[0]
        spread = ranked[:, 0] - (ranked[:, 2] + ranked[:, 3]) / 2
        return (others[:, -1] - own) / jnp.maximum(spread, 1e-12)

    return loss


class Best(NamedTuple):
    """The best points so far, their losses, and whether they are misclassified."""

    point: jax.Array
    loss: jax.Array
    found: jax.Array


def evaluate(logits: Logits, loss: Loss, x: jax.Array, labels: jax.Array):
    """Losses [n], whether each is misclassified, and the losses' gradients."""

    def total(x):
        z = logits(x)
        values = loss(z, labels)
        return jnp.sum(values), (values, jnp.argmax(z, axis=1) != labels)

    gradient, (values, found) = jax.grad(total, has_aux=True)(x)
    return values, found, gradient


def better(old: Best, new: Best) -> Best:
    """Per image: a misclassified point before others, then the larger loss."""
    wins = (new.found & ~old.found) | ((new.found == old.found) & (new.loss > old.loss))
    return jax.tree.map(lambda o, n: jnp.where(per_image(wins, n), n, o), old, new)
