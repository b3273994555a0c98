"""Radii from logits: how far the features may move before another class wins.

These are formulas of exact arithmetic. The rounding of the logits, and of the formulas
themselves, is not counted: `lipjax.certify` has the proven radii.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lipjax.ops.curvature import (
    CurvatureWeights,
    curvature_jacobian,
    curvature_logits,
)


class Radii(NamedTuple):
    """Predictions of n images and their radii."""

    prediction: jax.Array  # [n], int32
    radius: jax.Array  # [n], l2
    runner_up: jax.Array  # [n], int32: the class whose certificate binds


def margins(logits: jax.Array, classes: jax.Array) -> jax.Array:
    """The margins l_y - l_t of shape [n, C]: one row per image, y its class.

    Args:
      logits: of shape [n, C].
      classes: y, of shape [n].

    Example:
      >>> margins(jnp.array([[3.0, 1.0]]), jnp.array([0]))
      Array([[0., 2.]], dtype=float32)
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


def curvature_radii(
    weights: CurvatureWeights,
    features: jax.Array,
    classes: jax.Array,
    curvatures: jax.Array,
) -> jax.Array:
    r"""Radii of a curvature head against every class, in closed form.

    .. math:: r_t = \frac{2 g}{\|\nabla g\| + \sqrt{\|\nabla g\|^2 + 2 m g}}

    Args:
      weights: a head with D features and C classes.
      features: z, of shape [n, D].
      classes: y, of shape [n].
      curvatures: m of shape [C, C], where -m I <= Hessian of g; see `pair_curvatures`.

    Returns:
      Signed radii of shape [n, C] in feature space: the first-order g / \|grad g\|
      where t wins, infinite for t = y.

    Guarantee: if m is a bound and g > 0, no perturbation shorter than r_t changes the
    sign of g, in exact arithmetic.

    References: Singla & Feizi, ICML 2020, theorem 1; NeurIPS 2022, section 5.

    Example:
      >>> w = CurvatureWeights(jnp.eye(2), jnp.zeros(2), jnp.eye(2), jnp.zeros(2))
      >>> z = jnp.array([[1.0, 0.0]])
      >>> m = jnp.array([[0.0, 0.25], [0.25, 0.0]])
      >>> r = curvature_radii(w, z, jnp.array([0]), m)
      >>> print(r.round(3))
      [[  inf 0.642]]
    """
    gaps = margins(curvature_logits(weights, features), classes)
    jacobian = curvature_jacobian(weights, features)
    own = jnp.take_along_axis(jacobian, classes[:, None, None], axis=1)
    slopes = jnp.linalg.norm(own - jacobian, axis=-1)
    radii = curvature_radius(gaps, slopes, curvatures[classes])
    return without_own_class(radii, classes)


def curvature_radius(
    gaps: jax.Array, slopes: jax.Array, curvatures: jax.Array
) -> jax.Array:
    r"""The radius of a margin, given the norm of its gradient and its curvature.

    .. math:: r = \frac{2 g}{\|\nabla g\| + \sqrt{\|\nabla g\|^2 + 2 m g}}

    Args:
      gaps: margins g.
      slopes: \|grad g\|, of a shape that broadcasts.
      curvatures: m, of a shape that broadcasts.

    Returns:
      The distances inside which g stays positive; g / \|grad g\| where g <= 0,
      infinite where g is positive and cannot fall.

    Example:
      >>> curvature_radius(jnp.array([1.0]), jnp.array([2.0]), jnp.array([0.0]))
      Array([0.5], dtype=float32)
    """
    roots = jnp.sqrt(slopes**2 + 2 * curvatures * jnp.maximum(gaps, 0))
    below = slopes + roots
    return jnp.where(
        below > 0,
        2 * gaps / jnp.where(below > 0, below, 1),
        jnp.where(gaps > 0, jnp.inf, 0),
    )


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
