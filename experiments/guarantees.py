"""Measures what a run's guarantees cost, and how tight the bounds on rounding are.

    python -m experiments.guarantees --run=runs/NAME

Prints mean radius and time for --images of the test images, with estimates (float32,
norms taken to be 1, no rounding) and with proven bounds. For a few images, also prints
the rounding of a margin, in pixels: as proven, and as measured against 80-bit
arithmetic (in float64 as JAX executes it; in float64 and float32, summed in sequence).
Writes RUN/guarantees.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from .certification import extended_precision
from .certification.costs import cost_of_proof, rounding
from .common.files import write_json
from .common.flags import run
from .training.run_folder import RunFolder

FLAGS = flags.FLAGS
_ROUNDING_IMAGES = 20


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
    if extended_precision.has_extended():
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
