"""Ratios (true loss) / (proven slack) of one network: above 1 a proof is wrong.

The losses are those of executions by NumPy, by XLA and by a hostile one, measured by
the oracle. The slacks are those of `lipjax.certify` and of lipjax/verify.py.
"""

from collections.abc import Callable
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
    Convolution,
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
    `overflows` tells of n0 and the norm of features whether all of this is void.
    """

    norm: tuple[float, float]
    error: tuple[float, float]
    slope: np.ndarray
    offset: np.ndarray
    layers: list[Contract]
    overflows: Callable[[float, float], bool] = lambda n0, size: False


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
        if layer.kind in checker.PARTS:
            rounding, _, inside = found.pop(0)
            layers.append(Contract(rounding[1], rounding[0], inside[1]))
        else:
            relative = checker.ROUNDING.get(layer.kind, 0.0)
            layers.append(Contract(relative, checker.TINY, 1.0))
    norm, error = (tuple(v[::-1].tolist()) for v in (model.norm, model.error))

    def overflows(n0, size):
        """As `proven_radii` asks of each radius."""
        sizes = [offset + slope * n0 for offset, slope in model.norms]
        if model.curved:
            sizes.append(np.max(model.units * size + model.sizes))
        return not max(*sizes, size) < checker.HUGE

    return model, Proof(norm, error, model.slope, model.offset, layers, overflows)


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


def rounding_ratios(subject, x, random, jax_too=False):
    """Of features, logits and norms, and of every layer, at images [n, h, w, c]."""
    ratios: dict[str, float] = {}
    for image in x:
        for name, ratio in _ratios(subject, image, random, jax_too):
            ratios[name] = max(ratios.get(name, 0.0), ratio)
    return ratios


@oracle.exactly
def _ratios(subject, x, random, jax_too):
    exact = oracle.features(subject.network, x[None])[0]
    n0 = oracle.norm(oracle.normalized(subject.network, x))
    largest = float(n0.abs_upper())
    proofs = {
        name: proof
        for name, proof in subject.proofs.items()
        if not proof.overflows(largest, proof.norm[0] * largest + proof.norm[1])
    }
    found = []

    def visit(layer, before, after, iterate):
        index = next(i for i, one in enumerate(layers) if one is layer)
        size = oracle.norm(oracle.balls(before))
        known = oracle.applied(layer, before[None])[0]
        loss = oracle.norm(known - oracle.balls(after))
        convolution = isinstance(layer, SkewConvolution)
        for name, proof in proofs.items():
            relative, absolute, inside = proof.layers[index]
            kind = "convolution" if convolution else layer.__class__.__name__.lower()
            kind = "plain convolution" if isinstance(layer, Convolution) else kind
            kind = getattr(layer, "kind", kind)
            bound = arb(relative) * size + absolute
            found.append((f"{kind} {name}", oracle.ratio(loss, bound)))
            if convolution:
                bound = arb(inside) * size + absolute
                found.append((f"iterate {name}", oracle.ratio(arb(iterate), bound)))

    layers = subject.network.layers
    executed = executions(subject, x[None], random, jax_too, visit)
    for f, logits in executed.values():
        values = oracle.balls(f[0])
        size, loss = oracle.norm(values), oracle.norm(values - exact)
        known = oracle.logits(subject.network.head, f)[0]
        for name, proof in proofs.items():
            error, norm = (
                arb(slope) * n0 + arb(o) for slope, o in (proof.error, proof.norm)
            )
            found.append((f"features {name}", oracle.ratio(loss, error)))
            found.append((f"norm {name}", oracle.ratio(size, norm)))
            for c, value in enumerate(oracle.balls(logits[0])):
                bound = arb(float(proof.slope[c])) * size + float(proof.offset[c])
                loss_of = oracle.ratio(abs(value - known[c]), bound)
                found.append((f"logits {name}", loss_of))
    return found
