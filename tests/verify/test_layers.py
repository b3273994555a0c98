"""The checker's layers, against dense matrices, definitions and wider arithmetic."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.checker import (
    absolute,
    jacobian,
    make_layer,
    plain_layer,
    proven_layer,
    skew_kernel,
    torus_norm,
)
from helpers.dense import any_convolution_matrix
from lipjax import verify as checker

pytestmark = pytest.mark.usefixtures("quiet")

U = checker.U
TAYLOR = [1 / math.factorial(k) for k in range(9)]
SIZES = [(5, 1, 1), (3, 1, 5), (3, 2, 2), (5, 2, 3), (3, 4, 5), (1, 3, 2)]


@pytest.mark.parametrize(("k", "h", "w"), SIZES)
def test_norm_against_dense_matrices(k, h, w):
    layer = make_layer(skew_kernel(np.random.default_rng(k + h), k, 3), (h, w))
    dense, torus = jacobian(layer), torus_norm(layer)
    np.testing.assert_array_equal(dense, -dense.T)
    assert np.linalg.norm(dense, 2) <= torus * (1 + 1e-12)
    for factor, holds in ((1 + 1e-9, True), (1 - 1e-9, False), (0.999, False)):
        assert checker.norm_holds(layer, torus * factor, absolute(layer)) == holds


def test_claims_of_a_convolution():
    rng = np.random.default_rng(1)
    layer = proven_layer(rng, TAYLOR[:6])
    (tiny, rho), bias, (_, inside) = checker.prove_convolution(layer)
    assert 10 * U < rho < 1e4 * U and checker.TINY < tiny
    assert 0.9 < inside < 9
    np.testing.assert_allclose(bias, [4 * float(np.linalg.norm(layer.bias)), 0])
    for i, claim in enumerate(("norm", "lipschitz")):
        layer.claims[i] *= 0.999
        with pytest.raises(ValueError, match=claim):
            checker.prove_convolution(layer)
        layer.claims[i] /= 0.999
    layer.coefficients[2] = 2.0**-301
    with pytest.raises(ValueError, match="too small"):
        checker.prove_convolution(layer)
    layer.kernel[0, 0, 0, 1] = np.nextafter(layer.kernel[0, 0, 0, 1], 9)
    with pytest.raises(ValueError, match="skew"):
        checker.prove_convolution(layer)


def test_convolution_by_definition():
    rng = np.random.default_rng(2)
    layer = proven_layer(rng, TAYLOR[:5], (4, 6), 2, c=9)
    z = rng.normal(size=(2, 4, 6, 2))
    blocks = np.zeros((2, 2, 3, 9))
    for p, q, i, j in itertools.product(range(2), range(3), range(2), range(2)):
        blocks[:, p, q, 2 * i + j] = z[:, 2 * p + i, 2 * q + j, 0]
        blocks[:, p, q, 4 + 2 * i + j] = z[:, 2 * p + i, 2 * q + j, 1]
    identity = make_layer(layer.kernel, (2, 3), 1)
    j = jacobian(identity)
    powers = (np.linalg.matrix_power(j, k) for k in range(len(layer.coefficients)))
    p = np.sum([a * q for a, q in zip(layer.coefficients, powers, strict=True)], 0)
    expected = (blocks.reshape(2, -1) @ p.T).reshape(blocks.shape)[..., :2] + layer.bias
    np.testing.assert_allclose(checker.convolution(layer, z), expected, atol=1e-12)
    # J itself: (J z)_p is the sum of A_t^T z_(p+t).
    direct = np.zeros_like(blocks)
    for a, b, s, t in itertools.product(range(2), range(3), range(-1, 2), range(-1, 2)):
        if 0 <= a + s < 2 and 0 <= b + t < 3:
            tap = layer.kernel[1 + s, 1 + t]
            direct[:, a, b] += blocks[:, a + s, b + t] @ tap
    got = checker.convolution(identity, blocks)
    np.testing.assert_allclose(got, direct, atol=1e-12)


def test_rounding_of_a_convolution_is_covered():
    rng = np.random.default_rng(3)
    layer = proven_layer(rng, TAYLOR[:7])
    (absolute_error, rho), _, _ = checker.prove_convolution(layer)
    z = rng.normal(size=(50, 4, 4, 4))
    exact = SimpleNamespace(**vars(layer))
    exact.kernel = layer.kernel.astype(np.longdouble)
    exact.bias = layer.bias * np.longdouble(1)
    wide = checker.convolution(exact, z.astype(np.longdouble))
    if wide.dtype.itemsize == 8:
        pytest.skip("no wider floating point")
    error = np.linalg.norm(
        (checker.convolution(layer, z) - wide).reshape(50, -1), axis=1
    )
    bound = rho * np.linalg.norm(z.reshape(50, -1), axis=1) + absolute_error
    assert (error <= bound).all() and error.max() > 1e-4 * bound.max()


KINDS = {"convolution": "zero", "circular_convolution": "circular"}
# Taps, sides, channels in and out: odd, even, as large as the image, larger, dense.
PLAIN = [
    ((3, 3), (4, 4), (3, 3)),
    ((2, 4), (4, 3), (2, 5)),
    ((4, 3), (4, 3), (3, 1)),
    ((5, 6), (2, 3), (2, 2)),
    ((1, 1), (1, 1), (7, 3)),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", PLAIN)
def test_plain_convolutions_against_dense_matrices(case, kind):
    taps, size, channels = case
    layer = plain_layer(np.random.default_rng(9), kind, taps, size, *channels)
    dense = any_convolution_matrix(layer.kernel, *size, padding=KINDS[kind])
    layer.bias[:] = 0
    np.testing.assert_allclose(jacobian(layer), dense, atol=1e-15)
    claim = layer.claims[0]
    assert np.linalg.norm(dense, 2) <= claim
    if kind == "circular_convolution":
        assert claim <= np.linalg.norm(dense, 2) * (1 + 2e-9)
    (tiny, rho), bias, (_, inside) = checker.prove_convolution(layer)
    absolute_norm = np.linalg.norm(np.abs(dense), 2)
    assert layer.lipschitz == claim and inside == 1 and bias[0] < 1e-99 and tiny > 0
    assert U * absolute_norm * channels[0] <= rho <= 1e4 * U * absolute_norm
    layer.claims[0] = claim * (1 - 1e-6)
    with pytest.raises(ValueError, match="norm not proven"):
        checker.prove_convolution(layer)


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_of_a_plain_convolution_is_covered(kind):
    rng = np.random.default_rng(10)
    layer = plain_layer(rng, kind, (3, 4), (4, 4), 4, 3)
    (absolute_error, rho), _, _ = checker.prove_convolution(layer)
    z = rng.normal(size=(50, 4, 4, 4))
    exact = SimpleNamespace(**vars(layer))
    exact.kernel = layer.kernel.astype(np.longdouble)
    exact.bias = layer.bias * np.longdouble(1)
    wide = checker.convolution(exact, z.astype(np.longdouble))
    if wide.dtype.itemsize == 8:
        pytest.skip("no wider floating point")
    error = np.linalg.norm(
        (checker.convolution(layer, z) - wide).reshape(50, -1), axis=1
    )
    bound = rho * np.linalg.norm(z.reshape(50, -1), axis=1) + absolute_error
    assert (error <= bound).all() and error.max() > 1e-4 * bound.max()


def test_positive():
    rng = np.random.default_rng(4)
    basis = np.linalg.qr(rng.normal(size=(30, 30)))[0]
    for least, holds in ((1e-9, True), (-1e-9, False), (-1.0, False)):
        matrix = (basis * np.linspace(least, 5, 30)) @ basis.T
        assert checker.positive(matrix, 0.0) == holds
        assert not checker.positive(matrix, 2e-9)
    # Where rounding decides whether the factorisation ends, nothing is proven.
    assert not checker.positive(np.diag([1e-16, *[1.0] * 29]), 0.0)
    assert not checker.positive(np.full((2, 2), np.nan), 0.0)
    assert not checker.positive(np.zeros((2, 2)), 0.0)


def angles_of(kind, rng, n):
    return rng.uniform(-1, 7.5, size=(checker.ANGLES[kind], n))


@pytest.mark.parametrize("kind", sorted(checker.ANGLES))
def test_activations_do_not_expand(kind):
    rng = np.random.default_rng(5)
    angles = angles_of(kind, rng, 2000)
    x = rng.normal(size=(2, 2, 2000))
    x[1] = x[0] + rng.normal(size=(2, 2000)) * 10.0 ** rng.uniform(-6, 0.5, size=2000)
    y = checker.activation(kind, x[:, 0], x[:, 1], *angles).reshape(2, -1, 2000)
    before, after = (np.linalg.norm(z[1] - z[0], axis=0) for z in (x, y))
    assert (after <= before * (1 + 1e-9) + 1e-14).all()
    assert (np.linalg.norm(y, axis=1) <= np.linalg.norm(x, axis=1) * (1 + 1e-12)).all()
    if len(y[0]) == 2:  # no norm is lost
        before, after = (np.linalg.norm(z, axis=1) for z in (x, y))
        np.testing.assert_allclose(after, before, 1e-12)


def test_activations_by_hand():
    a, b, quarter = np.array([[1.0]]), np.array([[-2.0]]), np.array([np.pi / 2])
    assert checker.activation("max", a, b).tolist() == [[1.0]]
    assert checker.activation("maxmin", a, b).tolist() == [[1.0, -2.0]]
    swapped = checker.activation("householder", a, b, quarter)
    np.testing.assert_allclose(swapped, [[-2, 1]], atol=1e-15)
    # A wedge of half-angle 45 degrees; the point's distance to it is (2 - 1) / sqrt 2.
    distance = checker.activation("projection", a, b, quarter)
    np.testing.assert_allclose(distance, [[math.sqrt(0.5)]])
    behind = checker.activation("projection", -a - 9, b, quarter)
    np.testing.assert_allclose(behind, [[math.hypot(10, 2)]])
    identity = checker.activation(
        "householder2", a, b, 0 * quarter, 8 + quarter, quarter
    )
    turned = checker.activation(
        "householder2", a, b, 0 * quarter, 0 * quarter, 8 + quarter
    )
    np.testing.assert_allclose(identity, [[1, 2]], atol=1e-14)  # reflected by 0
    np.testing.assert_allclose(turned, [[1, -2]], atol=1e-14)  # turned by 2 pi
