"""Gradient norm preserving activations, and poolings of the channels.

The channels are split into halves a = x[..., :c/2] and b = x[..., c/2:]. Each point
(a, b) is mapped by the identity, a reflection or a rotation, depending on its sector,
and the maps agree on the sectors' borders. Hence each activation is 1-Lipschitz, and
its Jacobian is orthogonal almost everywhere. Poolings halve the number of channels.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax


def halves(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Splits the channels into halves a and b.

    Raises:
      ValueError: if the number of channels is odd.
    """
    if x.shape[-1] % 2:
        raise ValueError(f"the number of channels must be even: {x.shape[-1]}")
    a, b = jnp.split(x, 2, axis=-1)
    return a, b


@jax.custom_jvp
def ordered(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The larger and the smaller of two numbers.

    At a tie the derivative is the identity, an isometry. JAX's own rule for maximum and
    minimum would average both, and costs more.
    """
    return jnp.maximum(a, b), jnp.minimum(a, b)


@ordered.defjvp
def _ordered_jvp(primals, tangents):
    (a, b), (da, db) = primals, tangents
    kept = a >= b
    return ordered(a, b), (jnp.where(kept, da, db), jnp.where(kept, db, da))


def maxmin(x: jax.Array) -> jax.Array:
    """Sorts the channels' halves: (max(a, b), min(a, b)).

    Args:
      x: input of shape [..., channels], channels even.

    Returns:
      Array shaped like `x`.

    Raises:
      ValueError: if the number of channels is odd.

    Guarantee: 1-Lipschitz, in floating point as well (it only moves numbers).

    References: Anil, Lucas & Grosse, Sorting out Lipschitz function approximation,
    ICML 2019.

    Example:
      >>> maxmin(jnp.array([1.0, 5.0, 3.0, 4.0]))
      Array([3., 5., 1., 4.], dtype=float32)
    """
    return jnp.concatenate(ordered(*halves(x)), axis=-1)


def householder(x: jax.Array, theta: jax.Array) -> jax.Array:
    r"""Reflects each point (a, b) that lies on the far side of a line.

    With the line at angle theta / 2: keep (a, b) where
    :math:`a \sin(\theta/2) \le b \cos(\theta/2)`, else
    :math:`(a \cos\theta + b \sin\theta,\; a \sin\theta - b \cos\theta)`.

    Args:
      x: input of shape [..., channels], channels even.
      theta: angles of shape [channels / 2]; pi / 2 gives (min(a, b), max(a, b)).

    Returns:
      Array shaped like `x`.

    Raises:
      ValueError: if the number of channels is odd, or theta has another shape.

    Guarantee: 1-Lipschitz in x for every theta, in exact arithmetic.

    References: Singla, Singla & Feizi, ICLR 2022, section 5.

    Example:
      >>> householder(jnp.array([3.0, 1.0]), jnp.array([jnp.pi / 2])).round(5)
      Array([1., 3.], dtype=float32)
    """
    a, b = halves(x)
    (theta,) = _fitting(a, theta)
    keep = a * jnp.sin(theta / 2) - b * jnp.cos(theta / 2) <= 0
    reflected = _reflect(a, b, theta)
    return jnp.concatenate(
        [jnp.where(keep, old, new) for old, new in zip((a, b), reflected, strict=True)],
        axis=-1,
    )


def householder2(
    x: jax.Array, theta0: jax.Array, theta1: jax.Array, theta2: jax.Array
) -> jax.Array:
    r"""Householder activation of order 2: four sectors around the origin of (a, b).

    Let phi be the angle of (a, b) above the line at theta0 / 2. Sectors end at
    theta1 / 2, (theta1 + theta2) / 2, pi + theta2 / 2 and 2 pi; their maps are the
    identity, the reflection by theta0 + theta1, the rotation by -theta2 and the
    reflection by theta0, which agree on the sectors' borders.

    Args:
      x: input of shape [..., channels], channels even.
      theta0: angles of shape [channels / 2].
      theta1: as theta0. Angles are clamped to [0, 2 pi], outside which the maps would
        not agree on the borders.
      theta2: as theta1.

    Returns:
      Array shaped like `x`.

    Raises:
      ValueError: if the number of channels is odd, or an angle has another shape.

    Guarantee: 1-Lipschitz in x for every angle, in exact arithmetic.

    References: Singla, Singla & Feizi, ICLR 2022, section 5.

    Example:
      >>> angles = jnp.zeros((3, 1))
      >>> householder2(jnp.array([3.0, 1.0]), *angles)  # rotation by 0
      Array([3., 1.], dtype=float32)
    """
    a, b = halves(x)
    theta0, theta1, theta2 = (
        jnp.clip(t, 0, 2 * jnp.pi) for t in _fitting(a, theta0, theta1, theta2)
    )
    phi = jnp.mod(jnp.arctan2(*map(lax.stop_gradient, (b, a))) - theta0 / 2, 2 * jnp.pi)
    sectors = [
        phi < theta1 / 2,
        phi < (theta1 + theta2) / 2,
        phi < jnp.pi + theta2 / 2,
    ]
    maps = [
        (a, b),
        _reflect(a, b, theta0 + theta1),
        (
            a * jnp.cos(theta2) + b * jnp.sin(theta2),
            b * jnp.cos(theta2) - a * jnp.sin(theta2),
        ),
    ]
    last = _reflect(a, b, theta0)
    return jnp.concatenate(
        [jnp.select(sectors, [m[i] for m in maps], last[i]) for i in (0, 1)], axis=-1
    )


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


def _reflect(
    a: jax.Array, b: jax.Array, theta: jax.Array
) -> tuple[jax.Array, jax.Array]:
    cos, sin = jnp.cos(theta), jnp.sin(theta)
    return a * cos + b * sin, a * sin - b * cos


def _fitting(a: jax.Array, *angles: jax.Array) -> list[jax.Array]:
    """The angles, reshaped to broadcast against `a`, in its dtype."""
    for theta in angles:
        if theta.shape != a.shape[-1:]:
            raise ValueError(
                f"angles of shape {theta.shape} do not fit {2 * a.shape[-1]} channels"
            )
    leading = range(a.ndim - 1)
    return [jnp.expand_dims(theta.astype(a.dtype), tuple(leading)) for theta in angles]
