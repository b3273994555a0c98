"""The tables as data. A table is a function of the size."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from . import published
from .cells import SECONDS, Cell, Comparison, Table, compared
from .sizes import Size

_PENALTIES = (0.03, 0.1, 0.3)
_DEGREES = (3, 4, 5)
_ATTACK = 0.14
"""Radius of the attack on features in training, in pixels; about 36/255."""


def heads(size: Size) -> Table:
    """Linear heads, and curvature heads by hidden units and penalty."""
    middle = curvature_label(size.hidden[1], 0.1)
    curvature = [
        Cell(curvature_label(hidden, penalty), curvature_head(hidden, penalty))
        for hidden in size.hidden
        for penalty in _PENALTIES
    ]
    claim = "a curvature head certifies more than a linear one [S22b]"
    pairs = [(middle, "normalized"), (middle, "orthogonal")]
    pairs += [
        (attacked(middle), name) for name in (attacked("normalized"), "normalized")
    ]
    return Table(
        "Heads",
        _at_widths(
            size,
            [
                Cell("orthogonal", {"head": "orthogonal"}, seeds=size.seeds),
                Cell("normalized", {"head": "normalized"}, seeds=size.seeds),
                *(_seeded(cell, size, cell.label == middle) for cell in curvature),
                *_recipes(size),
            ],
        ),
        tuple(one for pair in pairs for one in compared(*pair, claim)),
        published.HEADS,
    )


def _recipes(size: Size) -> tuple[Cell, ...]:
    """Heads trained under attack, and on the features of a finished run."""
    hidden = size.hidden[1]
    label, changes = curvature_label(hidden, 0.1), curvature_head(hidden, 0.1)
    warm = {**changes, "train_only": "head", "augment": False}
    attack = {"attack_radius": _ATTACK}
    linear = {"head": "normalized", **attack}
    return (
        Cell(attacked("normalized"), linear, seeds=size.seeds),
        Cell(attacked(label), {**changes, **attack}, seeds=size.seeds),
        Cell(f"{label}, warm start", warm, start="normalized"),
    )


def attacked(label: str) -> str:
    """The label of a cell whose features are attacked in training."""
    return f"{label}, attack {_ATTACK}"


def curvature_label(hidden: int, penalty: float) -> str:
    """The label of a curvature head."""
    return f"curvature {hidden}, penalty {penalty}"


def curvature_head(hidden: int, penalty: float) -> dict[str, Any]:
    """The settings of a curvature head; its gradients are clipped, as published."""
    return {
        "head": "curvature",
        "hidden": hidden,
        "curvature_penalty": penalty,
        "clip_norm": 1.0,
    }


def pooling(size: Size) -> Table:
    """Max pooling against projection pooling."""
    names = ("max", "projection")
    claim = "projection pooling helps [S22b]"
    return Table(
        "Pooling",
        _at_widths(size, [Cell(n, {"pooling": n}, seeds=size.seeds) for n in names]),
        compared("projection", "max", claim),
        published.HEADS[:1],
    )


def activations(size: Size) -> Table:
    """MaxMin against Householder activations of order 1 and 2."""
    names = ("maxmin", "householder", "householder2")
    cells = [Cell(n, {"activation": n}, seeds=size.seeds) for n in names]
    comparisons = compared("householder", "maxmin", "")
    comparisons += compared("householder2", "maxmin", "")
    return Table("Activations", _at_widths(size, cells), comparisons)


def gradients(size: Size) -> Table:
    """Rules for the kernels' gradients, by depth."""
    cells = [
        Cell(
            rule,
            {"gradient": rule, "depth": layers * size.stages, "epochs": epochs},
            group=f"depth {layers * size.stages}",
        )
        for layers, epochs in size.exact.items()
        for rule in ("exact", "fast", "low_rank")
    ]
    claim = "saves over 30% of an epoch in deeper networks [S22b]"
    comparisons = (
        Comparison("fast", "exact", SECONDS, claim, least=30.0),
        Comparison("low_rank", "exact", SECONDS),
        *compared("fast", "exact", "", ("clean", "36/255")),
        *compared("low_rank", "fast", "", ("clean", "36/255")),
    )
    return Table("Gradients", tuple(cells), comparisons, published.GRADIENTS)


