"""Attacks the test images of a certified run.

    python -m experiments.attack --run=runs/NAME                  robust accuracy
    python -m experiments.attack --run=runs/NAME --points=100000  inside certificates

Prints, for each standard radius, the share of certified images beside the share that
stays correct under PGD and Auto-PGD (cross-entropy; targeted difference of logits
ratio). Then prints the mean distance of the nearest change of a prediction that was
found.

With --points, also places that many points inside the certified radii, half of them in
random directions and half by PGD, and counts those that change a prediction. There must
be none. As a control, the same is done with a tenth of the points at --control times
the radii, where many should succeed. Writes RUN/attack.json.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from .certification.attacks import attacks, inside, nearest, robust_accuracy
from .certification.certified_run import CertifiedRun
from .common.errors import UserError
from .common.files import write_json
from .common.flags import run
from .training.run_folder import RunFolder

FLAGS = flags.FLAGS
_INSIDE = 0.999


def _compared(target: CertifiedRun, distances: np.ndarray) -> dict[str, Any]:
    """Prints and returns the mean certified radius beside that of the attack."""
    met = np.isfinite(distances)
    if not met.any():
        print("\nNo attack changed a prediction, at any radius.")
        return {"images": 0}
    certified, attacked = (float(v[met].mean()) for v in (target.radius, distances))
    print(
        f"\nMean certified radius {certified:.4f}, nearest change found at "
        f"{attacked:.4f} on average: ratio {certified / attacked:.3f} "
        f"({met.sum()} images)"
    )
    return {"images": int(met.sum()), "certified": certified, "attacked": attacked}


def main() -> None:
    folder = RunFolder.open(Path(FLAGS.run))
    data = folder.load_data()
    target = CertifiedRun(folder, FLAGS.images)
    if not (target.radius > 0).any():
        raise UserError(f"no image in {folder.path} is certified: nothing to attack")
    results: dict[str, Any] = {"images": len(target.x), "steps": FLAGS.steps}
    print(f"{len(target.x)} test images of {data.name}, %")
    print("   radius   certified (proven)   right under attack (estimate)")
    kinds = attacks(target, FLAGS.steps)
    results["robust"] = robust_accuracy(target, kinds, FLAGS.seed)
    for row in results["robust"]:
        line = f"{row['radius']:>9}{100 * row['certified']:>21.2f}"
        print(f"{line}{100 * row['empirical']:>32.2f}")
    distances, _ = nearest(target, kinds["apgd_ce"], FLAGS.seed)
    results["nearest"] = _compared(target, distances)
    if FLAGS.points:
        results["inside"] = []
        for factor in (_INSIDE, FLAGS.control):
            points = FLAGS.points if factor == _INSIDE else math.ceil(FLAGS.points / 10)
            placed, successes = inside(target, kinds["pgd"], factor, points, FLAGS.seed)
            print(f"{placed} points at {factor:g} of the radius: {successes} successes")
            results["inside"].append(
                {"factor": factor, "points": placed, "successes": successes}
            )
    write_json(folder.path / "attack.json", results)
    print(f"In {folder.path}: attack.json")
    if FLAGS.points and results["inside"][0]["successes"]:
        raise UserError("a certificate is wrong: please report this run")


if __name__ == "__main__":
    flags.DEFINE_string("run", None, "folder of the run", required=True)
    flags.DEFINE_integer(
        "images", None, "how many test images, evenly spaced; default: all", 1
    )
    flags.DEFINE_integer("steps", 20, "gradient steps per attack", lower_bound=1)
    flags.DEFINE_integer("points", 0, "points to place inside certificates", 0)
    flags.DEFINE_float("control", 3.0, "factor of the radii in the control")
    flags.DEFINE_integer("seed", 0, "seed of all random draws")
    run(main, __doc__ or "")
