"""Gains and losses of polynomials on the imaginary axis."""

import math
from fractions import Fraction

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from helpers.dense import EPS
from helpers.polynomials import loss
from lipjax.ops import chebyshev, polynomial_gain, taylor

# MATH.md section 2.1: degree, threshold, 1 - gain at theta = 1.
NON_EXPANSIVE = [
    (3, 1.732, 2.8e-2),
    (4, 2.828, 6.1e-3),
    (7, 1.764, 1.6e-5),
    (8, 3.395, 2.2e-6),
    (11, 1.701, 1.3e-9),
    (12, 3.379, 1.3e-10),
    (15, 1.668, 2.8e-14),
    (16, 3.324, 2.3e-15),
]
# MATH.md section 2.2: B, degree, loss.
CHEBYSHEV_LOSSES = [
    (1, 3, 9.0e-3),
    (1, 4, 7.3e-4),
    (1, 5, 8.0e-5),
    (1, 6, 4.7e-6),
    (1.5, 4, 6.7e-3),
    (1.5, 5, 8.1e-4),
    (1.5, 6, 9.6e-5),
    (1.5, 8, 7.7e-7),
    (2, 4, 2.7e-2),
    (2, 5, 3.9e-3),
    (2, 6, 6.8e-4),
    (2.2, 6, 1.3e-3),
    (2.2, 7, 1.6e-4),
    (2.2, 8, 2.2e-5),
]


def squared_modulus(coefficients, theta):
    """|p(i theta)|^2 by Horner's rule in exact arithmetic."""
    real = imaginary = Fraction(0)
    for a in reversed(coefficients):
        real, imaginary = (
            Fraction(a) - imaginary * Fraction(theta),
            real * Fraction(theta),
        )
    return real**2 + imaginary**2


def modulus(coefficients, theta):
    return math.sqrt(squared_modulus(coefficients, theta))


def sampled(coefficients, bound, points=4001):
    """|p(i theta)| on a grid of [0, bound], in float64."""
    theta = np.linspace(0, bound, points)
    return np.abs(np.polynomial.polynomial.polyval(1j * theta, coefficients))


@pytest.mark.parametrize(("degree", "threshold", "_"), NON_EXPANSIVE)
def test_taylor_expands_only_beyond_its_threshold(degree, threshold, _):
    # Near 0 the gain falls short of 1 by less than the rounding of the coefficients.
    rounding = 4 * EPS
    assert polynomial_gain(taylor(degree), threshold - 1e-3) <= 1 + rounding
    assert polynomial_gain(taylor(degree), threshold + 1e-3) > 1 + 2 * rounding


@pytest.mark.parametrize(("degree", "_", "known"), NON_EXPANSIVE)
def test_taylor_loss_at_one(degree, _, known):
    # Half a unit in the table's last digit, and the rounding of 1 - |p|.
    digit = 10.0 ** math.floor(math.log10(known)) / 10
    squared = squared_modulus(
        [Fraction(1, math.factorial(k)) for k in range(degree + 1)], 1
    )
    exact = 1 - math.sqrt(squared)
    assert abs(exact - known) <= digit / 2 * 1.01 + EPS
    assert abs(1 - modulus(taylor(degree), 1.0) - exact) <= 4 * EPS


@pytest.mark.parametrize("degree", [5, 6, 9, 10, 13, 14])
def test_other_degrees_expand(degree):
    assert polynomial_gain(taylor(degree), 1.0) > 1


def test_published_degree():
    """MATH 2.1: +9.0e-4 at 1, at most +4.7e-3, at 1.6; contracts from 1.86 to 3.40."""
    p = taylor(5)
    assert modulus(p, 1) - 1 == pytest.approx(9.0e-4, rel=0.01)
    assert polynomial_gain(p, 3.38) - 1 == pytest.approx(4.7e-3, rel=0.02)
    assert modulus(p, 1.6) - 1 == pytest.approx(4.7e-3, rel=0.02)
    assert modulus(p, 1.85) > 1 > modulus(p, 1.87)
    assert modulus(p, 3.38) < 1 < modulus(p, 3.41)


@pytest.mark.parametrize(("bound", "degree", "known"), CHEBYSHEV_LOSSES)
def test_chebyshev_loss(bound, degree, known):
    digit = 10.0 ** math.floor(math.log10(known)) / 10
    # The table gives two digits.
    assert abs(loss(chebyshev(degree, bound), bound) - known) <= digit