def series(size: Size) -> Table:
    """Polynomials of the exponential in training; that of evaluation stays."""
    names = [f"taylor:{degree}" for degree in (*_DEGREES, 14)]
    names += [f"chebyshev:{degree}:2.0" for degree in _DEGREES]
    cells = [Cell(name, {"polynomial": name}, seeds=size.seeds) for name in names]
    same = ("clean", "36/255", SECONDS)
    comparisons = [
        one
        for degree in _DEGREES
        for one in compared(f"chebyshev:{degree}:2.0", f"taylor:{degree}", "", same)
    ]
    return Table("Series", tuple(cells), tuple(comparisons))


def depth(size: Size) -> Table:
    """Networks of 1 to 8 layers a stage; on a GPU also the paper's network."""
    cells = [
        Cell(f"{layers * size.stages}", {"depth": layers * size.stages, "epochs": n})
        for layers, n in size.layers.items()
    ]
    if size.name == "gpu":
        paper = curvature_head(4096, 0.1) | {
            "depth": 15,
            "pooling": "projection",
            "activation": "householder2",
        }
        cells.append(Cell("15, as published", paper, claim=published.PAPER))
    return Table("Depth", tuple(cells), published=published.DEPTH)


def convolutions(size: Size) -> Table:
    """Orthogonal convolutions."""
    others = ("bcop", "cayley", "reflector")
    cells = [Cell(name, {"conv": name}, seeds=size.seeds) for name in ("soc", *others)]
    comparisons = tuple(
        one
        for other in others
        for one in compared("soc", other, "", ("clean", "36/255", SECONDS))
    )
    return Table("Convolutions", tuple(cells), comparisons, published.CONVOLUTIONS)


def losses(size: Size) -> Table:
    """Losses and parts of recipes, each switched on alone."""
    others = [
        Cell("offset 0.2", {"offset": 0.2}),
        Cell("offset 0.4", {"offset": 0.4}),
        Cell("temperature 0.5", {"temperature": 0.5}),
        Cell("EMMA", {"loss": "emma", "offset": 0.42}),
        Cell("logit annealing", {"loss": "annealed"}),
        Cell("certificate weight 0.1", {"certificate_weight": 0.1}),
        Cell("cosine", {"schedule": "cosine"}),
        Cell("one cycle", {"schedule": "one_cycle"}),
        Cell("RandAugment 2", {"randaugment": 2}),
        Cell("lookahead 6", {"lookahead": 6}),
    ]
    if size.config().augment:
        others.append(Cell("no augmentation", {"augment": False}))
    cells = [Cell("cross-entropy"), *others]
    comparisons = tuple(
        one for cell in others for one in compared(cell.label, "cross-entropy", "")
    )
    cells = [_seeded(cell, size, True) for cell in cells]
    return Table("Losses", _at_widths(size, cells), comparisons, published.LOSSES)


def _at_widths(size: Size, cells: Iterable[Cell]) -> tuple[Cell, ...]:
    """The cells at every width of the size."""
    if len(size.widths) == 1:
        return tuple(cells)
    cells = tuple(cells)
    return tuple(
        dataclasses.replace(
            cell,
            group=f"width {width}",
            changes={"width": width, "epochs": epochs, **cell.changes},
        )
        for width, epochs in size.widths.items()
        for cell in cells
    )


def _seeded(cell: Cell, size: Size, close: bool) -> Cell:
    return dataclasses.replace(cell, seeds=size.seeds) if close else cell


TABLES: dict[str, Callable[[Size], Table]] = {
    each.__name__: each
    for each in (
        *(heads, pooling, activations, gradients),
        *(series, depth, convolutions, losses),
    )
}
"""Tables by name."""
