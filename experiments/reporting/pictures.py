"""Pictures for a run's folder."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..common.files import write_bytes
from .summary import RADIUS_NAMES, STANDARD_RADII

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_training(path: Path, rows: list[dict[str, Any]], split: str) -> None:
    """Loss, accuracies and certified accuracies over the epochs, as a PNG."""
    figure = new_figure(9, 3.6)
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in rows]
    left.plot(epochs, [row["loss"] for row in rows], color="tab:blue")
    left.set(xlabel="epoch", ylabel="training loss")
    series = {"train_accuracy": "training, clean", "accuracy": f"{split}, clean"}
    series |= {f"cra_estimate_{n}": f"{split}, CRA({n})" for n in RADIUS_NAMES[:4]}
    for name, label in series.items():
        right.plot(epochs, [100 * row[name] for row in rows], label=label)
    right.set(xlabel="epoch", ylabel="%", ylim=(0, 100))
    right.set_title("CRA: estimates", fontsize="small")
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
    right = np.sort(certified[certified >= 0])
    share = np.arange(len(right), 0, -1) / len(certified)
    axes.step([0, *right], 100 * np.array([*share, 0]), where="post")
    limit = 1.05 * max(0.5, float(np.max(right, initial=0)))
    for radius, name in zip(STANDARD_RADII, RADIUS_NAMES, strict=True):
        if radius < limit:
            axes.axvline(radius, color="0.85", zorder=0)
            axes.text(radius, 101, name, fontsize="x-small", ha="center")
    axes.set(xlabel="l2 radius, pixels in [0, 1]", ylabel="% correct and certified")
    axes.set(xlim=(0, limit), ylim=(0, 100))
    axes.set_title(title, fontsize="small", pad=14)
    save(path, figure)


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
