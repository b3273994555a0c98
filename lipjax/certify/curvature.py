"""Proven bounds on the curvature of a curvature head's margins.

The Hessian of the margin g = h_y - h_t is at least -m I everywhere, see
`lipjax.ops.curvature`. Each m is proven by a Cholesky factorisation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from lipjax.certify.eigenvalues import largest_eigenvalue_bound
from lipjax.certify.rounding import gamma, norm_bound, up
from lipjax.ops import SOFTPLUS_CURVATURE, CurvatureWeights


class Curvatures(NamedTuple):
    """Proven curvatures of all pairs of C classes.

    Attributes:
      bounds: m of shape [C, C]: row y, column t belongs to h_y - h_t.
      refined: of shape [C, C]: which pairs have an individual bound; the other bounds
        are additive.
    """

    bounds: np.ndarray
    refined: np.ndarray


def refine(
    curvatures: Curvatures, weights: CurvatureWeights, pairs: Iterable[tuple[int, int]]
) -> Curvatures:
    """Returns the curvatures with individual bounds for these pairs, both ways.

    Args:
      curvatures: proven curvatures of the head.
      weights: the head.
      pairs: of classes.

    Returns:
      The curvatures, none of them larger than before.

    Example:
      >>> w = CurvatureWeights(np.eye(2), np.zeros(2), np.eye(2), np.zeros(2))
      >>> start = Curvatures(additive_curvature_bounds(w), np.zeros((2, 2), bool))
      >>> refine(start, w, [(0, 1)]).bounds.round(4)
      array([[0.  , 0.25],
             [0.25, 0.  ]])
    """
    bounds, refined = map(np.array, curvatures)
    for first, second in pairs:
        for pair in ((first, second), (second, first)):
            if not refined[pair]:
                own = pair_curvature_bound(weights, *pair)
                bounds[pair] = min(bounds[pair], own)
                refined[pair] = True
    return Curvatures(bounds, refined)


def pair_curvature_bound(weights: CurvatureWeights, first: int, second: int) -> float:
    """Proven bound on the curvature m of the margin of one class over another.

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
    r"""Proven bounds on the curvatures of all pairs, from 2 C eigenvalue problems.

    .. math:: m_{yt} \le \tfrac14 \lambda_{\max}(W_1 \operatorname{diag}
              (\max(w_t, 0)) W_1^\top) + \tfrac14 \lambda_{\max}(W_1
              \operatorname{diag}(\max(-w_y, 0)) W_1^\top)

    since max(a + b, 0) <= max(a, 0) + max(b, 0).

    Args:
      weights: a head with C classes.

    Returns:
      m of shape [C, C], row y, column t; zero on the diagonal.

    Guarantee: see `largest_eigenvalue_bound`.

    Example:
      >>> w = CurvatureWeights(np.eye(2), np.zeros(2), np.eye(2), np.zeros(2))
      >>> additive_curvature_bounds(w).round(4)
      array([[0.  , 0.25],
             [0.25, 0.  ]])
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
