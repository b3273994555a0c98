"""The cost of guarantees in radius and time, and the rounding as measured."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lipjax import exact_network, metrics
from lipjax.certify import Certificates, Certifier, Curvatures

from ..data import Split
from ..training.evaluation import Evaluator
from ..training.run_folder import RunFolder
from . import extended_precision

_FLOAT32_UNITS = 2.0**29  # of float64, in one of float32


def cost_of_proof(folder: RunFolder, variables: Any, test: Split, levels: int):
    """Rows of mean radius and seconds, and the certifier with its certificates."""
    evaluator = Evaluator(folder.model, levels)
    estimates = evaluator.estimate_constants(variables)
    evaluator.radii(variables, test, estimates)  # compiles
    begin = time.perf_counter()
    estimates = evaluator.estimate_constants(variables)
    prediction, radius, _ = evaluator.radii(variables, test, estimates)
    quick = time.perf_counter() - begin
    begin = time.perf_counter()
    certifier = Certifier(exact_network(folder.model, variables))
    proving = time.perf_counter() - begin
    x = np.asarray(test.images, np.float64) / levels
    found = _certified(certifier, x, certifier.curvatures)  # compiles and refines
    begin = time.perf_counter()
    found = _certified(certifier, x, found.curvatures)
    running = time.perf_counter() - begin
    estimate = metrics.mean_radius(prediction, radius, test.labels)
    bound = metrics.mean_radius(found.prediction, found.radius, test.labels)
    rows = [
        {"by": "estimates", "radius": estimate, "once": 0.0, "seconds": quick},
        {"by": "bounds", "radius": bound, "once": proving, "seconds": running},
    ]
    return rows, certifier, found


def _certified(
    certifier: Certifier, x: np.ndarray, curvatures: Curvatures
) -> Certificates:
    parts: list[Any] = []
    for start in range(0, len(x), 100):
        parts.append(certifier(x[start : start + 100], curvatures))
        curvatures = parts[-1].curvatures
    arrays: Any = [np.concatenate([p[k] for p in parts]) for k in range(5)]
    return Certificates(*arrays, points={}, curvatures=curvatures)


def rounding(certifier: Certifier, x: np.ndarray, found: Certificates):
    """Rows of the largest error of a binding margin, in pixels, by the execution.

    A margin's error is divided by what the margin can change per pixel, and counted
    twice, for the image and the changed image, as the proven slack counts it.
    """
    network, rows = certifier.network, np.arange(len(x))
    y, t = found.prediction[: len(x)], found.runner_up[: len(x)]
    _, exact = extended_precision.execute(network, x)
    _, in_sequence = extended_precision.execute(network, x, np.float64)
    _, single = extended_precision.execute(network, x, np.float32)
    with jax.enable_x64(True):
        executed = np.asarray(jax.jit(network.logits)(jnp.asarray(x)))
    true = exact[rows, y] - exact[rows, t]
    slopes = true.astype(float) / (found.radii + found.slack)[rows, t]
    result = [
        {"execution": name, "pixels": float(np.max(2 * np.abs(error) / slopes))}
        for name, logits in (
            ("float64, JAX", executed),
            ("float64, in sequence", in_sequence),
            ("float32, in sequence", single),
        )
        for error in [(logits[rows, y] - logits[rows, t] - true).astype(float)]
    ]
    slack = float(found.slack[rows, t].max())
    worst = slack * _FLOAT32_UNITS
    return [
        *result,
        {"execution": "float64, proven", "pixels": slack},
        {"execution": "float32, worst case to first order", "pixels": worst},
    ]
