"""What holds of the checker's functions for convolutions, in exact arithmetic."""

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from helpers import theorem
from helpers.dense import any_convolution_matrix

U = Fraction(2) ** -53
Facts = Iterator[bool]


def near(found: Any, true: Fraction, more: float = 1e-12) -> bool:
    """At least the true bound, and hardly more."""
    return true <= Fraction(float(found)) <= true * (1 + Fraction(more))


def of_products(checker: Any) -> Facts:
    """J z as defined, for integers: without rounding."""
    draw = np.random.default_rng(0)
    for kind, padding in (("convolution", "zero"), (checker.CIRCULAR, "circular")):
        for m, n, h, w in ((4, 3, 4, 5), (1, 2, 1, 3), (3, 5, 4, 2), (5, 5, 5, 5)):
            kernel = draw.integers(-9, 9, (m, n, 2, 3)).astype(float)
            z = draw.integers(-9, 9, (2, h, w, 2)).astype(float)
            layer = checker.Record(kernel=kernel, size=(h, w, 2), kind=kind)
            matrix = any_convolution_matrix(kernel, h, w, padding)
            true = (z.reshape(2, -1) @ matrix.T).reshape(2, h, w, 3)
            yield (checker.plus_product(1 + 0 * true, layer, z) == 1 + true).all()


def of_plain_errors(checker: Any) -> Facts:
    """The error of a dense layer, by the bound sqrt(7 * 4) of || |J| ||."""
    for shape in ((1, 1, 2, 1), (1, 1, 1, 2)):
        kernel = np.array([3.0, 4.0]).reshape(shape)
        layer = checker.Record(kernel=kernel, size=(1, 1, shape[2]), name="")
        layer.kind, layer.bias = "convolution", np.zeros(shape[3])
        layer.claims = np.array([5.0 + 1e-9])
        error, _, _ = checker.prove_convolution(layer)
        gamma = theorem.gamma(shape[2] + 2)
        yield near(Fraction(float(error[1])) ** 2, 28 * gamma**2)


def of_norm_holds(checker: Any) -> Facts:
    """The rounding of K and of the factorisation is subtracted, for a rotation."""
    kernel = np.array([[0.0, 1.0], [-1.0, 0.0]])[None, None]
    for k, sides in ((1, (1, 1)), (3, (2, 2))):
        taps = np.zeros((k, k, 2, 2))
        taps[k // 2, k // 2] = kernel[0, 0]
        layer = checker.Record(kernel=taps, size=(*sides, 2), kind=checker.SKEW)
        for scale in (1.0, 2.0**-40, 2.0**40):
            layer.kernel = taps * scale
            room = 2 * (k * k + 1) * U + 9 * U + 4 * 5 * 4 * U
            yield not checker.norm_holds(layer, scale * (1 + float(room)), scale)
            yield checker.norm_holds(layer, scale * (1 + 1e-12), scale)
    for slope in (1.0, -1.0):  # the difference of the rows above and below
        taps = np.zeros((3, 3, 1, 1))
        taps[0, 1], taps[2, 1] = slope, -slope
        layer = checker.Record(kernel=taps, size=(2, 1, 1), kind=checker.SKEW)
        yield not checker.norm_holds(layer, math.sqrt(3) * (1 - 1e-9), 2.0)
        yield checker.norm_holds(layer, math.sqrt(3) * (1 + 1e-9), 2.0)


def of_plain_norms(checker: Any) -> Facts:
    """The norm of a shifted rotation is 1, at all frequencies, real ones or not."""
    for kind in ("convolution", "circular_convolution"):
        for k, sides in ((1, (1, 1)), (2, (1, 3)), (3, (3, 2))):
            taps = np.zeros((1, k, 2, 2))
            taps[0, 0] = theorem.ROTATION
            layer = checker.Record(kernel=taps, size=(*sides, 2), kind=kind)
            for scale in (1.0, 2.0**-40, 2.0**40):
                layer.kernel = taps * scale
                room = (2 * (k + 1) + 1) * U
                yield not checker.norm_holds(layer, scale * (1 + float(room)), scale)
                yield checker.norm_holds(layer, scale * (1 + 1e-12), scale)
    for shape in ((2, 1, 1, 1), (1, 2, 1, 1)):  # a difference of neighbours
        taps = np.array([1.0, -1.0]).reshape(shape)
        layer = checker.Record(kernel=taps, size=(2, 2, 1), kind=checker.CIRCULAR)
        yield not checker.norm_holds(layer, 2 * (1 - 1e-9), 2.0)
        yield checker.norm_holds(layer, 2 * (1 + 1e-9), 2.0)
    wide = checker.Record(
        kernel=np.array([0.6, 0.8]).reshape(1, 1, 1, 2), size=(1, 1, 1)
    )
    wide.kind = "convolution"
    yield checker.norm_holds(wide, 1 + 1e-12, 1.0)
    wide.kernel = wide.kernel.swapaxes(2, 3)
    yield checker.norm_holds(wide, 1 + 1e-12, 1.0)
    yield not checker.norm_holds(wide, 1 - 1e-12, 1.0)


def of_squares(checker: Any) -> Facts:
    """The rounding of the matrix, of its square and of the factorisation counts."""
    for root in (np.ones((1, 1)), np.eye(3, 5), np.eye(5, 3)):
        n, k = max(root.shape), min(root.shape)
        yield not checker.squares_hold(root, 1 + float((n * k + 8) * U))
        yield checker.squares_hold(root, 1 + 1e-12)
        yield not checker.squares_hold(2 * root, 4.0)
