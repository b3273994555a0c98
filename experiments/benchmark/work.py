"""What is timed."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..data import Dataset, Split

CHANNELS, CLASSES = 3, 10
TRAINING_IMAGES = 50_000  # as CIFAR-10; a step draws a permutation of them


class Work(NamedTuple):
    """One implementation of a job, ready to run.

    Attributes:
      run: does so many units (steps, splits, batches, products) and waits for the end.
      images: of a unit.
      multiply_adds: that the mathematics of a unit needs; None: not counted.
      compile_seconds: spent on compilation so far.
      memory: peak bytes of a unit, asked for after a unit has run; None: not measured.
      once_seconds: what is done once for a model, if the job has such a part.
    """

    run: Callable[[int], None]
    images: int
    multiply_adds: float | None = None
    compile_seconds: float = 0.0
    memory: Callable[[], int | None] = lambda: None
    once_seconds: float | None = None


@functools.lru_cache(maxsize=1)
def made_data(images: int = TRAINING_IMAGES, side: int = 32) -> Dataset:
    """A data set of random bytes with random labels, in CIFAR-10's shapes."""
    return few_images(images, side, test=2000)


def few_images(images: int, side: int, test: int = 1) -> Dataset:
    """The same, of any size, not kept."""
    random = np.random.default_rng(0)
    train, none, tests = (
        _made_split(random, count, side) for count in (images, 0, test)
    )
    names = tuple(f"class {label}" for label in range(CLASSES))
    return Dataset(
        "random bytes", train, none, tests, names, 255, flip=True, crop_padding=4
    )


def _made_split(random: np.random.Generator, count: int, side: int) -> Split:
    shape = (count, side, side, CHANNELS)
    images = random.integers(256, size=shape, dtype=np.uint8)
    return Split(images, random.integers(CLASSES, size=count, dtype=np.int32))


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
