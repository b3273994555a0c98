"""Attacks the test images of a certified run.

    python -m experiments.attack --run=runs/NAME                  robust accuracy
    python -m experiments.attack --run=runs/NAME --points=100000  inside certificates

First prints, for each standard radius, the share of images that are certified beside
the share that PGD and Auto-PGD (cross-entropy; targeted difference of logits ratio)
leave right, and how near to the image the nearest change was found. Then, with
--points, places that many points inside the certified radii, half of them in random
directions and half by PGD, and counts those that change a prediction: there must be
none. The same is done with a tenth of the points at --control times the radii, where
many should succeed. Writes RUN/attack.json.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from tqdm import tqdm

from lipjax.attacks import apgd, cross_entropy, on_sphere, pgd, targeted_dlr

from .certification.certified_run import BATCH, Target, filled
from .common.errors import UserError
from .common.files import write_json
from .common.flags import run
from .reporting.summary import RADIUS_NAMES, STANDARD_RADII
from .training.run_folder import Run

FLAGS = flags.FLAGS
_INSIDE = 0.999


def attacks(target: Target, steps: int) -> dict[str, Any]:
    """The attacks by name, jitted: (x, labels, radius, key, box) -> points."""
    kinds = {
        "pgd": functools.partial(pgd, steps=steps),
        "apgd_ce": functools.partial(apgd, steps=steps, loss=cross_entropy),
    }
    classes = target.network.head[-1].shape[0]
    if classes >= 4:
        for rank in (1, 2, 3):
            kinds[f"apgd_dlr{rank}"] = functools.partial(
                apgd, steps=steps, loss=targeted_dlr(rank)
            )
    return {
        name: jax.jit(functools.partial(attack, target.logits), static_argnames="box")
        for name, attack in kinds.items()
    }


def robust_accuracy(
    target: Target, kinds: dict[str, Any], seed: int
) -> list[dict[str, Any]]:
    """A row per standard radius: certified and empirical robust accuracy."""
    rows = []
    for name, radius in zip(RADIUS_NAMES, STANDARD_RADII, strict=True):
        standing = target.right.copy()
        for number, attack in enumerate(kinds.values()):
            # What is certified cannot fall, and what has fallen need not again.
            open_ = np.flatnonzero(standing & (target.radius <= radius))
            for chosen in _batches(open_, f"radius {name}"):
                key = jax.random.fold_in(jax.random.key(seed), number)
                found = _attack(target, attack, chosen, radius, key, box=True)
                broken = target.predict(found) != target.labels[chosen]
                standing[chosen[broken]] = False
        certified = float(np.mean(target.right & (target.radius > radius)))
        rows.append(
            {"radius": name, "certified": certified, "empirical": standing.mean()}
        )
    return rows


def nearest(target: Target, attack: Any, seed: int) -> np.ndarray:
    """Distance of the nearest change that was found of each image; infinite if none."""
    found = np.full(len(target.x), np.inf)
    sure = target.radius > 0
    factors = [1.1, 1.25, 1.4, 1.6, 1.8, 2.0, 2.4, 3, 4, 6, 10, 20]
    for number, factor in enumerate(factors):
        open_ = np.flatnonzero(sure & np.isinf(found))
        key = jax.random.fold_in(jax.random.key(seed), number)
        for chosen in _batches(open_, f"{factor} times the radius"):
            radius = factor * target.radius[chosen]
            points = _attack(target, attack, chosen, radius, key, box=False)
            found[chosen] = _along(target, chosen, points)
    return found


def inside(
    target: Target, attack: Any, factor: float, points: int, seed: int
) -> tuple[int, int]:
    """Points placed at `factor` times the certified radii, and how many succeed."""
    sure = np.flatnonzero(target.radius > 0)
    sphere = jax.jit(on_sphere)
    placed = successes = turn = 0
    with tqdm(total=points, unit="point", disable=None, leave=False) as bar:
        while placed < points:
            for chosen in _batches(sure):
                if placed >= points:
                    break
                key = jax.random.fold_in(jax.random.key(seed), turn)
                radius = factor * target.radius[chosen]
                if turn % 2:
                    found = _attack(target, attack, chosen, radius, key, box=False)
                else:
                    with jax.enable_x64(True):
                        found = np.asarray(sphere(key, target.x[chosen], radius))
                found = _at(target.x[chosen], found, radius)
                predicted = target.predict(filled(found))[: len(chosen)]
                successes += int(np.sum(predicted != target.labels[chosen]))
                placed, turn = placed + len(chosen), turn + 1
                bar.update(len(chosen))
    return placed, successes


def _attack(target: Target, attack, chosen, radius, key, *, box: bool) -> np.ndarray:
    """Points from an attack in float32, on as many rows as a batch always has."""
    radius = np.broadcast_to(radius, len(chosen)).astype(np.float32)
    x = filled(target.x[chosen].astype(np.float32))
    labels = filled(target.labels[chosen])
    found = attack(x, labels, filled(radius), key, box=box)
    return np.asarray(found, np.float64)[: len(chosen)]


def _at(x: np.ndarray, points: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """The points, moved along their directions to exactly the radius (to rounding)."""
    delta = points - x
    length = np.linalg.norm(delta.reshape(len(x), -1), axis=1)
    scale = np.where(length > 0, radius / np.where(length > 0, length, 1), 0)
    return x + scale.reshape(-1, 1, 1, 1) * delta


def _along(target: Target, chosen: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Where the prediction changes on the way to each point; infinite if nowhere."""
    x, labels = target.x[chosen], target.labels[chosen]
    length = np.linalg.norm((points - x).reshape(len(x), -1), axis=1)
    low, high = np.zeros(len(x)), np.ones(len(x))
    changed = target.predict(filled(points))[: len(x)] != labels
    for _ in range(12):
        middle = (low + high) / 2
        at = x + middle.reshape(-1, 1, 1, 1) * (points - x)
        broken = target.predict(filled(at))[: len(x)] != labels
        low, high = np.where(broken, low, middle), np.where(broken, middle, high)
    return np.where(changed, high * length, np.inf)


