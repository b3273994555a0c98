"""Measures what a run's guarantees cost, and how tight the bounds on rounding are.

    python -m experiments.guarantees --run=runs/NAME

Prints mean radius and time for --images of the test images, with estimates (float32,
norms taken to be 1, no rounding) and with proven bounds. For a few images, also prints
the rounding of a margin, in pixels: as proven, and as measured against 80-bit
arithmetic (in float64 as JAX executes it; in float64 and float32, summed in sequence).
Writes RUN/guarantees.json.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from lipjax import exact_network
from lipjax.certify import Certificates, Certifier, Curvatures

from .certification import extended_precision as extended
from .common.files import write_json
from .common.flags import run
from .data import Split
from .training.evaluation import Evaluator
from .training.run_folder import RunFolder

FLAGS = flags.FLAGS
_ROUNDING_IMAGES = 20
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
    rows = [
        {"by": "estimates", "radius": _mean(prediction, radius, test), "once": 0.0}
        | {"seconds": quick},
        {"by": "bounds", "radius": _mean(found.prediction, found.radius, test)}
        | {"once": proving, "seconds": running},
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


def _mean(prediction: np.ndarray, radius: np.ndarray, test: Split) -> float:
    return float(np.mean(np.where(prediction == test.labels, radius, 0)))


def rounding(certifier: Certifier, x: np.ndarray, found: Certificates):
    """Rows of the largest error of a binding margin, in pixels, by the execution.

    A margin's error is divided by what the margin can change per pixel, and counted
    twice, for the image and the changed image, as the proven slack counts it.
    """
    network, rows = certifier.network, np.arange(len(x))
    y, t = found.prediction[: len(x)], found.runner_up[: len(x)]
    _, exact = extended.execute(network, x)
    _, in_sequence = extended.execute(network, x, np.float64)
    _, single = extended.execute(network, x, np.float32)
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
    return [
        *result,
        {"execution": "float64, proven", "pixels": slack},
        {
            "execution": "float32, worst case to first order",
            "pixels": slack * _FLOAT32_UNITS,
        },
    ]


def main() -> None:
    folder = RunFolder.open(Path(FLAGS.run))
    data = folder.load_data()
    state = folder.checkpoints().restore("last").state
    test = data.test.spread(FLAGS.images)
    costs, certifier, found = cost_of_proof(folder, state.variables, test, data.levels)
    print(f"{len(test)} test images of {data.name}")
    print("            mean radius   seconds once   seconds for the images")
    for row in costs:
        line = f"{row['by']:<12}{row['radius']:>11.6f}{row['once']:>15.2f}"
        print(f"{line}{row['seconds']:>25.2f}")
    results: dict[str, Any] = {"images": len(test), "costs": costs}
    if extended.has_extended():
        x = test.images[:_ROUNDING_IMAGES].astype(np.float64) / data.levels
        results["rounding"] = rounding(certifier, x, found)
        print(f"\nRounding of a margin, largest of {len(x)} images, in pixels, l2")
        for row in results["rounding"]:
            print(f"{row['execution']:<38}{row['pixels']:.1e}")
    else:
        print("\nRounding: not measured, this CPU has no 80-bit numbers.")
    write_json(folder.path / "guarantees.json", results)
    print(f"In {folder.path}: guarantees.json")


if __name__ == "__main__":
    flags.DEFINE_string("run", None, "folder of the run", required=True)
    flags.DEFINE_integer("images", 360, "how many test images, evenly spaced", 1)
    run(main, __doc__ or "")
