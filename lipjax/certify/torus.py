"""Proven bounds on the norms of plain convolutions, by the Fourier transform."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lipjax.certify.convolutions import absolute_norm_bound, acting_taps
from lipjax.certify.eigenvalues import is_above, largest_eigenvalue_bound
from lipjax.certify.rounding import TINY, gamma, up

TOLERANCE = 1e-9  # of a squared norm


def convolution_norm_bound(
    kernel: np.ndarray, height: int, width: int, padding: str
) -> float:
    r"""Proven bound on ||J||, J the convolution of images by any kernel.

    .. math:: \|J\| \le \max_\omega \|K(\omega)\|, \quad
              K(\omega) = \sum_t A_t e^{i \omega \cdot t}

    over the frequencies of a torus. For circular padding it is the image's, and the two
    sides are equal. For zero padding it is larger by half a kernel: no tap reaches
    around it, so J is a compression of the circular convolution there. At the opposite
    frequency K is the conjugate, of the same norm: half of them are enough.

    Args:
      kernel: A of shape [rows, columns, channels in, channels out], of any size; its
        tap t = 0 is the one at (rows // 2, columns // 2).
      height: of the image.
      width: of the image.
      padding: "zero" or "circular" (indices modulo the image's size).

    Returns:
      A float not below ||J||; above the right-hand side by about 5e-10 relative, and
      by what the rounding of K may be.

    Raises:
      ValueError: if the kernel has an entry that is not finite.

    Guarantee: see `largest_eigenvalue_bound`; sin and cos to 4 units in the last place.

    References: Sedghi, Gupta & Long, The singular values of convolutional layers, ICLR
      2019, for the circular one.

    Example:
      >>> kernel = np.array([0.6, 0.8]).reshape(1, 1, 1, 2)
      >>> 1 <= convolution_norm_bound(kernel, 8, 8, "zero") < 1 + 1e-9
      True
    """
    kernel = np.asarray(kernel, np.float64)
    if not np.isfinite(kernel).all():
        raise ValueError("the kernel has an entry that is not finite")
    if padding == "zero":
        kernel = acting_taps(kernel, height, width)
        rows, columns = kernel.shape[:2]
        height, width = height + rows // 2, width + columns // 2
    if not kernel.any():
        return 0.0
    # Scaled by a power of two, so that squares neither underflow nor overflow.
    exponent = int(np.frexp(np.abs(kernel).max())[1])
    kernel = np.ldexp(kernel, -exponent)
    square = 0.0
    for symbol in _symbols(kernel, height, width):
        matrix, perturbation = _gram(symbol)
        if not is_above(square, matrix, perturbation):
            square = largest_eigenvalue_bound(matrix, perturbation, tolerance=TOLERANCE)
    # Once for the error of these symbols, twice for the checker, which has its own.
    norm = up(math.sqrt(square)) + 3 * _symbol_error(kernel)
    scaled = float(np.ldexp(up(norm), exponent))
    return math.nextafter(scaled, math.inf)


def _symbols(kernel: np.ndarray, height: int, width: int) -> Iterator[np.ndarray]:
    """K, or its conjugate, at all frequencies of a torus; real where it is so."""
    rows, columns = kernel.shape[:2]
    # A single tap's symbol is the same at every frequency.
    height, width = height ** (rows > 1), width ** (columns > 1)
    vertical, horizontal = _phases(rows, height), _phases(columns, width)
    for i in range(height // 2 + 1):
        row = np.tensordot(vertical[i], kernel, 1)  # [columns, in, out]
        opposite = 2 * i % height == 0
        for j in range(width // 2 + 1 if opposite else width):
            symbol = np.asarray(np.tensordot(horizontal[j], row, 1), np.complex128)
            yield symbol if symbol.imag.any() else symbol.real


def _phases(taps: int, side: int) -> NDArray[np.complex128]:
    """e^(i omega t) for the frequencies omega of an axis, of shape [side, taps]."""
    turns = np.outer(np.arange(side), np.arange(taps) - taps // 2) % side
    return np.exp(2j * np.pi * (turns / side))


def _symbol_error(kernel: np.ndarray) -> float:
    """Bound on the norm of a symbol's error: its phases and its sums are rounded.

    A phase is wrong by less than 64 u, sums over rows and columns of the kernel by the
    gamma of twice their number. The checker sums over all taps at once, and errs by at
    most 2 gamma(taps + 64): this is more.
    """
    taps = kernel.shape[0] * kernel.shape[1]
    return up(2 * gamma(taps + 96) * absolute_norm_bound(kernel))


def _gram(symbol: np.ndarray) -> tuple[np.ndarray, float]:
    """The smaller of K* K and K K*, as a real matrix, and a bound on its error."""
    tall = symbol if symbol.shape[0] >= symbol.shape[1] else symbol.conj().T
    gram = tall.conj().T @ tall
    gram = (gram + gram.conj().T) / 2
    size = float(np.square(np.abs(tall)).sum())
    error = up(2 * gamma(2 * len(tall) + 32) * size) + TINY
    if np.isrealobj(gram):
        return gram, error
    return np.block([[gram.real, -gram.imag], [gram.imag, gram.real]]), error
