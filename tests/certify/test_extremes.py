"""The theorem at the ends of float64: underflow, overflow, and what is neither.

XLA on a CPU replaces subnormal numbers by zero; NumPy keeps them. The theorem covers
both, at the image and anywhere within its radius.
"""

import io
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipjax import verify as checker
from lipjax.certify import (
    Activation,
    Certifier,
    Linear,
    Network,
    SkewConvolution,
    model_record,
    network_bound,
    read_network,
)
from lipjax.ops import CurvatureWeights

EYE = np.eye(2)


def rotation(norm):
    """J of 1x1 images of two channels, with this norm."""
    return norm * np.array([[0.0, 1.0], [-1.0, 0.0]]).reshape(1, 1, 2, 2)


def power(coefficient, degree, norm=1.0):
    """x -> coefficient J^degree x."""
    coefficients = (0.0,) * degree + (coefficient,)
    return SkewConvolution(rotation(norm), np.zeros(2), coefficients)


def network(*layers, bias=(0.25, 0.0), std=1.0):
    head = Linear(EYE, np.array(bias))
    return Network((1, 1, 2), np.zeros(2), np.full(2, std), layers, head)


def executions(net, x):
    """Logits by XLA, which flushes subnormal numbers, and by NumPy, which does not."""
    with jax.enable_x64(True):
        flushed = np.asarray(net.logits(jnp.asarray(x)))
        record = model_record(Certifier(net), Certifier(net).curvatures)
    with np.errstate(all="ignore"):
        model = checker.read_model(record)
        kept = checker.head_of(model, checker.features_of(model, x))[0]
    return flushed, kept


def test_this_platform_flushes():
    """Else the tests below would show little."""
    x = jnp.asarray(np.float64(2.0**-1022))
    assert float(jax.jit(lambda x: x * 0.5)(x)) == 0
    assert np.float64(2.0**-1022) * 0.5 > 0


LOST = {
    # Horner's rule multiplies what was flushed at its start by 2^1022.
    "inside a layer": [power(2.0**-1022, 49, 2.0**20.857)],
    # Two small layers underflow; the following ones bring it back to size.
    "between layers": [
        power(2.0**-244, 0),
        power(2.0**-244, 0),
        power(2.0**-536, 2, 2.0**268),
        *[power(2.0**122, 0)] * 4,
    ],
}


@pytest.mark.parametrize("name", LOST)
@pytest.mark.parametrize("bias", [(0.25, 0.0), (0.0, -0.25)])
def test_what_underflow_loses_is_never_certified(name, bias):
    """Counter-examples of issue 14: each was certified with a radius above 0.3."""
    net = network(*LOST[name], bias=bias)
    for x in ([1.0, 0.0], [200 / 255, 10 / 255], [0.2, 0.5]):
        assert not certified(net, np.array(x).reshape(1, 1, 1, 2))


def certified(net, x):
    """Whether the certifier or the checker prove a radius of at least 0.01."""
    try:
        prove = Certifier(net)
    except ValueError as error:
        assert "\n" not in str(error)
        return False
    return prove(x).radius[0] > 0.01


@pytest.mark.parametrize("scale", [-170, -120, -60, 60, 120])
def test_small_and_large_numbers_keep_their_radii(scale):
    """As long as neither underflow nor overflow can reach the margin."""
    layers = power(2.0**scale, 0), power(2.0**-scale, 0)
    x = np.array([0.75, 0.25]).reshape(1, 1, 1, 2)
    for order in (layers, layers[::-1]):
        radius = Certifier(network(*order, bias=(0.0, 0.0)))(x).radius[0]
        np.testing.assert_allclose(radius, 0.5**1.5, rtol=1e-9)


OVERFLOWS = {
    "a coefficient": network(
        SkewConvolution(rotation(2.0**-400), np.zeros(2), (1.0, 0.0, 0.0, 1.7e308)),
        std=0.5,
        bias=(0, -0.25),
    ),
    "an iterate of Horner's rule": network(
        SkewConvolution(rotation(2.0**-200), np.zeros(2), (1.0, 0.0, 2.0**299)),
        SkewConvolution(rotation(1.0), np.zeros(2), (2.0**10,)),
        std=2.0**-10,
    ),
    "a normalised image": Network(
        (1, 1, 1),
        np.zeros(1),
        np.array([2.0**-511.99]),
        (),
        Linear(np.array([[0.9 * 2.0**511.9, 2.0**511.9]]), np.zeros(2)),
    ),
    "the mean": Network(
        (1, 1, 2), np.full(2, 2.0**200), np.full(2, 2.0**-110), (), Linear(EYE, EYE[0])
    ),
    "a weight": network(bias=(1e200, 0.0)),
    "a kernel": network(SkewConvolution(rotation(1e200), np.zeros(2), (1.0,))),
    "a hidden unit": Network(
        (1, 1, 2),
        np.zeros(2),
        np.full(2, 2.0**-20),
        (),
        CurvatureWeights(2.0**290 * EYE, np.zeros(2), EYE, np.zeros(2)),
    ),
}


@pytest.mark.parametrize("name", OVERFLOWS)
def test_networks_that_may_overflow_are_refused(name):
    with pytest.raises(ValueError, match=r"overflow|2\^300|2\^-300"):
        Certifier(OVERFLOWS[name])


