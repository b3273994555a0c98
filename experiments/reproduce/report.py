"""The table as Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from ..benchmark.machine import sentence
from ..benchmark.tables import table as markdown
from .cells import SECONDS, Cell, Table
from .runs import FINISHED, Run
from .spread import spread, text
from .verdicts import Verdict, verdicts

PICTURE = "table.png"
_LEGEND = (
    "Clean accuracy, certified robust accuracy at l2 radii in pixels of [0, 1], and "
    "the mean radius (0 where the prediction is wrong) are proven figures of the test "
    "images; accuracies in percent. Seconds an epoch: the median over the epochs "
    "without the first, on a machine whose other work changes it. A figure is the mean "
    "over the seeds: with ±, Student's interval of 95% from 3 seeds or more; in "
    "brackets, the smallest and the largest of 2; else of a single seed."
)
_GAINS = (
    "Gains are those of the first cell over the second, the same seeds paired: in "
    "points, for seconds the share that is saved. A claim is confirmed if the whole "
    "interval lies above it, or above 0 if it names no number; denied if the whole "
    "interval lies below; else open."
)


def document(
    table: Table, runs: Sequence[Run], results: dict[str, Any], with_half: bool
) -> str:
    """The table, the claims that it decides, and what is missing.

    Args:
      table: the table.
      runs: its runs.
      results: "table", "size", "data", "certify_images" and "machine".
      with_half: whether the radius 0.5 has a column.
    """
    machine = results["machine"]
    parts = [
        f"# {table.title}",
        f"    {machine['command']}",
        _wrapped(f"Size {results['size']}. {_images(runs)} {machine['date']}."),
        _wrapped(_machines(machine, runs)),
        _wrapped(_LEGEND),
        markdown(_columns(table, runs, with_half), table.cells),
    ]
    found = list(verdicts(table.comparisons, runs))
    if found:
        parts += ["## Claims and comparisons", _wrapped(_GAINS)]
        parts.append(markdown(_VERDICTS, found))
    if table.published:
        parts += ["## Published", "\n".join(f"- {one}" for one in table.published)]
    missing = [run for run in runs if run.state != FINISHED]
    if missing:
        parts += ["## Not finished", "\n".join(map(_missing, missing))]
    if len(missing) < len(runs):
        parts.append(f"![certified robust accuracy against the radius]({PICTURE})")
        parts += ["## Commands", "\n".join(map(_command, runs))]
    return "\n\n".join(parts) + "\n"


def _images(runs: Sequence[Run]) -> str:
    """How many images the finished runs were certified on."""
    counts = sorted({run.figures.images for run in runs if run.figures})
    return f"{' or '.join(f'{n:,}' for n in counts) or 'No'} test images certified."


def _machines(machine: dict[str, Any], runs: Sequence[Run]) -> str:
    """The machine of the last command, and the devices of all runs."""
    devices = dict.fromkeys(run.figures.device for run in runs if run.figures)
    trained = f" Trained on: {'; '.join(devices)}." if devices else ""
    return sentence(machine).replace(", no accelerator", "") + trained


def _columns(
    table: Table, runs: Sequence[Run], with_half: bool
) -> dict[str, Callable[[Cell], str]]:
    names = ["clean", "36/255", "72/255", "108/255"] + ["0.5"] * with_half
    digits = dict.fromkeys(names, 2) | {"mean radius": 4, SECONDS: 2, "parameters": 0}
    columns: dict[str, Callable[[Cell], str]] = {}
    if any(cell.group for cell in table.cells):
        columns["group"] = lambda cell: cell.group
    columns |= {"cell": lambda cell: cell.label, "seeds": lambda c: _seeds(c, runs)}
    for name, count in digits.items():
        columns[name] = lambda cell, n=name, d=count: _figure(cell, runs, n, d)
    if any(cell.claim for cell in table.cells):
        columns["the paper's"] = lambda cell: cell.claim
    return columns


def _of(cell: Cell, runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.cell == cell]


def _seeds(cell: Cell, runs: Sequence[Run]) -> str:
    mine = _of(cell, runs)
    states = [run.state for run in mine]
    others = dict.fromkeys(state for state in states if state != FINISHED)
    told = "".join(f", {states.count(state)} {state}" for state in others)
    return f"{states.count(FINISHED)} of {len(mine)}{told}"


def _figure(cell: Cell, runs: Sequence[Run], name: str, digits: int) -> str:
    values = [run.figures.values[name] for run in _of(cell, runs) if run.figures]
    if not values:
        return "–"
    if min(values) == max(values) and digits == 0:
        return f"{values[0]:,.0f}"
    return text(spread(values), digits)


def _claimed(verdict: Verdict) -> str:
    claim, least = verdict.comparison.claim, verdict.comparison.least
    return claim + f": {least:.0f}%" * bool(least and f"{least:.0f}%" not in claim)


def _gain(verdict: Verdict) -> str:
    unit = "%" if verdict.comparison.figure == SECONDS else ""
    return text(verdict.gain) + unit


_VERDICTS: dict[str, Callable[[Verdict], str]] = {
    "group": lambda v: v.group,
    "cells": lambda v: f"{v.comparison.better} over {v.comparison.worse}",
    "figure": lambda v: v.comparison.figure,
    "gain": _gain,
    "claim": _claimed,
    "seeds": lambda v: str(v.gain.size),
    "verdict": lambda v: v.sign,
}


def _missing(run: Run) -> str:
    reason = f": {run.reason}" if run.reason else ""
    return f"- {run.name}: {run.state}{reason}"


def _command(run: Run) -> str:
    flags = " ".join(run.flags)
    return f"- {run.name}: `python -m experiments.train {flags}`"


def _wrapped(paragraph: str) -> str:
    return textwrap.fill(paragraph, 88, break_on_hyphens=False)
