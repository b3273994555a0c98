"""What a day has found so far, as Markdown."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..benchmark import machine
from ..benchmark.tables import table
from ..common.files import write_bytes
from ..reporting.summary import RADIUS_NAMES
from ..reporting.tables import duration
from .steps import RESULTS, Step, read

REPORT = "report.md"
_CRA = RADIUS_NAMES[:3]


def write(
    out: Path, day: Sequence[Step], states: Mapping[str, Any], described: Any
) -> None:
    """Writes the report of a day.

    Args:
      out: its folder.
      day: its steps.
      states: "state", "reason" and "seconds" of each step, by name.
      described: the machine.
    """
    parts = [
        "# A day with " + (described["accelerator"] or described["cpu"]),
        f"    {described['command']}",
        f"{described['date']}. {machine.sentence(described)}",
        table(_STATES, ({"name": one.name} | states[one.name] for one in day)),
    ]
    for one in day:
        section = _SECTIONS.get(one.program)
        text = section(one.folder(out)) if section else ""
        if text:
            parts += [f"## {one.name}", text]
    rows = [row for one in day if one.program == "train" for row in _run(one, out)]
    if rows:
        parts += ["## Trainings", table(_TRAININGS, rows), _LEGEND]
    write_bytes(out / REPORT, ("\n\n".join(parts) + "\n").encode())


def _shifted(text: str) -> str:
    """Headings a level lower, for a section."""
    lines = text.strip("\n").splitlines()
    return "\n".join("#" + line if line.startswith("#") else line for line in lines)


def _self_test(folder: Path) -> str:
    results = read(folder / RESULTS)
    return table(_CHECKS, results["checks"]) if results else ""


def _file(name: str):
    def section(folder: Path) -> str:
        path = folder / name
        return _shifted(path.read_text()) if path.exists() else ""

    return section


def _table(folder: Path) -> str:
    """A table of `experiments.reproduce`; its picture is in its folder."""
    text = _file("table.md")(folder)
    return text.replace("](table.png)", f"](tables/{folder.name}/table.png)")


_SECTIONS = {
    "gpu_day.self_test": _self_test,
    "gpu_day.profile": _file("table.md"),
    "benchmark": _file("tables.md"),
    "reproduce": _table,
}
"""The section of a step, by its program."""


def _run(step: Step, out: Path) -> Iterable[dict[str, Any]]:
    """The row of a training, if it has finished an epoch."""
    folder = step.folder(out)
    try:
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        settings = read(folder / "config.json")
        rows = [json.loads(line) for line in lines]
    except (FileNotFoundError, ValueError):
        return
    if not rows or not settings:
        return
    proven = read(folder / "test.json")
    last = proven or {
        name.removesuffix("_estimate").replace("cra_estimate_", ""): value
        for name, value in rows[-1].items()
    }
    seconds = [row["seconds"] for row in rows[1:] or rows]
    yield {
        "name": step.name,
        "epochs": f"{len(rows)} of {settings['config']['epochs']}",
        "seconds": statistics.median(seconds),
        "radii": "proven" if proven else "estimates",
        "accuracy": last["accuracy"],
        "radius": last["mean_radius"],
        "cra": [last[name] for name in _CRA],
    }


_STATES: Any = {
    "step": lambda row: row["name"],
    "state": lambda row: f"{row['state']}: {row['reason']}".removesuffix(": "),
    "time": lambda row: duration(row["seconds"]),
}
_CHECKS: Any = {
    "compared with a CPU in float64": lambda row: row["name"],
    "off by": lambda row: f"{row['error']:.1e}",
    "limit": lambda row: f"{row['limit']:.0e}",
    "": lambda row: row["note"] or ("ok" if row["passed"] else "**too far**"),
}
_TRAININGS: Any = {
    "run": lambda row: row["name"],
    "epochs": lambda row: row["epochs"],
    "seconds an epoch": lambda row: f"{row['seconds']:.2f}",
    "radii": lambda row: row["radii"],
    "clean": lambda row: f"{100 * row['accuracy']:.2f}",
    **{
        f"CRA({name})": lambda row, n=n: f"{100 * row['cra'][n]:.2f}"
        for n, name in enumerate(_CRA)
    },
    "mean radius": lambda row: f"{row['radius']:.3f}",
}
_LEGEND = (
    "Seconds an epoch are those of its steps, the median without the first epoch. "
    "Proven figures are of the test images; estimates, in float32, of the images that "
    "the run watches."
)
