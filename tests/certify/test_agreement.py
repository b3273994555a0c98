"""Certifier and checker prove the same: they differ by their own rounding alone.

The certifier covers the arithmetic of its bounds by 1 + 2^-40 a step, the checker by
32 u. A layer of degree d is at most 8 (d + 1) + 8 steps, one after the other.
"""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import networks_at_random, slack
from helpers.golden import load
from helpers.heads import GOLDEN_HEADS, golden_head
from helpers.networks import TWO_KINDS, images, small_network
from helpers.registry import LAYERS, Function, drawn
from lipjax import verify as checker
from lipjax.certify import (
    Activation,
    Certifier,
    Convolution,
    Flatten,
    Linear,
    Network,
    SkewConvolution,
    model_record,
    read_network,
)
from lipjax.certify.rounding import FINAL
from lipjax.inference import exact_layer
from lipjax.inference.exact import output_shape
from lipjax.models.block import Block
from lipjax.ops import CurvatureWeights


def steps(network):
    """How many operations of bounds follow one another."""
    degrees = [
        len(a.coefficients) for a in network.layers if isinstance(a, SkewConvolution)
    ]
    return 8 * sum(degrees) + 8 * len(network.layers) + 32


def assert_close(ours, theirs, network):
    """Relative to the certifier's; absolute, for what underflow alone may lose."""
    tolerance = steps(network) * FINAL
    np.testing.assert_allclose(theirs, ours, rtol=tolerance, atol=2.0**-460)


def compare(subject):
    ours, theirs = subject.proofs["certifier"], subject.proofs["checker"]
    network, largest = subject.network, 2.0**40
    for pair in ((ours.norm, theirs.norm), (ours.error, theirs.error)):
        a, b = (slope * largest + offset for slope, offset in pair)
        assert_close(a, b, network)
    assert_close(ours.slope, theirs.slope, network)
    assert_close(ours.offset, theirs.offset, network)
    assert_close(subject.bound.lipschitz, subject.model.lipschitz, network)
    for a, b in zip(ours.layers, theirs.layers, strict=True):
        assert_close(a[:2], b[:2], network)
        assert_close(a.inside, b.inside, network)


@pytest.mark.parametrize("kind", TWO_KINDS)
def test_bounds_of_networks(kind):
    subject = slack.prove(small_network(kind))
    compare(subject)


EXACT = [layer for layer in LAYERS if not isinstance(layer.module, Function)]


@pytest.mark.parametrize("layer", EXACT, ids=lambda layer: layer.name)
def test_bounds_of_the_registry(layer):
    """Every layer that a model record can hold, under a linear head."""
    x = jnp.zeros((1, *layer.shape))
    layers = exact_layers(layer.module, drawn(layer.module, x), layer.shape)
    ones, shape = np.ones(layer.shape[-1]), layer.shape
    for one in layers:
        _, shape = one.bound(shape)
    head = Linear(np.eye(math.prod(shape), 2), np.zeros(2))
    compare(slack.prove(Network(layer.shape, 0 * ones, ones, layers, head)))


def exact_layers(module, variables, shape):
    """The module's layers of a certified network."""
    parts = {"params": {}, "spectral": {}} | jax.tree.map(np.asarray, variables)
    if not isinstance(module, Block):
        return (exact_layer(module, *parts.values(), shape),)
    layers = []
    for name in ("conv", "activation"):
        numbers = (part.get(name, {}) for part in parts.values())
        layers.append(exact_layer(getattr(module, name), *numbers, shape))
        shape = output_shape(layers[-1], shape)
    return tuple(layers)


@pytest.mark.parametrize("name", GOLDEN_HEADS)
def test_bounds_of_golden_heads(name, shared):
    weights, features, _ = golden_head(load(shared(f"golden/{name}.npz")))
    head = CurvatureWeights(*map(np.asarray, weights))
    depth = features.shape[1]
    network = Network((1, 1, depth), np.zeros(depth), np.ones(depth), (), head)
    compare(slack.prove(network))


