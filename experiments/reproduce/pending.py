"""Cells that await a flag: one is in its table as soon as its settings exist.

`tables.table` leaves out a cell that changes a setting, or takes a choice of one, that
`Config` does not have. Move a cell to `tables` once its flag is there.
"""

from __future__ import annotations

from .cells import Cell, Changes

_ATTACK = 0.14
"""Radius of the attack on features in training, in pixels; about 36/255."""


def heads(hidden: int, curvature: Changes) -> list[Cell]:
    """Curvature heads trained under attack, and on the features of a finished run."""
    label = f"curvature {hidden}, penalty 0.1"
    warm = {**curvature, "train_only": "head", "augment": False}
    attacked = {**curvature, "attack_radius": _ATTACK}
    return [
        Cell(f"{label}, attack {_ATTACK}", attacked),
        Cell(f"{label}, warm start", warm, start="normalized"),
    ]


def convolutions(seeds: int) -> list[Cell]:
    """Convolutions other than SOC."""
    names = ("bcop", "cayley", "reflector")
    return [Cell(name, {"conv": name}, seeds=seeds) for name in names]


def losses() -> list[Cell]:
    """Losses, schedules and augmentation; offsets and temperatures in pixel units."""
    return [
        Cell("offset 0.2", {"offset": 0.2}),
        Cell("offset 0.4", {"offset": 0.4}),
        Cell("EMMA", {"loss": "emma"}),
        Cell("logit annealing", {"loss": "annealed"}),
        Cell("certificate weight 0.1", {"certificate_weight": 0.1}),
        Cell("cosine", {"schedule": "cosine"}),
        Cell("one cycle", {"schedule": "one_cycle"}),
        Cell("RandAugment 2", {"randaugment": 2}),
        Cell("lookahead 6", {"lookahead": 6}),
    ]
