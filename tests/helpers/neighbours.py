"""Certificates of one network, and what is left of them at the worst neighbour."""

import math
from types import SimpleNamespace
from typing import NamedTuple
from unittest import mock

import jax.numpy as jnp
import numpy as np
from flint import arb

from helpers import oracle
from helpers.slack import by_numpy, executions
from lipjax import verify as checker
from lipjax.certify import Certifier
from lipjax.certify import certifier as certifier_module
from lipjax.certify.network import Network
from lipjax.certify.rounding import norms_bound

NEARLY = 1 - 1e-12  # of a radius


class Certificate(NamedTuple):
    """A proven radius of an image [h, w, c] for a class."""

    prediction: int
    radius: float


def checkers_certificate(subject, x, random):
    """What the checker proves of an image, by closed forms and duals."""
    model = subject.model
    features, logits = by_numpy(subject, x[None])
    y = int(logits[0].argmax())
    with np.errstate(all="ignore"):
        n0 = checker.norm_of(((x - model.mean) / model.std).reshape(1, -1))
        radii = []
        for t in set(range(model.classes)) - {y}:
            best = 0.0
            for eta, delta in points_of(model, features, y, t, random):
                entry = SimpleNamespace(y=y, t=t, eta=eta, delta=delta, radius=0.0)
                # Of the radius that is proven within no reach, a smaller one is left.
                for _ in range(2):
                    proven = checker.proven_radii(features, n0, [entry], model)
                    entry.radius = float(np.nan_to_num(proven[0], nan=0, posinf=0))
                    entry.radius = max(entry.radius, 0.0)
                again = checker.proven_radii(features, n0, [entry], model)[0]
                if 0 < entry.radius <= again < checker.HUGE:
                    best = max(best, entry.radius)
            radii.append(best)
    return Certificate(y, min(radii))


def points_of(model, features, y, t, random):
    """Points (eta, delta) at which to evaluate the dual; eta = 0: the closed form."""
    yield 0.0, 0.0
    if not model.curved:
        return
    m, delta = float(model.curvatures[y, t]), np.zeros_like(features)
    d = model.kernel[:, y] - model.kernel[:, t]
    logits, slopes = checker.head_of(model, features)
    g, bent = logits[0, y] - logits[0, t], float(model.curvatures[t, y])
    gradient = model.hidden_kernel @ (d * slopes[0])
    steep = float(np.linalg.norm(gradient))
    root = math.sqrt(max(steep**2 + 2 * m * g, 0.0))
    if not (g > 0 and 0 < steep < 1e140 and math.isfinite(root)):
        return
    eta = min(2 * g / ((steep + root) * root), 0.97 / m if m else math.inf)
    eta = min(eta * random.choice([1.0, 1.0, 1.2, 2.0]), 0.99 / m if m else math.inf)
    for _ in range(15):
        slopes = checker.head_of(model, features + delta)[1]
        gradient = (d * slopes) @ model.hidden_kernel.T
        delta = delta - 2 / (2 + eta * (bent - m)) * (delta + eta * gradient)
    if 0 < eta < checker.HUGE and np.isfinite(delta.astype(np.float32)).all():
        yield eta, delta[0].astype(np.float32).astype(np.float64)


def certifiers_certificate(subject, x):
    """What the certifier proves of an image, its features executed by NumPy."""
    original = certifier_module.execute

    def execute(network, head, x):
        x = np.asarray(x)
        f = by_numpy(subject, x)[0]
        shape = (1, 1, f.shape[1])
        plain = Network(shape, np.zeros(shape[2]), np.ones(shape[2]), (), network.head)
        run = original(plain, head, jnp.asarray(f.reshape(len(x), *shape)))
        z = np.asarray((x - network.mean) / network.std)
        return run._replace(norm=norms_bound(jnp.asarray(z.reshape(len(x), -1))))

    known = {"execute": execute, "network_bound": lambda network: subject.bound}
    with mock.patch.multiple(certifier_module, **known), np.errstate(all="ignore"):
        found = Certifier(subject.network)(x[None])
    return Certificate(int(found.prediction[0]), float(found.radius[0]))


def worst_neighbour(subject, x, certificate, generator):
    """An image within the radius with a small margin, by NumPy's execution."""
    y, r = certificate.prediction, certificate.radius * NEARLY

    def margins(steps):
        logits = by_numpy(subject, x + steps)[1]
        logits[:, y], own = -np.inf, logits[:, y].copy()
        return own - logits.max(1)

    def on_sphere(steps):
        sizes = np.linalg.norm(steps.reshape(len(steps), -1), axis=1)
        return steps * (r / np.maximum(sizes, 1e-200)).reshape(-1, 1, 1, 1)

    basis = np.eye(x.size).reshape(-1, *x.shape)
    steps = on_sphere(
        np.concatenate([basis, -basis, generator.normal(size=(16, *x.shape))])
    )
    gradient = margins(steps[: x.size]) - margins(steps[x.size : 2 * x.size])
    guess = -np.tensordot(gradient, basis, 1)[None]
    steps = np.concatenate([steps, on_sphere(np.nan_to_num(guess, posinf=0, neginf=0))])
    for width in (0.3, 0.02, 1e-3):
        best = steps[[np.argmin(margins(steps))]]
        noise = generator.normal(size=(12, *x.shape)) * width * r
        steps = np.concatenate([best, on_sphere(best + noise)])
    step = steps[np.argmin(margins(steps))]
    for shorter in 2.0 ** np.arange(-44, 0):  # the rounding of x + step adds to it
        if np.isfinite(step).all() and is_within(x, x + step, certificate.radius):
            return x + step
        step = step * (1 - shorter)
    return x


@oracle.exactly
def is_within(x, other, radius):
    """Whether images of float64 numbers are certainly closer than this."""
    return bool(oracle.norm(oracle.balls(other) - oracle.balls(x)) < arb(radius))


@oracle.exactly
def certificate_ratios(subject, x, certificate, other, random, name, jax_too=False):
    """The share of the margin that is lost from x to `other`, within the radius."""
    y, head = certificate.prediction, subject.network.head
    exact = oracle.logits(head, oracle.features(subject.network, np.stack([x, other])))
    others = [t for t in range(exact.shape[1]) if t != y]
    here, there = ([row[y] - row[t] for t in others] for row in exact)
    loss = max(oracle.ratio((a - b).max(oracle.ZERO), a) if a > 0 else math.inf
               for a, b in zip(here, there, strict=True))  # fmt: skip
    if not all(b > 0 for b in there):
        loss = math.inf
    rounding = 0.0
    for _, logits in executions(subject, other[None], random, jax_too).values():
        row = oracle.balls(logits[0])
        for t, b in zip(others, there, strict=True):
            kept = logits[0, y] > logits[0, t]
            lost = (b - (row[y] - row[t])).max(oracle.ZERO)
            rounding = max(rounding, oracle.ratio(lost, b) if kept else math.inf)
    return {f"certificate {name}": loss, f"margin {name}": rounding}
