"""Polynomials on the imaginary axis, by the roots of a derivative."""

import math

import numpy as np


def extremes(coefficients, end):
    """The smallest and the largest |p(i theta)|, 0 <= theta <= end, up to rounding."""
    signed = [a * (-1) ** (k // 2) for k, a in enumerate(coefficients)]
    even, odd = np.array(signed), np.array(signed)
    even[1::2] = odd[::2] = 0
    squared = np.polynomial.Polynomial(even) ** 2 + np.polynomial.Polynomial(odd) ** 2
    roots = squared.deriv().roots()
    points = [0.0, end, *(r.real for r in roots if 0 < r.real < end)]
    values = squared(np.array(points))
    return math.sqrt(max(values.min(), 0)), math.sqrt(values.max())


def loss(coefficients, end):
    """The largest share of a norm that p(J) may lose where ||J|| <= end."""
    return 1 - extremes(coefficients, end)[0]
