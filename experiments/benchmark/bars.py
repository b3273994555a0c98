"""Bar charts of the results."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from ..reporting.pictures import new_figure, save
from .machine import sentence
from .tables import TITLES, setting

Record = dict[str, Any]
_COLOURS = {
    "lipjax, default": "tab:blue",
    "PyTorch, eager": "tab:gray",
    "PyTorch, compiled": "0.3",
    "XLA": "0.3",
    "XLA, alone": "tab:gray",
    "looped": "tab:green",
    "blocks": "tab:olive",
    "winograd": "tab:orange",
    "same_convolution": "tab:blue",
}
_SMALL: dict[str, Any] = {"fontsize": "small"}
_HEADING: dict[str, Any] = {
    "fontsize": "x-small",
    "fontweight": "bold",
    "va": "center",
}


def draw(path: Path, results: Record) -> None:
    """Draws a panel per job with a bar per row, as a PNG.

    The length of a bar is the speed relative to the baseline's fastest row of the
    setting, or to the fastest row if there is no baseline.
    """
    rows = [row for row in results["rows"] if row["seconds"]]
    jobs = [job for job in TITLES if any(row["job"] == job for row in rows)]
    if not jobs:
        return
    panels = [[row for row in rows if row["job"] == job] for job in jobs]
    heights = [len(panel) + 1.5 * len(set(map(setting, panel))) + 3 for panel in panels]
    figure = new_figure(9, 0.2 * sum(heights) + 0.8)
    figure.suptitle(_title(results), fontsize="x-small")
    axes = figure.subplots(len(jobs), 1, squeeze=False, height_ratios=heights)
    for axis, job, panel in zip(axes[:, 0], jobs, panels, strict=True):
        axis.set_title(TITLES[job].removesuffix(", ms"), fontsize="medium")
        _draw_panel(axis, panel)
    save(path, figure)


def _title(results: Record) -> str:
    machine = results["machine"]
    text = sentence(machine).rstrip(".")
    return "\n".join([machine["command"], *text.split("; ")])


def _draw_panel(axis: Any, rows: list[Record]) -> None:
    place, ticks = 0.0, []
    for name, group in itertools.groupby(rows, setting):
        axis.text(0, place, f" {name}", **_HEADING)
        of_setting = list(group)
        unit = _reference(of_setting)
        for row in of_setting:
            place += 1
            _draw_bar(axis, place, row, unit)
            ticks.append((place, row["implementation"]))
        place += 1.5
    axis.set_yticks(*zip(*ticks, strict=True), fontsize="x-small")
    axis.set_ylim(place - 0.5, -1)
    axis.set_xlim(0, 1.3 * axis.dataLim.x1)
    axis.tick_params(axis="x", labelsize="x-small")
    compared = any(row["ratio"] for row in rows)
    one = "the baseline's faster" if compared else "the fastest"
    axis.set_xlabel(f"speed, {one} = 1; lines: slowest and fastest call", **_SMALL)
    axis.axvline(1, color="0.8", zorder=0, linewidth=0.8)


def _reference(group: list[Record]) -> float:
    """The seconds that count as speed 1."""
    first = group[0]
    if first["ratio"]:
        return first["seconds"] / first["ratio"]
    return min(row["seconds"] for row in group)


def _draw_bar(axis: Any, place: float, row: Record, unit: float) -> None:
    speed, low, high = (unit / row[name] for name in ("seconds", "high", "low"))
    colour = _COLOURS.get(row["implementation"].removesuffix(", autocast"), "tab:cyan")
    spread = [[speed - low], [high - speed]]
    lines = {"elinewidth": 0.8, "capsize": 1.5}
    axis.barh(place, speed, height=0.8, color=colour, xerr=spread, error_kw=lines)
    axis.text(high, place, f"  {_figure(row)}", va="center", fontsize="xx-small")


def _figure(row: Record) -> str:
    """The text beside a bar."""
    if row["by"] == "lowering":
        return f"{1e3 * row['seconds']:.3g} ms"
    return f"{row['images_per_second']:,.0f} images/s"
