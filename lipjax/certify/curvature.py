"""Certificates of a curvature head (one hidden layer, softplus) in closed form.

For the margin g = h_y - h_t with d = column y minus column t of W2, the Hessian of g
lies between -m I and M I, where

    m = 1/4 lambda_max(W1 diag(max(-d, 0)) W1^T),  M likewise with max(d, 0).

Source: Singla & Feizi, NeurIPS 2022, section 5, and ICML 2020, theorem 1.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lipjax.certify.eigenvalues import largest_eigenvalue_bound
from lipjax.certify.radii import margins, without_own_class
from lipjax.certify.rounding import gamma, norm_bound, up
from lipjax.ops import (
    SOFTPLUS_CURVATURE,
    CurvatureWeights,
    contract,
    curvature_jacobian,
    curvature_logits,
)


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


def pair_curvature_bound(weights: CurvatureWeights, first: int, second: int) -> float:
    """Proven curvature m of the margin of one class over another, in float64.

    Args:
      weights: a head.
      first: class y.
      second: class t.

    Returns:
      A float m with -m I <= Hessian of h_y - h_t everywhere.

    Guarantee: see `largest_eigenvalue_bound`.

    Example:
      >>> w = CurvatureWeights(np.eye(2), np.zeros(2), np.eye(2), np.zeros(2))
      >>> 0.25 <= pair_curvature_bound(w, 0, 1) < 0.25 + 1e-8
      True
    """
    columns = np.asarray(weights.output_kernel, np.float64).T
    return _scaled_gram_bound(weights, np.maximum(columns[second] - columns[first], 0))


def additive_curvature_bounds(weights: CurvatureWeights) -> np.ndarray:
    r"""Proven curvatures of all pairs from 2 C eigenvalue problems instead of C^2.

    .. math:: m_{yt} \le \tfrac14 \lambda_{\max}(W_1 \operatorname{diag}
              (\max(w_t, 0)) W_1^\top) + \tfrac14 \lambda_{\max}(W_1
              \operatorname{diag}(\max(-w_y, 0)) W_1^\top)

    since max(a + b, 0) <= max(a, 0) + max(b, 0).

    Args:
      weights: a head with C classes.

    Returns:
      m of shape [C, C], row y, column t; zero on the diagonal.
    """
    columns = np.asarray(weights.output_kernel, np.float64).T
    ups = [_scaled_gram_bound(weights, np.maximum(w, 0)) for w in columns]
    downs = [_scaled_gram_bound(weights, np.maximum(-w, 0)) for w in columns]
    return up(np.add.outer(downs, ups)) * (1 - np.eye(len(columns)))


def _scaled_gram_bound(weights: CurvatureWeights, scale: np.ndarray) -> float:
    """Proven bound on 1/4 the largest eigenvalue of W1 diag(scale) W1^T."""
    hidden_kernel = np.asarray(weights.hidden_kernel, np.float64)
    scaled = hidden_kernel * np.sqrt(scale)
    if scaled.shape[0] > scaled.shape[1]:
        scaled = scaled.T
    gram = scaled @ scaled.T
    # Each entry is a dot product of numbers that are themselves rounded.
    error = gamma(scaled.shape[1] + 8) * norm_bound(scaled) ** 2
    bound = largest_eigenvalue_bound((gram + gram.T) / 2, error)
    return up(SOFTPLUS_CURVATURE * bound)


def _largest_eigenvalue(hidden_kernel: jax.Array, scale: jax.Array) -> jax.Array:
    scaled = hidden_kernel * jnp.sqrt(scale)[None]
    features, hidden = scaled.shape
    subscripts = "dh,eh->de" if features <= hidden else "dh,dk->hk"
    gram = contract(subscripts, scaled, scaled)
    return SOFTPLUS_CURVATURE * jnp.maximum(jnp.linalg.eigvalsh(gram)[-1], 0)
