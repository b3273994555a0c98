"""Certificates of a curvature head (one hidden layer, softplus) in closed form.

For the margin g = h_y - h_t with d = column y minus column t of W2, the Hessian of g
lies between -m I and M I, where

    m = 1/4 lambda_max(W1 diag(max(-d, 0)) W1^T),  M likewise with max(d, 0).

Source: Singla & Feizi, NeurIPS 2022, section 5, and ICML 2020, theorem 1.
"""

from __future__ import annotations

import numpy as np

from lipjax.certify.eigenvalues import largest_eigenvalue_bound
from lipjax.certify.rounding import gamma, norm_bound, up
from lipjax.ops import (
    SOFTPLUS_CURVATURE,
    CurvatureWeights,
)


def pair_curvature_bound(weights: CurvatureWeights, first: int, second: int) -> float:
    """Proven curvature m of the margin of one class over another, in float64.

    Args:
      weights: a head.
      first: class y.
      second: class t.

    Returns:
      A float m with -m I <= Hessian of h_y - h_t replicated.

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
