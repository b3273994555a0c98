"""One evaluation of a batch, and the best of several: what all attacks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lipjax.attacks.losses import Loss
from lipjax.attacks.projections import per_image

Logits = Callable[[jax.Array], jax.Array]
"""Images [n, ...] to logits [n, C]."""


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
