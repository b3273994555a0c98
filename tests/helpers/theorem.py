"""The bounds of docs/guarantees.md in exact arithmetic, for numbers that suit it.

Norms are those of (3, 4), matrices are multiples of a rotation: no root is taken.
"""

import math
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

U, TAU = Fraction(1, 2**53), Fraction(1, 2**480)
ABOVE = 1 + 2.0**-20  # norms are claimed to be larger by this: else none is proven
ROTATION = np.array([[0.0, 1.0], [-1.0, 0.0]])


def gamma(n: int) -> Fraction:
    return n * U / (1 - n * U)


class Affine(NamedTuple):
    """offset + slope n0."""

    offset: Fraction
    slope: Fraction

    def __add__(self, other: Any) -> "Affine":  # pyright: ignore
        return Affine(self.offset + other.offset, self.slope + other.slope)

    def times(self, factor: Any) -> "Affine":
        return Affine(self.offset * factor, self.slope * factor)


def fixed(value: Any) -> Affine:
    return Affine(Fraction(value), Fraction(0))


class Features(NamedTuple):
    lipschitz: Fraction
    norm: Affine
    error: Affine
    largest: Affine  # norm of an iterate of the last layer


def layer(B: int, L: float, bias: int, k: int = 1) -> tuple[dict, Any]:
    """p = 3 + 4/B X, for J = B times a rotation of channels; the bias's norm."""
    kernel = np.zeros((k, k, 2, 2))
    kernel[k // 2, k // 2] = B * ROTATION
    parts = {"kernel": kernel, "bias": bias // 5 * np.array([3.0, 4.0])}
    parts |= {
        "coefficients": np.array([3.0, 4.0 / B]),
        "claims": np.array([B * ABOVE, L]),
    }
    return {"kind": "skew_convolution", "stride": 1}, parts


def plain(B: int, L: float, bias: int, k: int, kind: str) -> tuple[dict, Any]:
    """J + bias, for J = B times a rotation of channels; the bias's norm."""
    fields, parts = layer(B, L, bias, k)
    del parts["coefficients"]
    return fields | {"kind": kind}, parts | {"claims": np.array([L])}


def features(layers: list[tuple], side: int, std: float) -> Features:
    """L, N and E of layers with these arguments, on side^2 pixels."""
    lipschitz = 1 / Fraction(std)
    norm = Affine(TAU, 1 + gamma(4))
    error, largest = Affine(TAU, gamma(4)), fixed(0)
    for B, L, bias, k, *kind in layers:
        taps = k if kind == ["circular_convolution"] else min(k, side)
        unit = gamma(taps**2 * 2 + 2)
        if kind:
            outside, largest = Fraction(bias) * side, norm
            executed = norm.times(unit * B) + fixed(unit * outside + TAU)
            error = error.times(Fraction(L)) + executed
            norm = norm.times(Fraction(L)) + fixed(outside) + executed
            lipschitz *= Fraction(L)
            continue
        a0, a1, L = Fraction(3), Fraction(4, B), Fraction(L)
        last = Affine(TAU, unit * a1)  # e_1
        kept = last.times(B * Fraction(ABOVE)) + fixed(TAU)
        fresh = Affine(last.offset, a1 + last.slope).times(B) + Affine(Fraction(0), a0)
        first = kept + fresh.times(unit)  # e_0
        outside = Fraction(bias) * side
        alpha, rho = first.offset + unit * outside + TAU, first.slope
        largest = norm.times(5 + first.slope) + fixed(first.offset)
        executed = norm.times(rho) + fixed(alpha)
        error = error.times(L) + executed
        norm = norm.times(L) + fixed(outside) + executed
        lipschitz *= L
    return Features(lipschitz, norm, error, largest)


class Point(NamedTuple):
    """What is executed for a radius: margin, gradient, and where, for classes y, t."""

    n0: float
    margin: float
    gradient: np.ndarray
    delta: np.ndarray
    eta: float  # 0: the closed form
    claim: float  # the radius


def radius(
    point: Point, network: Features, errors: list, head: Any, u: float, tau: float
) -> float:
    """The radius of docs/guarantees.md, with the checker's allowances for u and tau.

    `errors` has (slope, offset) of both classes' logits; `head` has units, sizes (of
    the hidden units), columns (norms of both), kappa, tail, m, and the images' std.
    """

    def size(v: np.ndarray) -> float:
        n = len(v) + 8
        return (1 + n * u / (1 - n * u)) * math.sqrt(float(v @ v)) + tau

    reach = point.n0 + point.claim / head.std
    norm, error = (float(a.offset + a.slope * Fraction(reach)) for a in network[1:3])
    here = norm + size(point.delta)
    g = point.margin - 8 * u * abs(point.margin)
    g -= sum(slope * n + offset for slope, offset in errors for n in (here, norm))
    most = max(head.units * here + head.sizes)
    doubt = size(head.units) * (head.kappa * most / 4 + 20 * u + head.tail)
    doubt = doubt * sum(head.columns) + tau
    steep = size(point.gradient) + doubt
    if not point.eta:
        distance = 2 * g / (steep + math.sqrt(steep**2 + 2 * head.m * g))
    else:
        residual = size(point.delta + point.eta * point.gradient)
        residual += 4 * u * (size(point.delta) + point.eta * steep) + point.eta * doubt
        n = len(point.delta) + 8
        square = (1 - n * u / (1 - n * u)) * float(point.delta @ point.delta)
        square += 2 * point.eta * g - residual**2 / (1 - point.eta * head.m)
        distance = math.sqrt(square)
    return (distance - 2 * error) / float(network.lipschitz) - tau


class Logits(NamedTuple):
    slope: Fraction
    offset: Fraction


def linear_logit(column: int, bias: int, depth: int) -> Logits:
    """Of a logit with a column of this norm."""
    g = gamma(depth + 2)
    return Logits(g * column, g * bias + TAU)


def curved_logit(
    outer: list[int], bias: int, inner: list[int], shifts: list[int], depth: int
) -> Logits:
    """Of a logit of units with kernels of the norms `inner` and biases `shifts`."""
    hidden = len(outer)
    kappa = gamma(depth + 4) + 24 * U
    factor = (kappa + gamma(hidden + 6)) * (1 + 2 * kappa + gamma(hidden))
    slope = sum(abs(v) * n for v, n in zip(outer, inner, strict=True))
    fixed = sum(abs(v) * (abs(b) + 1) for v, b in zip(outer, shifts, strict=True))
    return Logits(factor * slope, factor * fixed + gamma(hidden + 6) * abs(bias) + TAU)
