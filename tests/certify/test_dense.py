"""Matrices as layers: bounds on their norms and on the rounding of their execution."""

import jax
import numpy as np
import pytest

from helpers.dense import normal
from helpers.networks import small_network
from lipjax.certify import (
    Certifier,
    Dense,
    Linear,
    Network,
    matrix_norm_bound,
    model_record,
)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (7, 3), (150, 200), (200, 120)])
@pytest.mark.parametrize("exponent", [-8, 0, 8])
def test_norm_is_bounded_tightly(shape, exponent):
    matrix = normal(0, *shape) * 10.0**exponent
    norm = np.linalg.norm(matrix, 2)
    assert norm <= matrix_norm_bound(matrix) <= norm * (1 + 1e-6)


def test_norm_of_nearly_equal_singular_values():
    """What p(J) is, in float32: many singular values within 1e-5 of the largest."""
    left, right = (np.linalg.qr(normal(seed, 300, 300))[0] for seed in (0, 1))
    values = 1 - 2e-5 * np.linspace(0, 1, 300) ** 2
    matrix = ((left * values) @ right).astype(np.float32)
    norm = np.linalg.norm(matrix.astype(np.float64), 2)
    assert norm <= matrix_norm_bound(matrix) <= norm * (1 + 1e-6)


def test_norm_of_nothing():
    assert 0 <= matrix_norm_bound(np.zeros((3, 2))) < 1e-70


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_entries_that_are_not_finite(bad):
    with pytest.raises(ValueError, match="not finite"):
        matrix_norm_bound(np.array([[1.0, bad]]))


def layer(seed=0, sides=(1, 2), pixels=6, channels=3):
    size = sides[0] * sides[1] * channels
    return Dense(normal(seed, pixels, size), normal(seed + 1, channels), sides)


def test_lipschitz_constant_and_shape():
    dense = layer()
    bound, shape = dense.bound((3, 1, 2))
    assert shape == (1, 2, 3)
    norm = np.linalg.norm(dense.matrix, 2)
    assert norm <= bound.lipschitz <= norm * (1 + 1e-6)
    x = normal(3, 5, 3, 1, 2)
    y = dense(x)
    assert y.shape == (5, *shape)
    np.testing.assert_allclose(dense(x[0]), y[0], rtol=1e-14)  # two ways to add up
    for image, out in zip(x, y, strict=True):
        expected = image.ravel() @ dense.matrix + np.tile(dense.bias, 2)
        np.testing.assert_allclose(np.ravel(out), expected, atol=1e-13)
        most = bound.lipschitz * np.linalg.norm(image) + bound.offset
        assert np.linalg.norm(out) <= most


def test_rounding_is_within_its_bound():
    if np.finfo(np.longdouble).nmant < 60:
        pytest.skip("no extended precision here")
    dense = layer(pixels=200, channels=50)
    bound, _ = dense.bound((10, 10, 2))
    x = normal(4, 20, 10, 10, 2)
    flat = x.reshape(20, -1).astype(np.longdouble)
    exact = flat @ dense.matrix.astype(np.longdouble) + np.tile(dense.bias, 2)
    found = np.asarray(jax.jit(lambda x: dense(x))(x)).reshape(20, -1)
    errors = np.linalg.norm((found - exact).astype(float), axis=1)
    norms = np.linalg.norm(x.reshape(20, -1), axis=1)
    assert (errors <= bound.relative * norms + bound.absolute).all()


def test_certified_and_not_written():
    """A network with a matrix is proven like any other; records do not have them."""
    head = Linear(np.eye(3), np.zeros(3))
    dense = Dense(np.diag([2.0, 1.0, 1.0]), np.zeros(3), (1, 1))
    network = Network((1, 1, 3), np.zeros(3), np.ones(3), (dense,), head)
    certifier = Certifier(network)
    radius = certifier(np.array([[[[0.5, 0.2, 0.1]]]])).radius[0]
    assert 0.8 / 2**0.5 / 2 * (1 - 1e-6) <= radius <= 0.8 / 2**0.5 / 2
    with pytest.raises(ValueError, match="no layer of the kind Dense"):
        model_record(certifier, certifier.curvatures)
    written = Certifier(small_network(width=2))
    assert model_record(written, written.curvatures)
