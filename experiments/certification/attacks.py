"""Attacks on the certified images of a run, outside and inside their radii."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from lipjax.attacks import apgd, on_sphere, pgd, targeted_dlr
from lipjax.losses import cross_entropy

from ..reporting.summary import RADIUS_NAMES, STANDARD_RADII
from .certified_run import CertifiedRun, filled


def attacks(target: CertifiedRun, steps: int) -> dict[str, Any]:
    """The attacks by name, jitted: (x, labels, radius, key, box) -> points."""
    losses = {"apgd_ce": cross_entropy}
    if target.network.head[-1].shape[0] >= 4:  # classes
        losses |= {f"apgd_dlr{rank}": targeted_dlr(rank) for rank in (1, 2, 3)}
    kinds = {"pgd": pgd}
    kinds |= {n: functools.partial(apgd, loss=loss) for n, loss in losses.items()}
    return {
        name: jax.jit(
            functools.partial(attack, target.logits, steps=steps),
            static_argnames="box",
        )
        for name, attack in kinds.items()
    }


def robust_accuracy(
    target: CertifiedRun, kinds: dict[str, Any], seed: int
) -> list[dict[str, Any]]:
    """A row per standard radius: certified and empirical robust accuracy."""
    rows = []
    for name, radius in zip(RADIUS_NAMES, STANDARD_RADII, strict=True):
        standing = target.right.copy()
        for number, attack in enumerate(kinds.values()):
            # Certified images cannot change; changed ones need no further attack.
            open_ = np.flatnonzero(standing & (target.radius <= radius))
            for chosen in _batches(target, open_, f"radius {name}"):
                key = jax.random.fold_in(jax.random.key(seed), number)
                found = _attack(target, attack, chosen, radius, key, box=True)
                broken = target.predict(found) != target.labels[chosen]
                standing[chosen[broken]] = False
        certified = float(np.mean(target.right & (target.radius > radius)))
        rows.append(
            {"radius": name, "certified": certified, "empirical": standing.mean()}
        )
    return rows


def nearest(
    target: CertifiedRun, attack: Any, seed: int, box: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest change of a prediction that is found for each certified image.

    Args:
      target: the certified images.
      attack: one of `attacks`.
      seed: of all random draws.
      box: whether changed images must have pixels in [0, 1].

    Returns:
      Distances [n], infinite where none is found, and the changed images, like the
      images themselves where there are none.
    """
    found, changed = np.full(len(target.x), np.inf), np.array(target.x)
    sure = target.radius > 0
    factors = [1.1, 1.25, 1.4, 1.6, 1.8, 2.0, 2.4, 3, 4, 6, 10, 20]
    for number, factor in enumerate(factors):
        open_ = np.flatnonzero(sure & np.isinf(found))
        key = jax.random.fold_in(jax.random.key(seed), number)
        for chosen in _batches(target, open_, f"{factor} times the radius"):
            radius = factor * target.radius[chosen]
            points = _attack(target, attack, chosen, radius, key, box=box)
            found[chosen], changed[chosen] = _along(target, chosen, points)
    return found, changed


def inside(
    target: CertifiedRun, attack: Any, factor: float, points: int, seed: int
) -> tuple[int, int]:
    """Points placed at `factor` times the certified radii, and how many succeed."""
    sure = np.flatnonzero(target.radius > 0)
    sphere = jax.jit(on_sphere)
    placed = successes = turn = 0
    with tqdm(total=points, unit="point", disable=None, leave=False) as bar:
        while placed < points:
            for chosen in _batches(target, sure):
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
                predicted = target.predict(filled(found, target.batch))[: len(chosen)]
                successes += int(np.sum(predicted != target.labels[chosen]))
                placed, turn = placed + len(chosen), turn + 1
                bar.update(len(chosen))
    return placed, successes


def _attack(
    target: CertifiedRun, attack, chosen, radius, key, *, box: bool
) -> np.ndarray:
    """Points that an attack finds in float32; batches are filled to one size."""
    radius = np.broadcast_to(radius, len(chosen)).astype(np.float32)
    x = filled(target.x[chosen].astype(np.float32), target.batch)
    labels = filled(target.labels[chosen], target.batch)
    found = attack(x, labels, filled(radius, target.batch), key, box=box)
    return np.asarray(found, np.float64)[: len(chosen)]


def _at(x: np.ndarray, points: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """The points, moved along their directions to exactly the radius (to rounding)."""
    delta = points - x
    length = np.linalg.norm(delta.reshape(len(x), -1), axis=1)
    scale = np.where(length > 0, radius / np.where(length > 0, length, 1), 0)
    return x + scale.reshape(-1, 1, 1, 1) * delta


def _along(
    target: CertifiedRun, chosen: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The first change on the way to each point, its distance and the image there.

    The distance is infinite, and the image unchanged, if there is none.
    """
    x, labels = target.x[chosen], target.labels[chosen]
    length = np.linalg.norm((points - x).reshape(len(x), -1), axis=1)
    low, high = np.zeros(len(x)), np.ones(len(x))
    changed = target.predict(filled(points, target.batch))[: len(x)] != labels
    for _ in range(12):
        middle = (low + high) / 2
        at = x + middle.reshape(-1, 1, 1, 1) * (points - x)
        broken = target.predict(filled(at, target.batch))[: len(x)] != labels
        low, high = np.where(broken, low, middle), np.where(broken, middle, high)
    share = np.where(changed, high, 0.0)
    first = x + share.reshape(-1, 1, 1, 1) * (points - x)
    return np.where(changed, high * length, np.inf), first


def _batches(target: CertifiedRun, indices: np.ndarray, description: str | None = None):
    size = target.batch
    starts = range(0, len(indices), size)
    for start in tqdm(starts, desc=description, disable=None, leave=False):
        yield indices[start : start + size]
