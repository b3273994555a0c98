"""What the page of a run says."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import numpy as np

import lipjax
from lipjax import audit
from lipjax.inference import Audit

from ..certification.attacks import attacks, nearest
from ..certification.certified_run import CertifiedRun, proof_hashes
from ..common.commands import command
from ..common.errors import UserError
from ..configs import Config
from ..reporting.intervals import share_intervals
from ..reporting.summary import RADIUS_NAMES, STANDARD_RADII, summarize
from ..reporting.tables import duration
from ..reporting.words import as_changes, rounded_down, rounded_up
from ..training.metrics_log import MetricsLog
from ..training.run_folder import RunFolder, without_location
from . import figures

_STEPS = 50  # of the attack


def contents(
    folder: RunFolder, target: CertifiedRun, checkpoint: str, count: int
) -> dict[str, Any]:
    """The values of the template.

    Args:
      folder: of the run.
      target: its certified images, all of them.
      checkpoint: of which weights the certificates are.
      count: how many of the most and of the least certain images to show.

    Raises:
      UserError: if nothing can be proven of the network.
    """
    config, model = folder.config, folder.model
    state = folder.checkpoints().restore(checkpoint).state
    try:
        proven = audit(model, state.variables)
    except ValueError as error:
        raise UserError(f"{folder.path} cannot be proven: {error}") from error
    rows = MetricsLog(folder.path).rows
    depth = model.stages * model.layers_per_stage
    radius = np.where(target.right, target.radius, -1.0)
    return {
        "title": f"{folder.path.resolve().name}: LipConvNet-{depth}",
        "size": "×".join(map(str, model.image_shape)),
        "classes": model.num_classes,
        "numbers": math.prod(model.image_shape),
        **_accuracy(target),
        "radii": figures.radii(radius),
        "certain": _certain(folder, target, count),
        "training": figures.training(rows) if rows else (),
        "epochs": len(rows),
        "epoch": _median_epoch(rows),
        "parameters": f"{_size(state.params):,}",
        "settings": _settings(config),
        "audit": _audited(proven),
        "hashes": proof_hashes(folder.path),
        "certify": f"{command('certify')} --run={folder.path.name}",
        "versions": f"lipjax {lipjax.__version__}, jax {jax.__version__}",
    }


def _accuracy(target: CertifiedRun) -> dict[str, Any]:
    """Clean and certified robust accuracy, with their intervals."""
    right, radius, n = target.right, target.radius, len(target.x)
    each = 255 / math.sqrt(target.x[0].size)
    kept = [("clean", None, int(right.sum()))]
    kept += [
        (name, r, int((right & (radius > r)).sum()))
        for name, r in zip(RADIUS_NAMES, STANDARD_RADII, strict=True)
    ]
    rows = []
    intervals = share_intervals(np.array([k for *_, k in kept]), n)
    for (name, r, k), low, high in zip(kept, *intervals, strict=True):
        rows.append(
            {
                "name": name,
                "percent": f"{100 * k / n:.2f}",
                "interval": f"{100 * low:.1f} to {100 * high:.1f}",
                "count": f"{k:,}",
                "each": rounded_down(each * r, 1) if r else "",
                "one": rounded_down(255 * r, 1) if r else "",
            }
        )
    mean = summarize(target.prediction, radius, target.labels).mean_radius
    return {"images": f"{n:,}", "accuracy": rows, "mean_radius": f"{mean:.4f}"}


def _certain(
    folder: RunFolder, target: CertifiedRun, count: int
) -> list[tuple[str, list[dict[str, Any]]]]:
    """The most and the least certain of the certified images, under attack."""
    certified = np.flatnonzero(target.right & (target.radius > 0))
    ranked = certified[np.argsort(-target.radius[certified], kind="stable")]
    count = min(count, len(ranked) // 2) or len(ranked)
    most, least = ranked[:count], ranked[count:][-count:][::-1]
    groups = {"The most certain images": most, "The least certain ones": least}
    shown = []
    for name, chosen in groups.items():
        if len(chosen):
            shown.append((name, _attacked(folder, target.only(chosen))))
    return shown


def _attacked(folder: RunFolder, target: CertifiedRun) -> list[dict[str, Any]]:
    attack = attacks(target, _STEPS)["apgd_ce"]
    distances, changed = nearest(target, attack, seed=0, box=True)
    others = target.predict(changed)
    cards = []
    for i, x in enumerate(target.x):
        radius, distance = float(target.radius[i]), float(distances[i])
        met = math.isfinite(distance)
        largest = max(float(np.abs(changed[i] - x).max()), 1e-9)
        cards.append(
            {
                "number": int(target.index[i]),
                "label": folder.class_name(int(target.labels[i])),
                "radius": rounded_down(radius),
                "words": as_changes(radius, x.size),
                "distance": f"{distance:.4f}" if met else None,
                "other": folder.class_name(int(others[i])),
                "largest": f"{largest:.2g}",
                "image": figures.png(x),
                "changed": figures.png(changed[i]),
                "difference": figures.png(0.5 + (changed[i] - x) / (2 * largest)),
            }
        )
    return cards


def _settings(config: Config) -> list[tuple[str, str, bool]]:
    """Name, value, and whether it differs from the default."""
    defaults = dataclasses.asdict(Config())
    return [
        (name, str(value), value != defaults[name])
        for name, value in without_location(config).items()
    ]


def _audited(proven: Audit) -> dict[str, Any]:
    assert proven.constant is not None  # it is of a LipConvNet
    return {
        "layers": [
            {
                "name": one.name,
                "kind": one.kind,
                "output": "×".join(map(str, one.output)),
                "constant": rounded_up(one.constant),
                "training": "" if one.training is None else rounded_up(one.training),
            }
            for one in proven.layers
        ],
        "head": proven.head,
        "constant": rounded_up(proven.constant),
        "remarks": proven.remarks,
    }


def _median_epoch(rows: list[dict[str, Any]]) -> str:
    seconds = float(np.median([row["seconds"] for row in rows] or [0.0]))
    return duration(seconds) if seconds >= 10 else f"{seconds:.2g}s"


def _size(params: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))
