"""Radii from logits: how far the features may move before another class wins.

Everything here is exact-arithmetic mathematics on the numbers given; the rounding of
the floating-point execution that produced them is not counted.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lipjax.ops.contraction import contract
from lipjax.ops.curvature import (
    SOFTPLUS_CURVATURE,
    CurvatureWeights,
    curvature_jacobian,
    curvature_logits,
)


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


def pair_curvatures(weights: CurvatureWeights) -> jax.Array:
    """Curvature m of every pair of classes by a symmetric eigenvalue routine.

    Args:
      weights: a head with D features, H hidden units and C classes.

    Returns:
      m of shape [C, C]: row y, column t belongs to h_y - h_t. M is its transpose.
      C^2 eigenvalue problems of side min(D, H): seconds for 10 classes and side 512.

    Example:
      >>> w = CurvatureWeights(jnp.eye(2), jnp.zeros(2), jnp.eye(2), jnp.zeros(2))
      >>> pair_curvatures(w)
      Array([[0.  , 0.25],
             [0.25, 0.  ]], dtype=float32)
    """
    columns = weights.output_kernel.T
    return lax.map(
        lambda y: lax.map(
            lambda t: _largest_eigenvalue(
                weights.hidden_kernel, jax.nn.relu(columns[t] - columns[y])
            ),
            jnp.arange(len(columns)),
        ),
        jnp.arange(len(columns)),
    )


def global_curvatures(weights: CurvatureWeights) -> jax.Array:
    r"""The coarser, published curvature m of every pair, for comparison.

    .. math:: m \le \tfrac14 \sigma_1(W_1)^2 \max_h \max(-d_h, 0)

    Args:
      weights: a head with C classes.

    Returns:
      The right-hand side, of shape [C, C]: row y, column t belongs to h_y - h_t.
    """
    norm = jnp.linalg.norm(weights.hidden_kernel, ord=2)
    columns = weights.output_kernel.T
    largest = jnp.max(jax.nn.relu(columns[None] - columns[:, None]), axis=-1)
    return SOFTPLUS_CURVATURE * norm**2 * largest


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
      curvatures: m of shape [C, C], see `pair_curvatures`.

    Returns:
      Radii of shape [n, C] in feature space: for g <= 0 the first-order
      g / \|grad g\| (not positive), infinite for t = y.

    Guarantee: for g > 0 and a true bound m no perturbation shorter than r_t changes
    the sign of g, in exact arithmetic.

    Example:
      >>> w = CurvatureWeights(jnp.eye(2), jnp.zeros(2), jnp.eye(2), jnp.zeros(2))
      >>> z = jnp.array([[1.0, 0.0]])
      >>> r = curvature_radii(w, z, jnp.array([0]), pair_curvatures(w))
      >>> print(r.round(3))
      [[  inf 0.642]]
    """
    gaps = margins(curvature_logits(weights, features), classes)
    jacobian = curvature_jacobian(weights, features)
    own = jnp.take_along_axis(jacobian, classes[:, None, None], axis=1)
    slopes = jnp.linalg.norm(own - jacobian, axis=-1)
    return without_own_class(closed_form(gaps, slopes, curvatures[classes]), classes)


def closed_form(gaps: jax.Array, slopes: jax.Array, curvatures: jax.Array) -> jax.Array:
    r"""Distance inside which a margin stays positive, from its gradient and curvature.

    .. math:: \frac{2 g}{\|\nabla g\| + \sqrt{\|\nabla g\|^2 + 2 m g}}

    Args:
      gaps: margins g.
      slopes: \|grad g\|, of a shape that broadcasts.
      curvatures: m, of a shape that broadcasts.

    Returns:
      The distances; g / \|grad g\| where g <= 0, infinite where a positive margin
      cannot fall.
    """
    roots = jnp.sqrt(slopes**2 + 2 * curvatures * jnp.maximum(gaps, 0))
    below = slopes + roots
    return jnp.where(
        below > 0,
        2 * gaps / jnp.where(below > 0, below, 1),
        jnp.where(gaps > 0, jnp.inf, 0),
    )


def _largest_eigenvalue(hidden_kernel: jax.Array, scale: jax.Array) -> jax.Array:
    scaled = hidden_kernel * jnp.sqrt(scale)[None]
    features, hidden = scaled.shape
    subscripts = "dh,eh->de" if features <= hidden else "dh,dk->hk"
    gram = contract(subscripts, scaled, scaled)
    return SOFTPLUS_CURVATURE * jnp.maximum(jnp.linalg.eigvalsh(gram)[-1], 0)
