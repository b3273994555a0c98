"""What a finished run measured, from the files in its folder."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import statistics
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lipjax import LipConvNet

from ..common.errors import UserError
from ..reporting.summary import RADIUS_NAMES
from ..training.run_folder import RunFolder
from .cells import SECONDS


@dataclasses.dataclass(frozen=True)
class Figures:
    """What a run measured.

    Attributes:
      values: "clean" and the radii in %, proven; "mean radius", proven; "seconds an
        epoch", the median without the first one; "parameters".
      images: how many test images were certified.
      device: what it was trained on.
      radii: certified radius of each test image, [N]; negative where it is wrong.
    """

    values: dict[str, float]
    images: int
    device: str
    radii: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """All but the radii, which are in the run's folder."""
        return self.values | {"images": self.images, "device": self.device}


def read_figures(folder: RunFolder, log: Path) -> Figures | None:
    """The figures of a run; None if it is not finished.

    Raises:
      UserError: if a file is missing or damaged.
    """
    try:
        test = json.loads((folder.path / "test.json").read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{folder.path / 'test.json'} is damaged: {error}") from error
    radii = _radii(folder.path / "certificates.jsonl")
    values = {"clean": 100 * test["accuracy"]}
    values |= {name: 100 * test[name] for name in RADIUS_NAMES}
    values |= {
        "mean radius": test["mean_radius"],
        SECONDS: median_seconds(_lines(folder.path / "metrics.jsonl")),
        "parameters": parameters(folder.model),  # pyright: ignore[reportArgumentType]
    }
    return Figures(values, len(radii), _device(log), radii)


def median_seconds(rows: list[dict[str, Any]]) -> float:
    """Median over the epochs, without the first, which compiles, if there are more.

    Example:
      >>> median_seconds([{"seconds": 9.0}, {"seconds": 2.0}, {"seconds": 3.0}])
      2.5
    """
    seconds = [row["seconds"] for row in rows]
    return statistics.median(seconds[1:] or seconds)


@functools.lru_cache
def parameters(model: LipConvNet) -> int:
    """The number of trained parameters.

    Example:
      >>> parameters(LipConvNet((4, 4, 3), 2, stages=1, width=2))
      189
    """

    def init() -> Any:
        image = jnp.zeros((1, *model.image_shape), jnp.float32)
        return model.init(jax.random.key(0), image)["params"]

    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(init)))


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from error


def _radii(path: Path) -> np.ndarray:
    rows = _lines(path)
    right = [row["prediction"] == row["label"] for row in rows]
    return np.where(right, [row["radius"] for row in rows], -1.0)


def _device(log: Path) -> str:
    """The devices that `experiments.train` names in the titles that it printed."""
    if not log.exists():
        return "unknown"
    titles = re.findall(
        r"training images of .*?; (\d+ x [^;\n]+)", log.read_text(errors="replace")
    )
    return ", ".join(dict.fromkeys(title.strip() for title in titles)) or "unknown"
