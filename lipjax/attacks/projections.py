"""l2 balls and spheres around images: projections, random points, directions."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def project(
    x: jax.Array, center: jax.Array, radius: jax.Array | float, box: bool = True
) -> jax.Array:
    """Moves each point into the ball around its center, and into [0, 1].

    Args:
      x: points of shape [n, ...].
      center: of the same shape; in [0, 1] if `box`.
      radius: l2, one or [n].
      box: whether pixels must lie in [0, 1].

    Returns:
      Points of the same shape. Clipping moves them towards centers in the box, so they
      stay in the balls.

    Example:
      >>> project(jnp.array([[3.0, 0.0]]), jnp.zeros((1, 2)), 0.5)
      Array([[0.5, 0. ]], dtype=float32)
    """
    delta = x - center
    length = lengths(delta)
    radius = jnp.broadcast_to(radius, len(x)).astype(x.dtype)
    scale = jnp.where(length > radius, radius / jnp.where(length > 0, length, 1), 1)
    moved = center + per_image(scale, delta) * delta
    return jnp.clip(moved, 0, 1) if box else moved


def on_sphere(
    key: jax.Array, center: jax.Array, radius: jax.Array | float
) -> jax.Array:
    """Draws points uniformly from spheres around images [n, ...]; radius one or [n]."""
    delta = jax.random.normal(key, center.shape, center.dtype)
    radius = jnp.broadcast_to(radius, len(center)).astype(center.dtype)
    return center + per_image(radius / lengths(delta), delta) * delta


def lengths(delta: jax.Array) -> jax.Array:
    """l2 norm of each image [n, ...], of shape [n]."""
    return jnp.linalg.norm(delta.reshape(len(delta), -1), axis=1)


def directions(gradient: jax.Array) -> jax.Array:
    """Each image's gradient scaled to norm 1; a zero gradient stays zero."""
    length = lengths(gradient)
    scale = jnp.where(length > 0, 1 / jnp.where(length > 0, length, 1), 0)
    return per_image(scale, gradient) * gradient


def per_image(values: jax.Array, like: jax.Array) -> jax.Array:
    """Values [n], reshaped to broadcast against images [n, ...]."""
    return values.reshape(-1, *[1] * (like.ndim - 1))
