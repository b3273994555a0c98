"""The input of all jobs: random images in CIFAR-10's shapes, an untrained network."""

from __future__ import annotations

import functools

import jax
import numpy as np

from ..configs import Config
from ..data import Dataset, Split
from ..training.state import TrainState
from ..training.trainer import Trainer

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
    return Dataset("random bytes", train, none, tests, names, crop_padding=4)


@functools.lru_cache(maxsize=1)
def benchmark_data(images: int = TRAINING_IMAGES, side: int = 32) -> Dataset:
    """The data of a suite, which its settings share."""
    return random_data(images, side, test=2000)


def _split(random: np.random.Generator, count: int, side: int) -> Split:
    shape = (count, side, side, _CHANNELS)
    images = random.integers(256, size=shape, dtype=np.uint8)
    return Split(images, random.integers(_CLASSES, size=count, dtype=np.int32))


def initial_state(config: Config, data: Dataset) -> TrainState:
    """The untrained state of a config's network, on the host.

    It does not depend on the approximation of exp, so the variants of a setting start
    from the same weights and share the time of the initialisation.
    """
    untrained = Config(**config.network(), batch_size=jax.device_count())
    return _initial_state(untrained, data.image_shape[0])


@functools.lru_cache(maxsize=1)
def _initial_state(config: Config, side: int) -> TrainState:
    return jax.device_get(Trainer(config, random_data(config.batch_size, side)).init())