def _batches(indices: np.ndarray, description: str | None = None):
    starts = range(0, len(indices), BATCH)
    for start in tqdm(starts, desc=description, disable=None, leave=False):
        yield indices[start : start + BATCH]


def _compared(target: Target, distances: np.ndarray) -> dict[str, Any]:
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
    if not FLAGS.run:
        raise UserError("say which run with --run=DIR")
    folder = Run.open(Path(FLAGS.run))
    data = folder.data()
    target = Target(folder, FLAGS.images)
    results: dict[str, Any] = {"images": len(target.x), "steps": FLAGS.steps}
    print(f"{len(target.x)} test images of {data.name}, %")
    print("   radius   certified (proven)   right under attack (estimate)")
    kinds = attacks(target, FLAGS.steps)
    results["robust"] = robust_accuracy(target, kinds, FLAGS.seed)
    for row in results["robust"]:
        line = f"{row['radius']:>9}{100 * row['certified']:>21.2f}"
        print(f"{line}{100 * row['empirical']:>32.2f}")
    distances = nearest(target, kinds["apgd_ce"], FLAGS.seed)
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
    flags.DEFINE_string("run", None, "folder of the run")
    flags.DEFINE_integer("images", None, "how many test images, evenly; else all", 1)
    flags.DEFINE_integer("steps", 20, "gradient steps of an attack", lower_bound=1)
    flags.DEFINE_integer("points", 0, "points to place inside certificates", 0)
    flags.DEFINE_float("control", 3.0, "factor on the radii, for comparison")
    flags.DEFINE_integer("seed", 0, "of all random draws")
    run(main, __doc__ or "")
