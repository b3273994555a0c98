"""Random images with random labels, in CIFAR-10's shapes."""

from __future__ import annotations

import functools

import numpy as np

from ..data import Dataset, Split

TRAINING_IMAGES = 50_000  # as in CIFAR-10; a step draws a permutation of them
_CHANNELS, _CLASSES = 3, 10


def random_data(images: int, side: int, test: int = 1) -> Dataset:
    """A data set of random bytes: `images` training and `test` test images.

    Example:
      >>> random_data(8, 4).train.images.shape
      (8, 4, 4, 3)
    """
    random = np.random.default_rng(0)
    train, none, tests = (_split(random, count, side) for count in (images, 0, test))
    names = tuple(f"class {label}" for label in range(_CLASSES))
    return Dataset(
        "random bytes", train, none, tests, names, 255, flip=True, crop_padding=4
    )


@functools.lru_cache(maxsize=1)
def benchmark_data(images: int = TRAINING_IMAGES, side: int = 32) -> Dataset:
    """The data of a suite, which its settings share."""
    return random_data(images, side, test=2000)


def _split(random: np.random.Generator, count: int, side: int) -> Split:
    shape = (count, side, side, _CHANNELS)
    images = random.integers(256, size=shape, dtype=np.uint8)
    return Split(images, random.integers(_CLASSES, size=count, dtype=np.int32))
