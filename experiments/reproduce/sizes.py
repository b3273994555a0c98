"""The sizes of the tables: what their cells have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ..configs import PRESETS, Config


@dataclasses.dataclass(frozen=True)
class Size:
    """What the cells of all tables have in common.

    Attributes:
      name: of the size.
      preset: the preset of `experiments.train` that the settings start from.
      data: the data set, unless the command names one.
      widths: initial channels, each with the epochs of a run.
      stages: of the network for these images; a depth is a multiple of it.
      layers: layers a stage of the table `depth`, each with the epochs of a run.
      exact: the same for the table `gradients`.
      hidden: hidden units of the curvature heads.
      seeds: seeds of the cells that are close to one another.
      images: test images to certify, unless the command says; None: all.
      dtype: in training.
    """

    name: str
    preset: str
    data: str
    widths: Mapping[int, int]
    stages: int
    layers: Mapping[int, int]
    exact: Mapping[int, int]
    hidden: tuple[int, int, int]
    seeds: int
    images: int | None
    dtype: str = "float32"

    @property
    def width(self) -> int:
        """The first of the widths: that of tables which vary something costly."""
        return next(iter(self.widths))

    def config(self) -> Config:
        """The settings that the cells change."""
        return dataclasses.replace(
            PRESETS[self.preset](),
            data=self.data,
            width=self.width,
            epochs=self.widths[self.width],
            dtype=self.dtype,
        )


def _fixed(value: dict[int, int]) -> Mapping[int, int]:
    return MappingProxyType(value)


def smoke() -> Size:
    """Digits: seconds a cell. Shows that a table works; its figures mean nothing."""
    return Size(
        name="smoke",
        preset="digits",
        data="digits",
        widths=_fixed({4: 3}),
        stages=3,
        layers=_fixed({1: 3, 2: 3}),
        exact=_fixed({1: 3, 2: 3}),
        hidden=(16, 32, 64),
        seeds=1,
        images=60,
    )


def cpu() -> Size:
    """CIFAR-10 with 8 and 16 initial channels: at most 30 minutes a cell on 2 cores."""
    return Size(
        name="cpu",
        preset="narrow",
        data="cifar10",
        widths=_fixed({8: 5, 16: 3}),
        stages=5,
        layers=_fixed({1: 5, 2: 5, 3: 4, 4: 4, 8: 2}),
        exact=_fixed({1: 3, 2: 3, 4: 2, 8: 2}),
        hidden=(256, 512, 1024),
        seeds=3,
        images=2000,
    )


def gpu() -> Size:
    """CIFAR-10 at the paper's width, for its 200 epochs, in bfloat16."""
    return Size(
        name="gpu",
        preset="lipconvnet",
        data="cifar10",
        widths=_fixed({32: 200}),
        stages=5,
        layers=_fixed({1: 200, 2: 200, 3: 200, 4: 200, 8: 200}),
        exact=_fixed({1: 200, 2: 200, 4: 200, 8: 200}),
        hidden=(256, 512, 1024),
        seeds=3,
        images=2000,
        dtype="bfloat16",
    )


SIZES: dict[str, Any] = {size.__name__: size for size in (smoke, cpu, gpu)}
