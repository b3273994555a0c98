"""Radii from logits: how far the features may move before another class wins.

Everything here is exact-arithmetic mathematics on the numbers given; the rounding of
the floating-point execution that produced them is not counted.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Radii(NamedTuple):
    """Predictions with the radius inside which they cannot change, for n images."""

    prediction: jax.Array  # [n], int32
    radius: jax.Array  # [n], l2
    runner_up: jax.Array  # [n], int32: the class whose certificate binds


def margins(logits: jax.Array, classes: jax.Array) -> jax.Array:
    """Differences l_y - l_t of shape [n, C]: one row per image, y its class.

    Args:
      logits: of shape [n, C].
      classes: y, of shape [n].
    """
    own = jnp.take_along_axis(logits, classes[:, None], axis=1)
    return own - logits


def linear_radii(
    logits: jax.Array, classes: jax.Array, distances: jax.Array
) -> jax.Array:
    r"""Radii of a linear head against every class.

    .. math:: r_t = (l_y - l_t) / \|w_y - w_t\|_2

    Args:
      logits: of shape [n, C].
      classes: y, of shape [n].
      distances: \|w_y - w_t\| of every pair, of shape [C, C].

    Returns:
      Signed radii of shape [n, C] in feature space: negative where t wins, 0 at a tie,
      infinite for t = y and where the margin cannot change.

    References: Singla, Singla & Feizi, ICLR 2022, section 4.

    Example:
      >>> d = jnp.full((3, 3), 2.0**0.5)
      >>> r = linear_radii(jnp.array([[3.0, 1.0, 2.0]]), jnp.array([0]), d)
      >>> print(r.round(3))
      [[  inf 1.414 0.707]]
    """
    gaps = margins(logits, classes)
    distance = distances[classes]
    radii = jnp.where(
        distance > 0,
        gaps / jnp.where(distance > 0, distance, 1),
        jnp.where(gaps > 0, jnp.inf, jnp.where(gaps < 0, -jnp.inf, 0)),
    )
    return without_own_class(radii, classes)


def without_own_class(radii: jax.Array, classes: jax.Array) -> jax.Array:
    """Radii of shape [n, C] with infinity in the column of the image's own class."""
    own = jnp.arange(radii.shape[1], dtype=classes.dtype)[None] == classes[:, None]
    return jnp.where(own, jnp.inf, radii)


def binding_radius(
    pair_radii: jax.Array, prediction: jax.Array, labels: jax.Array | None = None
) -> Radii:
    """The smallest radius over all other classes; a tie or a wrong class certifies 0.

    Args:
      pair_radii: of shape [n, C], infinite in the column of the prediction.
      prediction: of shape [n].
      labels: of shape [n]; where they differ from the prediction the radius is 0.

    Example:
      >>> r = binding_radius(jnp.array([[jnp.inf, 0.5, 0.2]]), jnp.array([0]))
      >>> float(r.radius[0]), int(r.runner_up[0])
      (0.20000000298023224, 2)
    """
    runner_up = jnp.argmin(pair_radii, axis=1).astype(jnp.int32)
    radius = jnp.maximum(jnp.min(pair_radii, axis=1), 0)
    if labels is not None:
        radius = jnp.where(prediction == labels, radius, 0)
    return Radii(prediction.astype(jnp.int32), radius, runner_up)
