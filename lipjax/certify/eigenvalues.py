"""Proven upper bounds on the largest eigenvalue, and on the norm, of a matrix.

A candidate is proven by a Cholesky factorisation of (candidate I - matrix) that runs to
its end. No eigenvalue routine has to be trusted.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.sparse.linalg import ArpackError, eigsh

from lipjax.certify.rounding import TINY, UNIT, gamma, norm_bound, up


def largest_eigenvalue_bound(
    matrix: np.ndarray, perturbation: float = 0.0, *, tolerance: float = 1e-10
) -> float:
    """Proven upper bound on the largest eigenvalue of a symmetric matrix.

    Args:
      matrix: of shape [n, n], symmetric in every bit.
      perturbation: bound on the norm of the matrix' own error.
      tolerance: how much too large the bound may be, relative. If the large eigenvalues
        lie close together, 1e-10 takes many iterations.

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
        if not math.isfinite(estimate + margin):
            raise ValueError("a matrix is too large: numbers overflow")
    return estimate + margin


def matrix_norm_bound(matrix: np.ndarray, *, tolerance: float = 1e-6) -> float:
    r"""Proven bound on the largest singular value of any matrix.

    .. math:: \|P\|^2 = \lambda_{\max}(P^\top P)

    The smaller of P^T P and P P^T is factorised. Its computed entries are wrong by at
    most gamma_n |P^T| |P|, and so is the matrix, in norm, by at most gamma_n ||P||_F^2.
    Costs m^2 n products, a few Cholesky factorisations of side m <= n, and the memory
    of five more matrices of that side.

    Args:
      matrix: of shape [rows, columns].
      tolerance: see `largest_eigenvalue_bound`, of the squared norm. Where P is nearly
        orthogonal the eigenvalues of P^T P lie within 1e-4 of each other. There 1e-10
        takes Lanczos' iteration hundreds of products, and 1e-6, which is the rounding
        of a dozen float32 numbers, takes 40.

    Returns:
      A float not below the norm, above it by about half the tolerance, relative.

    Raises:
      ValueError: if an entry is not finite.

    Guarantee: see `largest_eigenvalue_bound`.

    Example:
      >>> 2 <= matrix_norm_bound(np.array([[2.0], [0.0], [0.0]])) < 2 + 1e-5
      True
    """
    matrix = np.asarray(matrix, np.float64)
    if not np.isfinite(matrix).all():
        raise ValueError("a matrix has an entry that is not finite")
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    gram = tall.T @ tall
    gram = (gram + gram.T) / 2
    error = up(gamma(len(tall) + 2) * norm_bound(matrix) ** 2) + TINY
    return up(math.sqrt(largest_eigenvalue_bound(gram, error, tolerance=tolerance)))


def _estimate(matrix: np.ndarray, tolerance: float) -> float:
    """Estimates the largest eigenvalue; iterates where that is quicker."""
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
    -gamma trace. So that much, and all other rounding, is subtracted first.
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
