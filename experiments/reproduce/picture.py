"""Certified robust accuracy against the radius, a line for each cell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..reporting.pictures import new_figure, save
from ..reporting.summary import RADIUS_NAMES, STANDARD_RADII
from .runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 2
_STYLES = ("-", "--", ":", "-.")


def draw(path: Path, runs: Sequence[Run], title: str) -> None:
    """A picture for each group of cells, in one PNG; none without finished runs.

    Lines are means over the seeds, with a band from the smallest to the largest.
    """
    finished = [run for run in runs if run.figures]
    if not finished:
        return
    groups = list(dict.fromkeys(run.cell.group for run in finished))
    columns = min(_COLUMNS, len(groups))
    lines = -(-len(groups) // columns)
    figure = new_figure(8.5 * columns, 4.6 * lines)
    figure.suptitle(title)
    every = figure.subplots(lines, columns, squeeze=False).flat
    for axes, group in zip(every, groups, strict=False):
        _draw_group(axes, [run for run in finished if run.cell.group == group])
        axes.set_title(group, fontsize="medium", pad=14)
    for axes in list(every)[len(groups) :]:
        axes.set_axis_off()
    save(path, figure)


def _draw_group(axes: Axes, runs: Sequence[Run]) -> None:
    cells = list(dict.fromkeys(run.cell.label for run in runs))
    limit = _limit(runs)
    grid = np.linspace(0, limit, 400)
    for n, label in enumerate(cells):
        mine = [run for run in runs if run.cell.label == label]
        curves = np.array([_curve(run, grid) for run in mine])
        color, style = f"C{n % 10}", _STYLES[n // 10 % len(_STYLES)]
        axes.plot(grid, curves.mean(0), color=color, linestyle=style, label=label)
        if len(curves) > 1:
            axes.fill_between(
                grid, curves.min(0), curves.max(0), color=color, alpha=0.15, linewidth=0
            )
    for radius, name in zip(STANDARD_RADII, RADIUS_NAMES, strict=True):
        if radius < limit:
            axes.axvline(radius, color="0.85", zorder=0)
            side = "left" if name == "0.5" else "center"  # 108/255 is close to it
            axes.text(radius, 101, name, fontsize="x-small", ha=side)
    axes.set(xlabel="l2 radius, pixels in [0, 1]", ylabel="% correct and certified")
    axes.set(xlim=(0, limit), ylim=(0, 100))
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1.0))


def _limit(runs: Sequence[Run]) -> float:
    """The radius up to which at least one image in a hundred is certified."""
    reached = [np.quantile(run.figures.radii, 0.99) for run in runs if run.figures]
    return 1.05 * max(STANDARD_RADII[2], *map(float, reached))


def _curve(run: Run, grid: np.ndarray) -> np.ndarray:
    """The share of the images with a radius above each of a grid, in %.

    At 0 it is the share that is right, as everywhere: a tie certifies nothing.
    """
    assert run.figures
    radii = np.sort(run.figures.radii)
    above = len(radii) - np.searchsorted(radii, grid, side="right")
    above[grid == 0] = (radii >= 0).sum()
    return 100 * above / len(radii)
