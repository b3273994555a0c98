"""1-Lipschitz poolings that halve the number of channels."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lipjax.ops.activations import _fitting, halves, ordered


def channel_max_pool(x: jax.Array) -> jax.Array:
    """The maximum of the channels' halves: max(a, b).

    Args:
      x: input of shape [..., channels], channels even.

    Returns:
      Array of shape [..., channels / 2].

    Raises:
      ValueError: if the number of channels is odd.

    Guarantee: 1-Lipschitz.

    Example:
      >>> channel_max_pool(jnp.array([1.0, 5.0, 3.0, 4.0]))
      Array([3., 5.], dtype=float32)
    """
    return ordered(*halves(x))[0]


def projection_pool(x: jax.Array, theta: jax.Array) -> jax.Array:
    r"""Signed distance of each point (a, b) to a wedge, negative inside it.

    The halves a and b of the channels are as in `maxmin`. The wedge has the half-angle
    theta / 2 and lies around the positive a axis. With s = sin(theta / 2),
    c = cos(theta / 2) and |b| for b by symmetry:

    .. math:: -a s + |b| c \text{ where } a c + |b| s \ge 0, \quad
              \|(a, b)\|_2 \text{ otherwise, where the tip is nearest.}

    Args:
      x: input of shape [..., channels], channels even.
      theta: angles of shape [channels / 2], clamped to [0, pi].

    Returns:
      Array of shape [..., channels / 2].

    Raises:
      ValueError: if the number of channels is odd, or theta has another shape.

    Guarantee: 1-Lipschitz in x for every theta, in exact arithmetic: a signed distance.
    Gradients are finite everywhere, at (0, 0) too.

    References: Singla & Feizi, NeurIPS 2022, section 6.

    Example:
      >>> projection_pool(jnp.array([-3.0, 4.0]), jnp.array([0.0]))
      Array([5.], dtype=float32)
    """
    a, b = halves(x)
    (theta,) = _fitting(a, theta)
    half = jnp.clip(theta, 0, jnp.pi) / 2
    sin, cos = jnp.sin(half), jnp.cos(half)
    b = jnp.where(b < 0, -b, b)
    beside = a * cos + b * sin >= 0
    squared = jnp.where(beside, 1, a * a + b * b)
    return jnp.where(beside, b * cos - a * sin, jnp.sqrt(squared))
