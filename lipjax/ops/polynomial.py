"""Polynomials that approximate the exponential on the imaginary axis.

A polynomial is the tuple of its coefficients a_0 ... a_d, lowest degree first. A skew
matrix J is normal with eigenvalues i theta, |theta| <= ||J||, so the singular values of
p(J) are exactly the |p(i theta)|.
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction

import numpy as np
from scipy import special

Coefficients = tuple[float, ...]


def taylor(degree: int) -> Coefficients:
    r"""Coefficients 1/k! of the Taylor polynomial of exp.

    Non-expansive (gain exactly 1) for degrees 3, 4, 7, 8, 11, 12, ... up to a norm of
    about 1.7 (odd) or 2.8 to 3.4 (even); other degrees expand for small norms.

    Args:
      degree: d >= 1, the number of convolutions that applying it takes.

    Returns:
      The d + 1 coefficients.

    Raises:
      ValueError: if degree < 1.

    Example:
      >>> taylor(3)
      (1.0, 1.0, 0.5, 0.16666666666666666)
    """
    _check_degree(degree)
    return tuple(1.0 / math.factorial(k) for k in range(degree + 1))


@functools.cache
def chebyshev(degree: int, bound: float, angle: float = 1.0) -> Coefficients:
    r"""Non-expansive polynomial near exp(a .) on i [-bound, bound].

    The Chebyshev expansion, truncated and divided by its gain:

    .. math:: e^{i a B t} = J_0(a B) + 2 \sum_{k \ge 1} i^k J_k(a B) T_k(t)

    Its error is at most 5% above that of the best non-expansive polynomial.

    Args:
      degree: d >= 1.
      bound: B > 0, the norm up to which the polynomial does not expand.
      angle: a > 0; below 1, layers rotate by smaller angles, and a smaller degree is
        as accurate.

    Returns:
      The d + 1 coefficients, `polynomial_gain(..., bound) <= 1` in exact arithmetic.

    Raises:
      ValueError: if degree < 1 or bound or angle is not positive and finite.

    Example:
      >>> p = chebyshev(6, 2.2)
      >>> error = np.polyval(p[::-1], 2.2j) - np.exp(2.2j)
      >>> polynomial_gain(p, 2.2) <= 1, bool(abs(error) < 0.002)
      (True, True)
    """
    _check_degree(degree)
    _check_positive("bound", bound)
    _check_positive("angle", angle)
    weights = special.jv(np.arange(degree + 1), angle * bound) * np.where(
        np.arange(degree + 1) == 0, 1, 2
    )
    signs = np.array([1j**k for k in range(degree + 1)])
    in_t = np.polynomial.chebyshev.cheb2poly(weights * signs)
    in_t = np.pad(in_t, (0, degree + 1 - len(in_t)))
    raw = (in_t / (1j * bound) ** np.arange(degree + 1)).real
    gain = polynomial_gain(tuple(map(float, raw)), bound)
    while True:  # at most a few units in the last place
        scaled = tuple(float(a / gain) for a in raw)
        if polynomial_gain(scaled, bound) <= 1:
            return scaled
        gain = math.nextafter(gain, math.inf)


def polynomial_gain(coefficients: Coefficients, bound: float) -> float:
    r"""Proven upper bound, tight to rounding, on the gain of a skew polynomial.

    .. math:: \max_{0 \le \theta \le B} |p(i \theta)|

    This is the Lipschitz constant of x -> p(J) x for a skew J of norm B. It is computed
    by branch and bound, in exact rational arithmetic, on the Bernstein form of |p|^2.

    Args:
      coefficients: a_0 ... a_d.
      bound: B >= 0, at least the norm of J.

    Returns:
      A float not below the maximum, and above it by at most 1e-15 relative.

    Raises:
      ValueError: if a number is not finite, or bound is negative.

    Guarantee: a bound, in exact arithmetic, for the coefficients as given.

    Example:
      >>> polynomial_gain(taylor(4), 2.8) <= 1 + 2**-52  # 1/6 and 1/24 are rounded
      True
      >>> round(polynomial_gain(taylor(5), 1.0) - 1, 6)
      0.000902
    """
    return _root_up(_greatest(_squared_modulus(coefficients), _square(bound)))


def _check_degree(degree: int) -> None:
    if degree < 1:
        raise ValueError(f"the degree must be at least 1: {degree}")


def _check_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"the {name} must be positive and finite: {value}")


def _square(bound: float) -> Fraction:
    if not (math.isfinite(bound) and bound >= 0):
        raise ValueError(f"the bound must be finite and not negative: {bound}")
    return Fraction(bound) ** 2


@functools.cache
def _squared_modulus(coefficients: Coefficients) -> tuple[Fraction, ...]:
    """Coefficients in s = theta^2 of |p(i theta)|^2 = re(s)^2 + s im(s)^2."""
    if not all(map(math.isfinite, coefficients)):
        raise ValueError(f"coefficients must be finite: {coefficients}")
    signed = [Fraction(a) * (-1) ** (k // 2) for k, a in enumerate(coefficients)]
    even, odd = signed[0::2], signed[1::2]
    result = [Fraction(0)] * len(coefficients)
    for part, shift in ((even, 0), (odd, 1)):
        for i, a in enumerate(part):
            for j, b in enumerate(part):
                result[i + j + shift] += a * b
    return tuple(result)


def _greatest(polynomial: tuple[Fraction, ...], end: Fraction) -> Fraction:
    """Upper bound on a polynomial, not negative, over [0, end], to 1e-16 relative."""
    pieces = [_bernstein(polynomial, end)]
    found = max(pieces[0][0], pieces[0][-1])
    proven = found
    while pieces:
        piece = pieces.pop()
        top = max(piece)
        if top <= found + found / 10**16:
            proven = max(proven, top)
            continue
        left, right = _halves(piece)
        found = max(found, right[0])
        pieces += [left, right]
    return proven


def _bernstein(polynomial: tuple[Fraction, ...], end: Fraction) -> list[Fraction]:
    """Bernstein coefficients on [0, end]: the polynomial lies below their maximum."""
    n = len(polynomial) - 1
    scaled = [a * end**k for k, a in enumerate(polynomial)]
    return [
        sum(
            (
                scaled[j] * Fraction(math.comb(i, j), math.comb(n, j))
                for j in range(i + 1)
            ),
            Fraction(0),
        )
        for i in range(n + 1)
    ]


def _halves(piece: list[Fraction]) -> tuple[list[Fraction], list[Fraction]]:
    """De Casteljau's subdivision at the middle."""
    left, right = [piece[0]], [piece[-1]]
    while len(piece) > 1:
        piece = [(a + b) / 2 for a, b in zip(piece[:-1], piece[1:], strict=True)]
        left.append(piece[0])
        right.append(piece[-1])
    return left, right[::-1]


def _root_up(value: Fraction) -> float:
    """The smallest float whose square is at least `value`, except for subnormals.

    Infinity, if all floats' squares are smaller.
    """
    if value == 0:
        return 0.0
    # Scaled by a power of 4 into the range where a square root is accurate.
    shift = (value.numerator.bit_length() - value.denominator.bit_length()) // 2
    scaled = value / Fraction(4) ** shift
    root = math.sqrt(scaled)
    while Fraction(root) ** 2 < scaled:
        root = math.nextafter(root, math.inf)
    try:
        result = math.ldexp(root, shift)
    except OverflowError:
        return math.inf
    return result if Fraction(result) ** 2 >= value else math.nextafter(result, 1.0)
