"""Projected gradient ascent."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from lipjax.attacks.losses import Best, Logits, Loss, better, evaluate
from lipjax.attacks.projections import directions, on_sphere, per_image, project
from lipjax.losses import cross_entropy


def pgd(
    logits: Logits,
    x: jax.Array,
    labels: jax.Array,
    radius: jax.Array | float,
    key: jax.Array | None,
    *,
    loss: Loss = cross_entropy,
    steps: int = 20,
    box: bool = True,
) -> jax.Array:
    """Attacks each image by projected gradient ascent.

    The search starts at a random point at a tenth of the radius, or at the image. A
    step goes 2.5 radius / steps along the gradient, scaled to norm 1.

    Args:
      logits: the network, as a function that `jax.jit` can trace.
      x: images of shape [n, ...] in [0, 1].
      labels: of shape [n].
      radius: l2, one or [n].
      key: for the starting points; None: start at the images.
      loss: what to make larger.
      steps: gradients.
      box: whether pixels must stay in [0, 1].

    Returns:
      Points [n, ...] in the balls: a misclassified one if any was met, else the one of
      the largest loss.

    References: Madry et al., Towards deep learning models resistant to adversarial
    attacks, 2018.

    Example:
      >>> x = jnp.full((1, 2), 0.5)
      >>> y = pgd(lambda x: x, x, jnp.array([0]), 0.1, jax.random.key(0))
      >>> [f"{v:.2f}" for v in y[0]]
      ['0.43', '0.57']
    """
    radius = jnp.broadcast_to(jnp.asarray(radius, x.dtype), len(x))
    rate = per_image(2.5 * radius / steps, x)

    def step(_, carry):
        point, best = carry
        value, found, gradient = evaluate(logits, loss, point, labels)
        best = better(best, Best(point, value, found))
        moved = point + rate * directions(gradient)
        return project(moved, x, radius, box), best

    value, found, _ = evaluate(logits, loss, x, labels)
    best = Best(x, value, found)
    start = x if key is None else _near(key, x, 0.1 * radius)
    start = project(start, x, radius, box)
    point, best = lax.fori_loop(0, steps, step, (start, best))
    value, found, _ = evaluate(logits, loss, point, labels)
    return better(best, Best(point, value, found)).point


def _near(key: jax.Array, x: jax.Array, radius: jax.Array) -> jax.Array:
    return on_sphere(jax.random.fold_in(key, 0), x, radius)
