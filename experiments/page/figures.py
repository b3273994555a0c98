"""The pictures of the page: SVG for curves, PNG for images, both inside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..reporting.pictures import new_figure, plot_accuracies, plot_loss, plot_radii

_WIDTH, _HEIGHT = 5.0, 3.2
"""Inches. On a phone, 4 inches wide, letters are then four fifths of their size."""


def radii(radius: np.ndarray) -> str:
    """Certified robust accuracy against the radius, with its band, as SVG.

    Args:
      radius: of each of n images, negative where the prediction is wrong.
    """
    figure = new_figure(_WIDTH, _HEIGHT)
    plot_radii(figure.subplots(), radius)
    return _svg(figure)


def training(rows: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """The loss over the epochs, and the accuracies, as SVG."""
    loss = new_figure(_WIDTH, _HEIGHT)
    plot_loss(loss.subplots(), rows)
    accuracies = new_figure(_WIDTH, 1.3 * _HEIGHT)
    plot_accuracies(accuracies.subplots(), rows, "evaluated")
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