UNPROVABLE = {
    "an iterate of Horner's rule": OVERFLOWS["an iterate of Horner's rule"],
    "the mean": OVERFLOWS["the mean"],
} | {name: network(*layers, bias=(0.0, -0.25)) for name, layers in LOST.items()}


@pytest.mark.parametrize("name", UNPROVABLE)
def test_the_checker_proves_no_radius_of_them(name):
    x = np.array([200, 10]).reshape(1, 1, 1, 2) / 255
    with np.errstate(all="ignore"):
        try:
            model = checker.read_model(forged_record(UNPROVABLE[name]))
            checker.prove_features(model)
        except ValueError as error:
            assert "too small" in str(error) or "do not fit" in str(error)  # degree 49
            return
        checker.prove_head(model)
        features = checker.features_of(model, x)
        n0 = checker.norm_of(((x - model.mean) / model.std).reshape(1, -1))
        entry = checker.Record(y=0, t=1, eta=0.0, delta=0.0, radius=0.01)
        radius = checker.proven_radii(features, n0, [entry], model)[0]
    assert not radius > 0


def forged_record(net):
    """A model record with true claims that no certifier would write."""
    layers, arrays = [], {"mean": net.mean, "std": net.std}
    for i, layer in enumerate(net.layers):
        norm = float(np.abs(layer.kernel).max()) * (1 + 1e-9)
        size = sum(abs(a) * norm**k for k, a in enumerate(layer.coefficients))
        layers.append({"kind": "skew_convolution", "stride": 1})
        arrays |= {f"layers.{i}.kernel": layer.kernel, f"layers.{i}.bias": layer.bias}
        arrays[f"layers.{i}.coefficients"] = np.array(layer.coefficients)
        arrays[f"layers.{i}.claims"] = np.array([norm, size * (1 + 1e-9)])
    arrays |= {f"head.{name}": value for name, value in net.head._asdict().items()}
    header = {"format": "lipjax model 2", "image_shape": net.image_shape}
    header["layers"] = layers
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def test_tiny_heads_are_not_taken_for_constant_ones():
    """Squares of 2^-540 underflow; the margin's slope must not be 0."""
    head = Linear(np.array([[-(2.0**-540), 0.0]]), np.array([2.0**-251, 0.0]))
    net = Network((1, 1, 1), np.zeros(1), np.array([2.0**-290]), (), head)
    found = Certifier(net)(np.zeros((1, 1, 1, 1)))
    assert found.prediction == 0 and found.radius[0] <= 0.5  # exactly, the margin is 0


def test_every_radius_is_zero_or_at_least_the_least():
    bias = (2.0**-44, 0.0)
    x = np.full((1, 1, 1, 2), 0.5)
    wide = network(power(2.0**90, 0), bias=bias)
    assert Certifier(wide)(x).radius[0] == 0
    assert Certifier(network(bias=(2.0**-20, 0.0)))(x).radius[0] > 0


def test_one_class_is_refused():
    head = Linear(np.ones((2, 1)), np.zeros(1))
    net = Network((1, 1, 2), np.zeros(2), np.ones(2), (), head)
    with pytest.raises(ValueError, match="fewer than two classes"):
        Certifier(net)


def test_no_hidden_units_are_refused():
    head = CurvatureWeights(np.ones((2, 0)), np.zeros(0), np.ones((0, 2)), np.zeros(2))
    net = Network((1, 1, 2), np.zeros(2), np.ones(2), (), head)
    with pytest.raises(ValueError, match="no hidden units"):
        Certifier(net)


@pytest.mark.parametrize("kind", ["maxmin", "max", "householder2", "projection"])
def test_subnormal_images(kind):
    """Angles of subnormal points are arbitrary where they are flushed."""
    count = {"householder2": 3, "projection": 1}.get(kind, 0)
    layer = Activation(kind, tuple(np.full(1, 2.0 + i) for i in range(count)))
    bound, shape = layer.bound((1, 1, 2))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 1, 1, 2)) * 2.0 ** rng.uniform(
        -1074, -1000, (200, 1, 1, 1)
    )
    with jax.enable_x64(True):
        y = np.asarray(layer(jnp.asarray(x)))
    assert np.isfinite(y).all() and y.shape[1:] == shape
    assert (np.abs(y) <= 2 * np.abs(x).sum(-1, keepdims=True) + bound.absolute).all()


def test_signs_of_zero_do_not_matter():
    net = network(power(1.0, 1), Activation("maxmin"), bias=(0.1, 0.0))
    x = np.zeros((2, 1, 1, 2))
    x[1] = -0.0
    found = Certifier(net)(x)
    assert found.radius[0] == found.radius[1] > 0


def test_a_record_reads_back_as_it_was():
    net = network(power(2.0**-60, 0), power(2.0**60, 0))
    prove = Certifier(net)
    again = read_network(model_record(prove, prove.curvatures))
    assert network_bound(again).lipschitz == network_bound(net).lipschitz
    assert math.isfinite(network_bound(net).lipschitz)


def test_garbage_is_no_record():
    """In words of ours: NumPy would tell the user to trust and unpickle the file."""
    with pytest.raises(ValueError, match=r"not a model record: it is no \.npz archive"):
        read_network(b"garbage")
