"""What is proven of layers holds: constants, norms, and the rounding of execution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.certification import extended_precision as extended
from helpers.dense import any_convolution_matrix, jacobian, normal
from helpers.jaxprs import contractions, imprecise
from helpers.skips import needs_extended
from lipjax import ops
from lipjax.certify import Activation, Convolution, Flatten, SkewConvolution

PI = np.pi


def convolution(seed=0, k=3, channels=4, out=4, stride=1, scale=0.5, degree=6):
    kernel = scale * normal(seed, k, k, channels, channels)
    kernel = (kernel - kernel[::-1, ::-1].swapaxes(2, 3)) / 2  # jax is not x64 yet here
    coefficients = ops.chebyshev(degree, 2.2)
    return SkewConvolution(kernel, normal(seed + 1, out), coefficients, stride)


def plain(taps, channels, seed=0, stride=1, padding="zero"):
    kernel = normal(seed, *taps, *channels) / 3
    return Convolution(kernel, normal(seed + 1, channels[1]), stride, padding)


def activation(kind, seed=0, count=4):
    number = {"householder": 1, "householder2": 3, "projection": 1}.get(kind, 0)
    angles = np.random.default_rng(seed).uniform(-1, 7, (number, count))
    return Activation(kind, tuple(angles))


LAYERS = [
    (convolution(), (4, 4, 4)),
    (convolution(1, channels=8, out=6), (3, 2, 5)),
    (convolution(2, channels=8, out=8, stride=2), (4, 6, 2)),
    (convolution(3, k=1, channels=6, out=3), (2, 2, 6)),
    (convolution(4, k=5, channels=4), (2, 1, 4)),
    (convolution(5, scale=2.0, degree=3), (3, 3, 4)),  # expands
    (convolution(6, channels=16, out=10), (1, 1, 16)),
    (plain((3, 3), (4, 6)), (4, 5, 4)),
    (plain((2, 4), (8, 3), 1, 2), (4, 2, 2)),
    (plain((3, 3), (4, 4), 2, padding="circular"), (4, 4, 4)),
    (plain((4, 4), (3, 5), 3, padding="circular"), (4, 4, 3)),  # as Cayley's are
    (plain((5, 2), (8, 8), 4, 2, "circular"), (2, 6, 2)),
    (plain((1, 1), (12, 5), 5), (1, 1, 12)),  # a dense layer
    *((activation(kind), (2, 2, 8)) for kind in ("maxmin", "max", "householder")),
    *((activation(kind, 1), (2, 2, 8)) for kind in ("householder2", "projection")),
    (Flatten(), (2, 3, 4)),
]


@pytest.mark.parametrize("layer, shape", LAYERS)
def test_lipschitz_constant_and_shape(layer, shape):
    bound, out = layer.bound(shape)
    x = normal(7, *shape)
    dense = jacobian(lambda x: layer(x[None])[0], x)
    assert np.linalg.norm(dense, 2) <= bound.lipschitz * (1 + 1e-12)
    y = layer(x[None])[0]
    assert y.shape == out
    most = bound.lipschitz * np.linalg.norm(x) + bound.offset
    assert np.linalg.norm(y) <= most * (1 + 1e-12)


@pytest.mark.parametrize("layer, shape", LAYERS)
@pytest.mark.parametrize("exponent", [-8, 0, 8])
def test_rounding_is_within_its_bound(layer, shape, exponent):
    needs_extended()
    bound, _ = layer.bound(shape)
    x = normal(8, 200, *shape) * 10.0**exponent
    exact = extended.apply(layer, x)
    norms = np.linalg.norm(x.reshape(200, -1), axis=1)
    for run in (
        np.asarray(jax.jit(lambda x: layer(x))(x)),
        extended.apply(layer, x, np.float64),
    ):
        errors = np.linalg.norm((run - exact).astype(float).reshape(200, -1), axis=1)
        assert (errors <= bound.relative * norms + bound.absolute).all()


@pytest.mark.parametrize("kind", ["householder", "householder2", "projection"])
def test_rounding_at_the_borders(kind):
    """Points on borders between branches, up to a few units in the last place."""
    needs_extended()
    layer = activation(kind, 3, count=1)
    rng = np.random.default_rng(0)
    t = [float(angle[0]) for angle in layer.angles]
    if kind == "householder":
        borders = [t[0] / 2, t[0] / 2 + PI]
    elif kind == "projection":
        half = np.clip(t[0], 0, PI) / 2
        borders = [half + PI / 2, -half - PI / 2, 0, PI]
    else:
        t0, t1, t2 = np.clip(t, 0, 2 * PI)
        borders = t0 / 2 + np.array([0, t1 / 2, (t1 + t2) / 2, PI + t2 / 2])
    angle = np.repeat(borders, 500) + rng.normal(size=500 * len(borders)) * 4e-16
    x = np.stack([np.cos(angle), np.sin(angle)], -1).reshape(-1, 1, 1, 2)
    exact = extended.apply(layer, x)
    error = np.asarray(jax.jit(lambda x: layer(x))(x)) - exact
    worst = np.linalg.norm(error.astype(float).reshape(len(x), -1), axis=1).max()
    bound, _ = layer.bound((1, 1, 2))
    assert worst <= bound.relative


@pytest.mark.parametrize("layer, shape", LAYERS)
def test_execution_is_plain_products(layer, shape):
    """No convolution primitive, whose algorithm platforms choose; full precision."""
    jaxpr = jax.make_jaxpr(lambda x: layer(x))(jnp.zeros((2, *shape)))
    assert not imprecise(jaxpr)
    assert {e.primitive.name for e in contractions(jaxpr)} <= {"dot_general"}


@pytest.mark.parametrize("padding", ["zero", "circular"])
@pytest.mark.parametrize("taps", [(3, 3), (2, 4), (1, 1), (4, 3), (7, 5)])
def test_a_convolution_is_its_definition(taps, padding):
    layer, x = plain(taps, (8, 3), stride=2, padding=padding), normal(3, 2, 8, 6, 2)
    blocks = x.reshape(2, 4, 2, 3, 2, 2).transpose(0, 1, 3, 5, 2, 4).reshape(2, -1)
    matrix = any_convolution_matrix(layer.kernel, 4, 3, padding)
    expected = np.einsum("ni,oi->no", blocks, matrix).reshape(2, 4, 3, 3) + layer.bias
    np.testing.assert_allclose(layer(x), expected, atol=1e-12)  # some 200 products
    np.testing.assert_allclose(layer(x[0]), expected[0], atol=1e-12)


def test_a_dense_layer_is_a_convolution_of_one_pixel():
    matrix, bias, x = normal(0, 24, 5), normal(1, 5), normal(2, 3, 2, 4, 3)
    layer = Convolution(matrix[None, None], bias)
    flat, shape = Flatten().bound((2, 4, 3))
    found = layer(Flatten()(x)).reshape(3, 5)
    np.testing.assert_allclose(found, x.reshape(3, -1) @ matrix + bias, atol=1e-13)
    bound, out = layer.bound(shape)
    norm = np.linalg.norm(matrix, 2)
    assert flat.lipschitz == 1 and out == (1, 1, 5)
    assert norm <= bound.lipschitz <= norm * (1 + 1e-6)


@pytest.mark.parametrize(
    "layer, shape, words",
    [
        (plain((3, 3), (4, 4), stride=2), (3, 4, 1), "2 does not divide 3x4"),
        (plain((3, 3), (4, 4)), (4, 4, 3), "does not map 3 channels"),
        (plain((3, 3), (4, 4), padding="same"), (4, 4, 4), "zero or circular"),
        (Convolution(normal(0, 1, 1, 2, 3), normal(0, 2)), (1, 1, 2), "does not map"),
        (Convolution(normal(0, 2, 2), normal(0, 2)), (1, 1, 2), "does not map"),
        (Convolution(np.zeros((0, 1, 2, 2)), np.zeros(2)), (1, 1, 2), "does not map"),
    ],
)
def test_convolutions_that_do_not_fit(layer, shape, words):
    with pytest.raises(ValueError, match=words):
        layer.bound(shape)
