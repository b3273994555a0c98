"""Proven upper bounds on the largest eigenvalue of symmetric matrices.

A candidate is proven by a Cholesky factorisation of (candidate I - matrix) that runs to
its end: no eigenvalue routine has to be trusted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse.linalg import ArpackError, eigsh

from lipjax.certify.rounding import TINY, UNIT, gamma, up


def largest_eigenvalue_bound(
    matrix: np.ndarray, perturbation: float = 0.0, *, tolerance: float = 1e-10
) -> float:
    """Proven upper bound on the largest eigenvalue of a symmetric matrix.

    Args:
      matrix: of shape [n, n], symmetric in every bit.
      perturbation: bound on the norm of what the matrix may be wrong by.
      tolerance: what the bound may be too large by, relative: of 1e-10, a matrix whose
        large eigenvalues lie close together takes many iterations.

    Returns:
      A float not below the largest eigenvalue of any symmetric matrix that lies within
      `perturbation` of the given one in the spectral norm; above the given one's by
      about `tolerance` relative, and never negative.

    Raises:
      ValueError: if an entry is not finite.

    Guarantee: assumes IEEE float64 and a Cholesky routine built of dot products, summed
    in any order, with at most four times the textbook's error.

    References: Rump, Verification of positive definiteness, BIT 46, 2006.

    Example:
      >>> 3 <= largest_eigenvalue_bound(np.diag([1.0, 3.0])) < 3 + 1e-8
      True
    """
    matrix = np.asarray(matrix, np.float64)
    if not np.isfinite(matrix).all():
        raise ValueError("a matrix has an entry that is not finite")
    estimate = max(_estimate(matrix, tolerance / 10), 0.0)
    size = float(np.abs(matrix).max(initial=0)) * len(matrix)
    margin = estimate * tolerance + size * 1e-15 + perturbation + TINY
    while not is_above(estimate + margin, matrix, perturbation):
        margin *= 4
    return estimate + margin


def _estimate(matrix: np.ndarray, tolerance: float) -> float:
    """Of the largest eigenvalue; iterated where that is quicker."""
    n = len(matrix)
    if n > 100:
        try:
            start = np.cos(np.arange(n))
            settings: Any = {"which": "LA", "v0": start, "tol": tolerance}
            return float(eigsh(matrix, 1, **settings)[0][0])
        except ArpackError:
            pass
    return float(np.linalg.eigvalsh(matrix)[-1])


def is_above(bound: float, matrix: np.ndarray, perturbation: float = 0.0) -> bool:
    """Whether `bound` is proven to exceed all eigenvalues; False proves nothing.

    If Cholesky's algorithm runs to its end on a matrix, no eigenvalue lies below
    -gamma trace. So a shift by that and by all rounding is taken off first.
    """
    n = len(matrix)
    diagonal = bound - np.diagonal(matrix)
    if not (diagonal > 0).all():
        return False
    rounding = 4 * UNIT * (bound + float(np.abs(np.diagonal(matrix)).max()))
    backward = 4 * gamma(n + 8) * float(np.sum(diagonal))
    shift = up(2 * (rounding + backward) + perturbation) + TINY
    shifted = -matrix
    shifted[np.diag_indices(n)] = diagonal - shift
    try:
        return bool(np.isfinite(np.linalg.cholesky(shifted)).all())
    except np.linalg.LinAlgError:
        return False
