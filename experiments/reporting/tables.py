"""Tables for the screen."""

from __future__ import annotations

from typing import Any

import jax

from lipjax import LipConvNet

from .summary import RADIUS_NAMES, Summary


def duration(seconds: float) -> str:
    """Seconds as 75s, 12m30s or 3h05m.

    Example:
      >>> duration(75), duration(750), duration(11100)
      ('75s', '12m30s', '3h05m')
    """
    whole = round(seconds)
    if whole < 100:
        return f"{whole}s"
    if whole < 6000:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole // 60 % 60:02}m"


def megabytes(size: float) -> str:
    """Bytes as 1,029.9 MB.

    Example:
      >>> megabytes(1029.9e6)
      '1,029.9 MB'
    """
    return f"{size / 1e6:,.1f} MB"


def network_text(model: LipConvNet, params: Any) -> str:
    """Depth, parameters, sizes, kinds of layers and normalisation, in a few lines."""
    depth = model.stages * model.layers_per_stage
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    size = "x".join(map(str, model.image_shape))
    mean, std = (" ".join(f"{v:.4f}" for v in vs) for vs in (model.mean, model.std))
    return (
        f"LipConvNet-{depth}, {count:,} parameters\n"
        f"  {size} images of {model.num_classes} classes, width {model.width}\n"
        f"  {model.activation}, {model.pooling} pooling, {model.head} head\n"
        f"  mean {mean}, std {std}"
    )


def epoch_row(
    epoch: int,
    loss: float,
    accuracy: float,
    summary: Summary,
    seconds: float,
    rate: float,
) -> dict[str, Any]:
    """An epoch's figures, by the names in the files."""
    cra = {
        f"cra_estimate_{name}": round(value, 5)
        for name, value in zip(RADIUS_NAMES, summary.cra, strict=True)
    }
    return {
        "epoch": epoch,
        "loss": round(loss, 6),
        "train_accuracy": round(accuracy, 5),
        "accuracy": round(summary.accuracy, 5),
        **cra,
        "mean_radius_estimate": round(summary.mean_radius, 5),
        "seconds": round(seconds, 3),
        "images_per_second": round(rate, 1),
    }


def epoch_header(split: str) -> str:
    """The header, two lines, of the rows of `epoch_line`."""
    radii = "".join(f"{name:>8}" for name in RADIUS_NAMES)
    return (
        f"{'':22}{split + ':':>12}  CRA (estimate) at l2 radius\n"
        f"{'epoch':>7}{'loss':>8}{'train':>7}{'clean':>12}{radii}"
        f"{'mean r':>8}{'time':>8}{'img/s':>8}{'left':>8}"
    )


def epoch_line(row: dict[str, Any], epochs: int, left: float) -> str:
    """An epoch's figures as one line; accuracies in percent."""
    cra = "".join(
        f"{100 * value:8.1f}"
        for name, value in row.items()
        if name.startswith("cra_estimate_")
    )
    return (
        f"{row['epoch']:>3}/{epochs:<3}{row['loss']:8.4f}"
        f"{100 * row['train_accuracy']:7.1f}{100 * row['accuracy']:12.1f}{cra}"
        f"{row['mean_radius_estimate']:8.3f}{duration(row['seconds']):>8}"
        f"{row['images_per_second']:8.0f}{duration(left):>8}"
    )


def summary_table(summary: Summary) -> str:
    """Clean and certified robust accuracy at the standard radii, in percent."""
    names = ("clean", *RADIUS_NAMES, "mean radius")
    values = [f"{100 * v:.2f}" for v in (summary.accuracy, *summary.cra)]
    rows = (names, (*values, f"{summary.mean_radius:.4f}"))
    return "\n".join("".join(f"{cell:>12}" for cell in row) for row in rows)