def plain_network():
    """Plain convolutions of each padding, and a dense layer."""
    rng = np.random.default_rng(0)

    def layer(*shape, **settings):
        kernel = rng.normal(size=shape) / np.sqrt(np.prod(shape[:3]))
        return Convolution(kernel, rng.normal(size=shape[3]) / 4, **settings)

    layers = layer(2, 2, 4, 4, stride=2, padding="circular"), Activation("maxmin")
    layers += layer(3, 3, 4, 4), Activation("max"), Flatten(), layer(1, 1, 8, 5)
    head = Linear(rng.normal(size=(5, 3)), np.zeros(3))
    return Network((4, 4, 1), np.full(1, 0.5), np.full(1, 0.25), layers, head)


def test_records_of_plain_convolutions():
    """They are read back, the bounds agree, and the checker accepts the claims; none
    that is smaller by a millionth."""
    network = plain_network()
    subject = slack.prove(network)
    compare(subject)
    record = slack.record_of(network, subject.bound.layers)
    again = read_network(record)
    assert jax.tree.structure(again) == jax.tree.structure(network)
    jax.tree.map(np.testing.assert_array_equal, again, network)
    model = checker.read_model(record)
    plain = [a for a in model.layers if a.kind.endswith("convolution")]
    kinds = ["circular_convolution", "convolution", "convolution"]
    assert [a.kind for a in plain] == kinds
    for layer in plain:
        checker.prove_convolution(layer)
        layer.claims *= 1 - 1e-6
        with pytest.raises(ValueError, match="norm not proven"):
            checker.prove_convolution(layer)


def test_bounds_of_random_networks():
    """Where no numbers underflow or overflow: else one may refuse what the other
    proves."""
    rng, compared = np.random.default_rng(0), 0
    for _ in range(150):
        subject = slack.prove(networks_at_random.network(rng))
        if len(subject.proofs) == 2 and subject.bound.lipschitz < 2.0**200:
            sizes = [abs(a.norm[0]) for a in subject.proofs.values()]
            if 2.0**-100 < min(sizes) and max(sizes) < 2.0**200:
                compare(subject)
                compared += 1
    assert compared > 50


@pytest.mark.parametrize("kind", TWO_KINDS)
def test_radii(kind):
    """The certifier subtracts 9/8 of the rounding, and no other difference is left."""
    network, x = small_network(kind), images(3)
    prove = Certifier(network)
    found = prove(x)
    model, _ = slack.checkers_proof(model_record(prove, found.curvatures))
    features, _ = slack.by_numpy(slack.Subject(network, prove.bound, model, {}), x)
    n0 = checker.norm_of(((x - model.mean) / model.std).reshape(len(x), -1))
    for i, t in itertools.product(range(len(x)), range(model.classes)):
        if t == found.prediction[i] or not found.radii[i, t]:
            continue
        eta, delta = found.points.get((i, t), (0.0, 0.0))
        entry = checker.Record(
            y=int(found.prediction[i]), t=t, eta=eta,
            delta=np.asarray(delta, np.float64), radius=found.radii[i, t],
        )  # fmt: skip
        with np.errstate(all="ignore"):
            proven = checker.proven_radii(features[[i]], n0[[i]], [entry], model)[0]
        room = found.slack[i, t] + 100 * FINAL * entry.radius
        assert entry.radius <= proven <= entry.radius + room


@pytest.mark.parametrize("kind", TWO_KINDS)
def test_claims_are_tight(kind):
    """The checker accepts the certifier's norms and gains, and none that are smaller
    by more than the certifier's tolerance."""
    network = small_network(kind)
    prove = Certifier(network)
    model = checker.read_model(model_record(prove, prove.curvatures))
    for i, (name, less) in enumerate((("norm", 1e-9), ("lipschitz", 1e-13))):
        layer = next(a for a in model.layers if a.kind == "skew_convolution")
        checker.prove_convolution(layer)
        claims = layer.claims.copy()
        layer.claims[i] *= 1 - less
        with pytest.raises(ValueError, match=f"{name} not proven"):
            checker.prove_convolution(layer)
        layer.claims = claims
    if isinstance(network.head, Linear):
        return
    for y, t in itertools.permutations(range(model.classes), 2):
        bound = slack.pair_curvature_bound(network.head, y, t)
        model.curvatures[y, t] = bound
        assert checker.curvature(model, y, t) == bound
        model.proven.clear()
        model.curvatures[y, t] = bound * (1 - 1e-9)
        with pytest.raises(ValueError, match="curvature"):
            checker.curvature(model, y, t)
