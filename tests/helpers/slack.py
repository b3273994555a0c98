"""Ratios (true loss) / (proven slack) of one network: above 1 a proof is wrong.

The losses are those of executions by NumPy, by XLA and by a hostile one, measured by
the oracle. The slacks are those of `lipjax.certify` and of lipjax/verify.py.
"""

from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from flint import arb

from helpers import oracle
from helpers.hostile import Hostile
from lipjax import verify as checker
from lipjax.certify import (
    SkewConvolution,
    model_record,
    network_bound,
    pair_curvature_bound,
)
from lipjax.certify.heads import head_bound
from lipjax.certify.network import Linear, Network


class Contract(NamedTuple):
    """The part of a layer's bound that an execution can break, see `LayerBound`."""

    relative: float
    absolute: float
    inside: float


class Proof(NamedTuple):
    """What one implementation proves of a network: E, N and errors of logits.

    `norm` and `error` are (slope, offset) in n0, `slope` and `offset` are arrays [C].
    """

    norm: tuple[float, float]
    error: tuple[float, float]
    slope: np.ndarray
    offset: np.ndarray
    layers: list[Contract]


class Subject(NamedTuple):
    """A network and what is proven of it; None for what is refused."""

    network: Network
    bound: Any  # NetworkBound
    model: Any  # the checker's
    proofs: dict[str, Proof]


def prove(network) -> Subject:
    """Proves a network by both implementations, whichever do not refuse it."""
    proofs, bound, model = {}, None, None
    with np.errstate(all="ignore"):
        try:
            bound, head = network_bound(network), head_bound(network.head)
        except ValueError:
            layers = bounds_of_layers(network)
        else:
            layers = list(bound.layers)
            proofs["certifier"] = _certifiers_proof(bound, head)
        if layers is not None:
            record = record_of(network, layers)
            try:
                with checker.reading("model", checker.Rejected):
                    model, proofs["checker"] = checkers_proof(record)
            except checker.Rejected:
                pass
    return Subject(network, bound, model, proofs)


def _certifiers_proof(bound, head):
    slope, offset = map(np.asarray, head.error)
    layers = [Contract(b.relative, b.absolute, b.inside) for b in bound.layers]
    return Proof(tuple(bound.norm), tuple(bound.error), slope, offset, layers)


def bounds_of_layers(network):
    """The layers' bounds where the network as a whole is refused, or None."""
    shape, bounds = network.image_shape, []
    try:
        for layer in network.layers:
            bound, shape = layer.bound(shape)
            bounds.append(bound)
    except ValueError:
        return None
    return bounds


def record_of(network, layers):
    """The model record with these layers' claims, refused by the certifier or not."""
    head, curvatures = network.head, np.zeros(0)
    if not isinstance(head, Linear):
        classes = len(head.output_bias)
        curvatures = np.zeros((classes, classes))
        for y, t in np.ndindex(classes, classes):
            try:
                curvatures[y, t] = pair_curvature_bound(head, y, t) if y != t else 0
            except ValueError:
                curvatures[y, t] = 2.0**299
    bound = SimpleNamespace(layers=layers)
    proven = SimpleNamespace(network=network, bound=bound)
    return model_record(proven, SimpleNamespace(bounds=curvatures))  # pyright: ignore


def checkers_proof(record):
    """The checker's model of a record, and what it proves of it."""
    model, found = checker.read_model(record), []
    prove_convolution = checker.prove_convolution

    def recorded(layer):
        found.append(prove_convolution(layer))
        return found[-1]

    with mock.patch.object(checker, "prove_convolution", recorded):
        checker.prove_features(model)
        checker.prove_head(model)
    layers = []
    for layer in model.layers:
        if layer.kind == "skew_convolution":
            rounding, _, inside = found.pop(0)
            layers.append(Contract(rounding[1], rounding[0], inside[1]))
        else:
            relative = checker.ROUNDING.get(layer.kind, 0.0)
            layers.append(Contract(relative, checker.TINY, 1.0))
    norm, error = (tuple(v[::-1].tolist()) for v in (model.norm, model.error))
    return model, Proof(norm, error, model.slope, model.offset, layers)


def by_numpy(subject, x):
    """Features and logits of images."""
    with np.errstate(all="ignore"):
        f = checker.features_of(subject.model, x)
        return f, checker.head_of(subject.model, f)[0]


def by_jax(network, x):
    """Features and logits of images by XLA, operation by operation."""
    with jax.disable_jit():
        network = jax.tree.map(jnp.asarray, network)
        f = network.features(jnp.asarray(x))
        return np.asarray(f), np.asarray(network.classify(f))


def executions(subject, x, random, jax_too=False, visit=None):
    """Features [n, D] and logits [n, C] of images, by name."""
    found = {}
    hostile = [Hostile(random) for _ in x]
    f = np.array(
        [h.features(subject.network, y, visit) for h, y in zip(hostile, x, strict=True)]
    )
    head = subject.network.head
    found["hostile"] = (
        f,
        np.array([h.logits(head, y) for h, y in zip(hostile, f, strict=True)]),
    )
    if subject.model:
        found["numpy"] = by_numpy(subject, x)
    if jax_too:
        found["jax"] = by_jax(subject.network, x)
    return found


@oracle.exactly
def rounding_ratios(subject, x, random, jax_too=False):
    """Of features, logits and norms, and of every layer, at images [n, h, w, c]."""
    ratios = {}

    def record(name, size, bound):
        ratios[name] = max(ratios.get(name, 0.0), oracle.ratio(size, bound))

    def visit(layer, before, after, largest):
        index = next(i for i, one in enumerate(layers) if one is layer)
        size = oracle.norm(oracle.balls(before))
        exact = oracle.applied(layer, before[None])[0]
        loss = oracle.norm(exact - oracle.balls(after))
        convolution = isinstance(layer, SkewConvolution)
        for name, proof in subject.proofs.items():
            relative, absolute, inside = proof.layers[index]
            kind = "convolution" if convolution else layer.__class__.__name__.lower()
            kind = getattr(layer, "kind", kind)
            record(f"{kind} {name}", loss, arb(relative) * size + absolute)
            if convolution:
                bound = arb(inside) * size + absolute
                record(f"iterate {name}", arb(largest), bound)

    layers = subject.network.layers
    exact = oracle.features(subject.network, x)
    n0 = [oracle.norm(z) for z in oracle.normalized(subject.network, x)]
    for f, logits in executions(subject, x, random, jax_too, visit).values():
        known = oracle.logits(subject.network.head, f)
        for i, name in np.ndindex(len(x), len(subject.proofs)):
            name, proof = list(subject.proofs.items())[name]
            executed = oracle.balls(f[i])
            size, loss = oracle.norm(executed), oracle.norm(executed - exact[i])
            error, norm = (
                slope * n0[i] + arb(o) for slope, o in (proof.error, proof.norm)
            )
            record(f"features {name}", loss, error)
            record(f"norm {name}", size, norm)
            for c, value in enumerate(oracle.balls(logits[i])):
                bound = arb(float(proof.slope[c])) * size + float(proof.offset[c])
                record(f"logits {name}", abs(value - known[i, c]), bound)
    return ratios
