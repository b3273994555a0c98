"""The pictures of the page: SVG for curves, PNG for images, both inside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..reporting.pictures import new_figure
from ..reporting.summary import RADIUS_NAMES, STANDARD_RADII
from .intervals import share_intervals

_WIDTH, _HEIGHT = 5.0, 3.2
"""Inches. On a phone, 4 inches wide, letters are then four fifths of their size."""


def radii(radius: np.ndarray) -> str:
    """Certified robust accuracy against the radius, with its band, as SVG.

    Args:
      radius: of each of n images, negative where the prediction is wrong.
    """
    right, n = np.sort(radius[radius >= 0]), len(radius)
    at = np.concatenate([[0.0], right])
    counts = np.append(np.arange(len(right), 0, -1), 0)
    low, high = share_intervals(counts, n)
    figure = new_figure(_WIDTH, _HEIGHT)
    axes = figure.subplots()
    axes.fill_between(at, 100 * low, 100 * high, step="post", alpha=0.2, linewidth=0)
    axes.step(at, 100 * counts / n, where="post")
    limit = 1.05 * max(0.5, float(right.max(initial=0)))
    last = -limit
    for standard, name in zip(STANDARD_RADII, RADIUS_NAMES, strict=True):
        if standard < limit:
            axes.axvline(standard, color="0.85", zorder=0)
            if standard - last > limit / 9:  # else the names overlap
                axes.text(standard, 101, name, fontsize="small", ha="center")
                last = standard
    axes.set(xlabel="radius (l2, pixels in [0, 1])", ylabel="% correct and certified")
    axes.set(xlim=(0, limit), ylim=(0, 100))
    return _svg(figure)


def training(rows: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """The loss over the epochs, and the accuracies, as SVG."""
    epochs = [row["epoch"] for row in rows]
    loss = new_figure(_WIDTH, _HEIGHT)
    axes = loss.subplots()
    axes.plot(epochs, [row["loss"] for row in rows], marker="." * (len(rows) < 2))
    axes.set(xlabel="epoch", ylabel="training loss")
    accuracies = new_figure(_WIDTH, 1.3 * _HEIGHT)
    axes = accuracies.subplots()
    series = {"train_accuracy": "training images", "accuracy": "evaluated images"}
    series |= {f"cra_estimate_{n}": f"evaluated, radius {n}" for n in RADIUS_NAMES[:4]}
    for name, label in series.items():
        values = [100 * row[name] for row in rows]
        axes.plot(epochs, values, label=label, marker="." * (len(rows) < 2))
    axes.set(xlabel="epoch", ylabel="% correct (with a radius: estimates)")
    axes.set(ylim=(0, 100))
    accuracies.legend(loc="outside lower center", ncols=2, fontsize="small")
    return _svg(loss), _svg(accuracies)


def _svg(figure: Any) -> str:
    """The figure as an element of HTML; the same bytes for the same figure."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "lipjax"}):
        figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def png(image: np.ndarray) -> str:
    """An image [height, width, 1 or 3] in [0, 1] as a data URL."""
    levels = np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
    levels = levels[..., 0] if levels.shape[-1] == 1 else levels
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
