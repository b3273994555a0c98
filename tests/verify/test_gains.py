"""Gains of polynomials, which the checker decides by Sturm's theorem."""

import math

import numpy as np
import pytest

from helpers.polynomials import extremes
from lipjax import verify as checker

pytestmark = pytest.mark.usefixtures("quiet")

TAYLOR = [1 / math.factorial(k) for k in range(9)]


@pytest.mark.parametrize("degree", range(1, 10))
def test_gain_is_decided_as_by_roots(degree):
    rng = np.random.default_rng(degree)
    for end in (0.0, 0.7, 2.5):
        a = rng.normal(size=degree + 1).tolist()
        gain = extremes(a, end)[1]
        assert checker.gain_holds(a, end, gain * (1 + 1e-9))
        assert not checker.gain_holds(a, end, gain * (1 - 1e-9))


def test_gain_is_exact_at_a_touch():
    ulp = 2.0**-52
    assert checker.gain_holds([0.0, 1.0], 2.0, 2.0 + 2 * ulp)
    assert not checker.gain_holds([0.0, 1.0], 2.0, 2.0)  # it is reached
    assert checker.gain_holds([3.0], 2.0, 3.0 + 2 * ulp)
    assert not checker.gain_holds([3.0], 2.0, 3.0)
    assert checker.gain_holds([1.0, 0.0, 0.0], 2.0, 1 + ulp)


@pytest.mark.parametrize(
    ("degree", "end"), [(3, 1.73), (4, 2.82), (7, 1.76), (8, 3.39)]
)
def test_non_expansive_taylor_polynomials_pass_with_one(degree, end):
    a = TAYLOR[: degree + 1]
    assert checker.gain_holds(a, end, checker.UP)
    assert not checker.gain_holds(a, end, 1 - 1e-12)
    assert not checker.gain_holds(a, end + 0.02, checker.UP)


def test_a_peak_inside_is_found_to_the_last_digits():
    a = TAYLOR[:6]
    gain = extremes(a, 1.7)[1]
    ends = [abs(sum(c * (1j * x) ** k for k, c in enumerate(a))) for x in (0, 1.7)]
    assert gain > max(ends) + 1e-4
    assert not checker.gain_holds(a, 1.7, gain * (1 - 1e-13))
    assert checker.gain_holds(a, 1.7, gain * (1 + 1e-13))
