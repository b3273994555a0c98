"""Proofs against the oracle: no execution loses more than was proven of it.

The oracle itself is tested on points whose exact images are known.
"""

import json
import random

import numpy as np
import pytest
from flint import arb

from helpers import networks_at_random, oracle, slack
from helpers.hostile import Hostile, fma
from helpers.networks import LONG
from helpers.search import Search
from lipjax import ops
from lipjax.certify import (
    Activation,
    Certifier,
    Convolution,
    Linear,
    Network,
    SkewConvolution,
)

ROTATION = np.array([[0.0, 1.0], [-1.0, 0.0]]).reshape(1, 1, 2, 2)


def floats(values):
    return np.vectorize(float, otypes=[float])(values)


@pytest.mark.parametrize("seed", range(5))
def test_no_proof_breaks(seed, record_property):
    check(Search(seed, jax_share=0.02).run(200), record_property)


@LONG
@pytest.mark.parametrize("seed", range(100, 140))
def test_no_proof_breaks_over_100_000_networks(seed, record_property):
    check(Search(seed, jax_share=0.1).run(2500, mutated=0.6), record_property)


def check(search, record_property):
    record_property("oracle", json.dumps(search.summary()))
    assert not search.broken(), search.summary()
    counts, examined = search.counts, search.counts["networks"]
    assert counts["refused by the certifier"] < examined / 2
    assert counts["certificates of the checker"] > examined / 10


def test_the_search_notices_proofs_that_are_too_good(monkeypatch):
    """A tenth of the rounding is not enough, and the oracle says so."""
    prove = slack.prove

    def optimistic(network):
        subject = prove(network)
        proofs = {
            name: proof._replace(error=tuple(e / 10 for e in proof.error))
            for name, proof in subject.proofs.items()
        }
        return subject._replace(proofs=proofs)

    monkeypatch.setattr(slack, "prove", optimistic)
    broken = Search(0, jax_share=0).run(40).broken()
    assert {"features certifier", "features checker"} <= broken.keys()


KNOWN = {
    "maxmin": ((), (3.0, 4.0), (4.0, 3.0)),
    "max": ((), (3.0, 4.0), (4.0,)),
    "householder": ((np.pi / 2,), (3.0, 1.0), (1.0, 3.0)),
    "projection": ((0.0,), (-3.0, 4.0), (5.0,)),
    "half-plane": ((9.0,), (3.0, 0.0), (-3.0,)),
    "householder2": ((0.0, 0.0, 0.0), (3.0, 1.0), (3.0, 1.0)),
    "last sector": ((0.0, 0.0, 0.0), (3.0, -1.0), (3.0, 1.0)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_images_of_maps(name):
    angles, point, image = KNOWN[name]
    kind = {"half-plane": "projection", "last sector": "householder2"}.get(name, name)
    layer = Activation(kind, tuple(np.full(1, t) for t in angles))
    z = np.array(point).reshape(1, 1, 1, 2)
    exact = floats(oracle.applied(layer, z)).ravel()
    np.testing.assert_allclose(exact, image, rtol=1e-15)
    executed = Hostile(random.Random(0)).layer(layer, z[0]).ravel()
    np.testing.assert_allclose(executed, image, rtol=1e-14)


@pytest.mark.parametrize("kind", networks_at_random.ANGLES)
def test_maps_agree_on_their_borders(kind):
    """There the ball holds both values, and is as small as elsewhere."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        angles = networks_at_random.angles(rng, kind, 1)
        net = Network((1, 1, 2), np.zeros(2), np.ones(2), (Activation(kind, angles),),
                      Linear(np.eye(2), np.zeros(2)))  # fmt: skip
        x = networks_at_random.on_border(rng, net, rng.uniform(size=(1, 1, 2)))
        for value in oracle.applied(net.layers[0], x[None]).ravel():
            assert value.is_finite() and float(value.rad()) < 2.0**-300


def skew_convolution(rng):
    kernel = networks_at_random.skew(rng.normal(size=(3, 3, 6, 6))) / 20
    return SkewConvolution(kernel, rng.normal(size=5), (1.0, 1.0, 0.5), 2)


def plain_convolution(padding):
    def make(rng):
        kernel, bias = rng.normal(size=(3, 4, 4, 5)) / 20, rng.normal(size=5)
        return Convolution(kernel, bias, 2, padding)

    return make


@pytest.mark.parametrize(
    "make", [skew_convolution, plain_convolution("zero"), plain_convolution("circular")]
)
def test_strides_and_border_taps_are_those_of_both_implementations(make):
    rng = np.random.default_rng(1)
    first = make(rng)
    head = Linear(rng.normal(size=(20, 3)), np.zeros(3))
    net = Network((4, 4, 1), np.full(1, 0.3), np.full(1, 0.5), (first,), head)
    x = rng.uniform(size=(2, 4, 4, 1))
    exact = floats(oracle.logits(head, oracle.features(net, x)))
    found = slack.executions(slack.prove(net), x, random.Random(0), jax_too=True)
    assert found.keys() == {"hostile", "numpy", "jax"}
    for _, logits in found.values():
        np.testing.assert_allclose(logits, exact, rtol=1e-13, atol=1e-13)


def test_fused_multiply_add_is_rounded_once():
    a = 1 + 2.0**-30
    assert fma(a, a, -1 - 2.0**-29) == 2.0**-60
    assert a * a - 1 - 2.0**-29 == 0
    assert fma(2.0**-600, 2.0**-474, 2.0**-1074) == 2.0**-1073


@oracle.exactly
def test_numbers_are_exact():
    assert oracle.balls([5e-324])[0] == arb(2) ** -1074
    assert (
        float(oracle.logits(Linear(np.eye(1), np.zeros(1)), np.ones((1, 1)))[0, 0]) == 1
    )


def test_polynomials_whose_gain_is_no_float_are_refused():
    """Found by the search: it ended in an OverflowError."""
    assert ops.polynomial_gain((0.0, 0.0, 0.0, 0.0, 1.0), 1e81) == np.inf
    layer = SkewConvolution(1e81 * ROTATION, np.zeros(2), (0.0, 0.0, 0.0, 0.0, 1.0))
    head = Linear(np.eye(2), np.zeros(2))
    net = Network((1, 1, 2), np.zeros(2), np.ones(2), (layer,), head)
    with pytest.raises(ValueError, match="overflow"):
        Certifier(net)
