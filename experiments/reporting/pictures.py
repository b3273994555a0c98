"""Pictures for a run's folder."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..common.files import write_bytes
from .intervals import share_intervals
from .summary import RADIUS_NAMES, STANDARD_RADII

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_training(path: Path, rows: list[dict[str, Any]], split: str) -> None:
    """Loss, accuracies and certified accuracies over the epochs, as a PNG."""
    figure = new_figure(9, 3.6)
    left, right = figure.subplots(1, 2)
    plot_loss(left, rows)
    plot_accuracies(right, rows, split)
    right.legend(fontsize="small")
    save(path, figure)


def draw_radii(path: Path, certified: np.ndarray, title: str) -> None:
    """Certified robust accuracy against the radius, as a PNG.

    Args:
      path: of the picture.
      certified: radius of each of n images, negative where the prediction is wrong.
      title: over the picture.
    """
    figure = new_figure(6, 4)
    axes = figure.subplots()
    plot_radii(axes, certified)
    axes.set_title(title, fontsize="small", pad=14)
    save(path, figure)


def plot_loss(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """The loss over the epochs."""
    _plot_epochs(axes, rows, "loss", 1)
    axes.set(xlabel="epoch", ylabel="training loss")


def plot_accuracies(axes: Axes, rows: Sequence[dict[str, Any]], split: str) -> None:
    """Accuracies and estimates of certified ones over the epochs.

    Args:
      axes: to draw on; the legend is left to the caller.
      rows: of a run's metrics, one an epoch.
      split: name of the evaluated images.
    """
    series = {"train_accuracy": "training, clean", "accuracy": f"{split}, clean"}
    series |= {f"cra_estimate_{n}": f"{split}, CRA({n})" for n in RADIUS_NAMES[:4]}
    for name, label in series.items():
        _plot_epochs(axes, rows, name, 100, label=label)
    axes.set(xlabel="epoch", ylabel="% correct (CRA: estimates)", ylim=(0, 100))


def _plot_epochs(
    axes: Axes, rows: Sequence[dict[str, Any]], name: str, unit: float, **how: Any
) -> None:
    values = [unit * row[name] for row in rows]
    alone = "." * (len(rows) < 2)  # a line through one point is not seen
    axes.plot([row["epoch"] for row in rows], values, marker=alone, **how)


def plot_radii(axes: Axes, certified: np.ndarray) -> None:
    """Certified robust accuracy against the radius, with its band of 95%.

    Args:
      axes: to draw on.
      certified: as `draw_radii`.
    """
    right, n = np.sort(certified[certified >= 0]), len(certified)
    at = np.concatenate([[0.0], right])
    counts = np.append(np.arange(len(right), 0, -1), 0)
    low, high = share_intervals(counts, n)
    axes.fill_between(at, 100 * low, 100 * high, step="post", alpha=0.2, linewidth=0)
    axes.step(at, 100 * counts / n, where="post")
    limit = 1.05 * max(0.5, float(right.max(initial=0)))
    last = -limit
    for standard, name in zip(STANDARD_RADII, RADIUS_NAMES, strict=True):
        if standard < limit:
            axes.axvline(standard, color="0.85", zorder=0)
            if standard - last > limit / 10:  # else the names overlap
                axes.text(standard, 101, name, fontsize="small", ha="center")
                last = standard
    axes.set(xlabel="radius (l2, pixels in [0, 1])", ylabel="% correct and certified")
    axes.set(xlim=(0, limit), ylim=(0, 100))


def draw_change(
    path: Path, image: np.ndarray, changed: np.ndarray, titles: tuple[str, str]
) -> None:
    """An image, a changed one and their difference, as a PNG.

    Args:
      path: of the picture.
      image: [height, width, 1 or 3], in [0, 1].
      changed: like it.
      titles: over the two.
    """
    difference = changed - image
    largest = max(float(np.abs(difference).max()), 1e-9)
    figure = new_figure(9, 3.6)
    panels = figure.subplots(1, 3)
    shown = (image, np.clip(changed, 0, 1), 0.5 + difference / (2 * largest))
    grey = f"difference: grey is none,\nwhite and black are {largest:.3f}"
    for axes, pixels, title in zip(panels, shown, (*titles, grey), strict=True):
        pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title, fontsize="small")
        axes.set_axis_off()
    save(path, figure)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches. Matplotlib takes 0.7 s to import: only now."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(path: Path, figure: Figure) -> None:
    """Writes a figure as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_bytes(path, buffer.getvalue())