@pytest.mark.parametrize("bound", [0.3, 1.0, 2.2, 3.5])
@pytest.mark.parametrize("degree", [1, 2, 3, 6, 9])
def test_chebyshev_does_not_expand(degree, bound):
    p = chebyshev(degree, bound)
    assert len(p) == degree + 1
    assert polynomial_gain(p, bound) <= 1
    # Its gain is 1 up to the rounding of its coefficients: nothing is wasted.
    assert polynomial_gain(p, bound) >= 1 - 8 * EPS


@pytest.mark.parametrize(("bound", "angle"), [(2.0, 0.5), (1.5, 1.4)])
def test_chebyshev_of_another_angle(bound, angle):
    """p(theta) is near exp(i a theta), as near as the polynomial of range a B."""
    p = chebyshev(6, bound, angle)
    theta = np.linspace(0, bound, 50)
    error = np.abs(np.polyval(p[::-1], 1j * theta) - np.exp(1j * angle * theta))
    same = chebyshev(6, bound * angle)
    known = np.polyval(same[::-1], 1j * angle * theta) - np.exp(1j * angle * theta)
    # Degree 6 loses 1.3e-3 on a range of 2.2; these are 1 and 2.1.
    assert error.max() < 3e-3
    np.testing.assert_allclose(error, np.abs(known), rtol=0, atol=10 * EPS)
    assert 1 - 8 * EPS <= polynomial_gain(p, bound) <= 1


def test_chebyshev_against_taylor():
    """Closer to orthogonal in the worst case than Taylor of the same degree."""
    for degree, bound in [(4, 1.0), (6, 2.0), (8, 2.2)]:
        expansion = polynomial_gain(taylor(degree), bound) - 1
        worst = max(expansion, loss(taylor(degree), bound))
        assert loss(chebyshev(degree, bound), bound) < worst


COEFFICIENTS = st.lists(st.floats(-4, 4), min_size=1, max_size=7).map(tuple)


@hypothesis.given(COEFFICIENTS, st.floats(0, 6))
def test_gain_is_never_below(coefficients, bound):
    """A bound at every sample, exactly; and as tight as documented."""
    gain = polynomial_gain(coefficients, bound)
    theta = np.linspace(0, bound, 9)
    squared = Fraction(gain) ** 2
    assert all(squared_modulus(coefficients, float(t)) <= squared for t in theta)
    samples = sampled(coefficients, bound)
    # Near a maximum |p|^2 is flat: a grid of 4000 cells misses it by less than
    # (cell / 2)^2 / 2 times its second derivative, which Markov's inequality for
    # degree n bounds by n^4 / 3 times its size over bound^2.
    n = 2 * (len(coefficients) - 1)
    size = sum(abs(a) * bound**k for k, a in enumerate(coefficients)) ** 2
    missed = size * n**4 / 3 / 8 / 4000**2
    assert gain**2 <= samples.max() ** 2 + missed + 32 * EPS * size


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1.0, 1e6])
def test_gain_is_tight_at_every_scale(scale):
    """The documented 1e-15 is relative."""
    scaled = tuple(scale * a for a in taylor(5))
    peak = polynomial_gain(taylor(5), 2.5)
    assert polynomial_gain(scaled, 2.5) == pytest.approx(scale * peak, rel=4e-15)


def test_trivial_cases():
    assert polynomial_gain((2.0,), 5.0) == 2
    assert polynomial_gain((0.0, 0.0), 5.0) == 0
    assert polynomial_gain((0.5, 1.0), 0.0) == 0.5


@pytest.mark.parametrize("bound", [-1.0, math.inf, math.nan])
def test_bad_bounds(bound):
    with pytest.raises(ValueError, match="bound"):
        polynomial_gain(taylor(3), bound)
    with pytest.raises(ValueError, match="bound"):
        chebyshev(3, bound)


def test_bad_arguments():
    for make in (taylor, lambda d: chebyshev(d, 1.0)):
        with pytest.raises(ValueError, match="degree"):
            make(0)
    with pytest.raises(ValueError, match="bound"):
        chebyshev(3, 0.0)
    with pytest.raises(ValueError, match="angle"):
        chebyshev(3, 1.0, -0.5)
    with pytest.raises(ValueError, match="finite"):
        polynomial_gain((1.0, math.nan), 1.0)
