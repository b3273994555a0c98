"""Proven bounds on the norms of skew convolutions with zero padding."""

from __future__ import annotations

import itertools
import math
from typing import TypeVar

import jax
import numpy as np

from lipjax.certify.eigenvalues import (
    is_above,
    largest_eigenvalue_bound,
    matrix_norm_bound,
)
from lipjax.certify.rounding import TINY, UNIT, gamma, up
from lipjax.ops import unfoldings

Array = TypeVar("Array", jax.Array, np.ndarray)


def acting_taps(kernel: Array, height: int, width: int) -> Array:
    """The middle part of a kernel, without taps that only meet the padding.

    Its middle tap is at (rows // 2, columns // 2) again.

    Example:
      >>> acting_taps(np.zeros((3, 3, 2, 2)), 1, 8).shape
      (1, 3, 2, 2)
    """
    sides = zip(kernel.shape[:2], (height, width), strict=True)
    return kernel[tuple(slice(max(k // 2 - n + 1, 0), k // 2 + n) for k, n in sides)]


def skew_norm_bound(kernel: np.ndarray, height: int, width: int) -> float:
    r"""Proven bound on ||J||, J the zero-padded convolution by a skew kernel.

    J is a compression of the circular convolution on a torus that is larger than the
    image by half a kernel's width, hence

    .. math:: \|J\| \le \max_\omega \lambda_{\max}(i K(\omega)), \quad
              K(\omega) = \sum_t A_t e^{i \omega \cdot t}

    over that torus' frequencies. Each K is skew-Hermitian of side c.

    Args:
      kernel: skew kernel A of shape [k, k, c, c].
      height: of the image.
      width: of the image.

    Returns:
      A float not below ||J||.

    Raises:
      ValueError: if the kernel is not exactly skew, or not finite.

    Guarantee: see `largest_eigenvalue_bound`; sin and cos to 4 units in the last place.

    Example:
      >>> rotation = np.array([[0.0, 1.0], [-1.0, 0.0]]).reshape(1, 1, 2, 2)
      >>> 1 <= skew_norm_bound(rotation, 8, 8) < 1 + 1e-8
      True
    """
    kernel = acting_taps(_checked(kernel), height, width)
    rows, columns = kernel.shape[:2]
    grid = (height + rows // 2, width + columns // 2)
    frequencies = [(0, 0)] if rows == columns == 1 else _half(*grid)
    perturbation = _symbol_error(kernel)
    found = 0.0
    for frequency in frequencies:
        hermitian = _hermitian_symbol(kernel, frequency, grid)
        # The symbol at the opposite frequency has the eigenvalues of the negative.
        for matrix in (_real(hermitian), _real(-hermitian)):
            if not is_above(found, matrix, perturbation):
                found = largest_eigenvalue_bound(matrix, perturbation)
    return found


def unfolding_bound(kernel: np.ndarray) -> float:
    r"""Proven bound on ||J|| for images of every size, J as in `skew_norm_bound`.

    .. math:: \|J\| \le k \min(\|A_{square}\|, \|A_{tall}\|)

    for the two unfoldings of a skew kernel, see `lipjax.ops.unfoldings`.

    Args:
      kernel: skew kernel A of shape [k, k, c, c].

    Returns:
      A float not below ||J||, above the right-hand side by about 5e-11 relative.

    Raises:
      ValueError: if the kernel is not exactly skew, or not finite.

    Guarantee: see `largest_eigenvalue_bound`.

    References: Singla & Feizi, Fantastic four, ICLR 2021, theorem 1.

    Example:
      >>> rotation = np.array([[0.0, 1.0], [-1.0, 0.0]]).reshape(1, 1, 2, 2)
      >>> 1 <= unfolding_bound(rotation) < 1 + 1e-10
      True
    """
    kernel = _checked(kernel)
    if not kernel.any():
        return 0.0
    # Scaled by a power of two, so that squares neither underflow nor overflow.
    exponent = int(np.frexp(np.abs(kernel).max())[1])
    norm = min(
        matrix_norm_bound(np.concatenate(list(blocks), axis=1), tolerance=1e-10)
        for blocks in unfoldings(np.ldexp(kernel, -exponent))
    )
    scaled = float(np.ldexp(up(len(kernel) * norm), exponent))
    return math.nextafter(scaled, math.inf)


def absolute_norm_bound(kernel: np.ndarray) -> float:
    r"""Proven bound on || |J| ||, the convolution by the kernel's absolute values.

    .. math:: \| |J| \|^2 \le \| S \|^2 \le \max_i \sum_j S_{ij} \max_j \sum_i S_{ij},
              \quad S = \sum_t |A_t|

    The rounding of a convolution is proportional to it.

    Args:
      kernel: any kernel A of shape [rows, columns, channels in, channels out].

    Returns:
      A float not below the norm of |J|, for every image size and either padding.

    Example:
      >>> rotation = np.array([[0.0, 1.0], [-1.0, 0.0]]).reshape(1, 1, 2, 2)
      >>> 1 <= absolute_norm_bound(rotation) < 1 + 1e-8
      True
    """
    kernel = np.abs(np.asarray(kernel, np.float64))
    rows, columns = (float(kernel.sum((0, 1, axis)).max()) for axis in (3, 2))
    return up(math.sqrt(rows) * math.sqrt(columns) * (1 + gamma(kernel.size))) + TINY


def _checked(kernel: np.ndarray) -> np.ndarray:
    """The kernel in float64, if it is finite and exactly skew."""
    kernel = np.asarray(kernel, np.float64)
    if not np.isfinite(kernel).all():
        raise ValueError("the kernel has an entry that is not finite")
    if not np.array_equal(kernel, -kernel[::-1, ::-1].swapaxes(2, 3)):
        raise ValueError("the kernel is not skew in every bit")
    return kernel


def _half(height: int, width: int) -> list[tuple[int, int]]:
    """Frequencies of a torus, one of every two opposite ones."""
    everything = itertools.product(range(height), range(width))
    return [(i, j) for i, j in everything if (i, j) <= ((-i) % height, (-j) % width)]


def _hermitian_symbol(
    kernel: np.ndarray, frequency: tuple[int, int], grid: tuple[int, int]
) -> np.ndarray:
    """i K at 2 pi frequency / grid, Hermitian in every bit."""
    turns = [
        (f * (np.arange(taps) - taps // 2) % n) / n
        for f, taps, n in zip(frequency, kernel.shape[:2], grid, strict=True)
    ]
    phases = np.exp(2j * np.pi * np.add.outer(*turns))
    symbol = 1j * np.einsum("ab,abio->io", phases, kernel)
    return (symbol + symbol.conj().T) / 2


def _symbol_error(kernel: np.ndarray) -> float:
    """Bound on the norm of a symbol's error: its phases and its sum are rounded.

    A turn is exact to 3 u, an angle below 4 pi to 4 pi 4 u, so a phase to 64 u.
    """
    taps = kernel.shape[0] * kernel.shape[1]
    entries = np.abs(kernel).sum((0, 1))
    return up(2 * (taps + 80) * UNIT * float(np.linalg.norm(entries))) + TINY


def _real(hermitian: np.ndarray) -> np.ndarray:
    """The real symmetric matrix with the same eigenvalues, each twice."""
    re, im = np.real(hermitian), np.imag(hermitian)
    return np.block([[re, -im], [im, re]])
