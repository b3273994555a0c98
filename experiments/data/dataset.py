"""Images with labels, their statistics, and the choice of a validation set."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from ..common.errors import UserError

SPLITS = ("train", "test")
"""The splits of a source of data; the validation set is held out of the first."""

_CHUNK = 1 << 22  # bytes counted at a time: bincount makes int64 copies of them

PixelSums = tuple[int, int, int]
"""The number of pixels, their sum and the sum of their squares, of one channel."""


@dataclasses.dataclass(frozen=True)
class Split:
    """Images uint8 [N, H, W, C] with their labels int32 [N].

    The images are an array, or `records.RecordImages`, which are indexed like one.
    """

    images: Any
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> Split:
        """The images with these numbers, in this order."""
        return Split(self.images.take(rows, axis=0), self.labels[rows])

    def spread(self, count: int | None) -> Split:
        """At most `count` evenly spaced images; None: all of them.

        Folders are read class by class: the first images are all of one class.

        Example:
          >>> split = Split(np.zeros((7, 1, 1, 1), np.uint8), np.arange(7))
          >>> split.spread(3).labels.tolist()
          [0, 2, 4]
        """
        return self.take(evenly(len(self), count))


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Training, validation and test images of one classification problem.

    Attributes:
      name: the name passed to `load`, e.g. "digits" or "folder:PATH".
      train: training images.
      validation: images held out of the training set; may be empty.
      test: images of the final figures.
      class_names: name of each label.
      levels: a pixel is images / levels, in [0, 1].
      flip: whether a mirrored training image keeps its class.
      crop_padding: pixels of zero padding for random crops; 0: no crops.
      sums: sums of each channel over all training images, those held out included;
        None: counted when `mean` or `std` needs them.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    levels: int = 255
    flip: bool = True
    crop_padding: int = 0
    sums: tuple[PixelSums, ...] | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel over the training images, in [0, 1]; 4 digits."""
        return tuple(round(mean, 4) for mean, _ in self._moments)

    @property
    def std(self) -> float:
        """Standard deviation, averaged over the channels, in [0, 1]; 4 digits.

        One number, so that the normalisation of the input scales all distances
        alike. Held-out images count, so the result does not depend on `validation`.
        """
        return round(sum(std for _, std in self._moments) / len(self._moments), 4)

    @functools.cached_property
    def _moments(self) -> list[tuple[float, float]]:
        sums = self.sums
        if sums is None:
            parts = (self.train.images, self.validation.images)
            sums = pixel_sums(histogram(parts[0]) + histogram(parts[1]))
        return [_mean_and_std(channel, self.levels) for channel in sums]


def evenly(size: int, count: int | None) -> np.ndarray:
    """At most `count` evenly spaced numbers of 0 ... size - 1; None: all of them."""
    count = size if count is None else min(count, size)
    return np.arange(count) * size // max(count, 1)


def histogram(images: np.ndarray) -> np.ndarray:
    """Counts of each byte value per channel, int64 [C, 256]."""
    channels = images.shape[-1]
    counts = np.zeros((channels, 256), np.int64)
    step = max(1, _CHUNK // max(1, math.prod(images.shape[1:])))
    for start in range(0, len(images), step):
        for channel in range(channels):
            pixels = images[start : start + step, ..., channel].ravel()
            counts[channel] += np.bincount(pixels, minlength=256)
    return counts


def pixel_sums(counts: np.ndarray) -> tuple[PixelSums, ...]:
    """The exact sums of each channel, from its counts of byte values [C, 256].

    Example:
      >>> pixel_sums(histogram(np.array([[[[1, 3]]], [[[2, 3]]]])))
      ((2, 3, 5), (2, 6, 18))
    """

    def total(channel: np.ndarray, power: int) -> int:
        return sum(value**power * int(n) for value, n in enumerate(channel))

    return tuple((total(c, 0), total(c, 1), total(c, 2)) for c in counts)


def _mean_and_std(sums: PixelSums, levels: int) -> tuple[float, float]:
    """Mean and standard deviation of pixels / levels, rounded only at the end."""
    total, first, second = sums
    variance = (total * second - first**2) / total**2
    return first / total / levels, math.sqrt(variance) / levels


def hold_out(split: Split, count: int) -> tuple[Split, Split]:
    """Takes `count` images out of `split`, the same share of every class.

    The choice is deterministic. Every class keeps at least one image.

    Args:
      split: N images.
      count: how many to take out, 0 <= count <= N - number of classes.

    Returns:
      The rest and the images taken out, both in the order of `split`.

    Raises:
      UserError: if `count` is out of range.

    Example:
      >>> labels = np.array([0, 0, 0, 0, 1, 1], np.int32)
      >>> rest, taken = hold_out(Split(np.zeros((6, 1, 1, 1), np.uint8), labels), 3)
      >>> taken.labels.tolist(), rest.labels.tolist()
      ([0, 0, 1], [0, 0, 1])
    """
    labels = split.labels
    most = len(labels) - len(np.unique(labels))
    if not 0 <= count <= most:
        raise UserError(
            f"cannot hold out {count} of {len(labels)} training images: choose 0 to "
            f"{most}, which leaves one image of each class"
        )
    order = np.random.default_rng(0).permutation(len(labels))
    shuffled = labels[order]
    sizes = np.bincount(shuffled)[shuffled]
    ranks = _rank_in_class(shuffled)
    share = np.where(ranks < sizes - 1, ranks / sizes, np.inf)
    taken = order[np.argsort(share, kind="stable")[:count]]
    rest = np.setdiff1d(np.arange(len(labels)), taken)
    return split.take(rest), split.take(np.sort(taken))


def _rank_in_class(labels: np.ndarray) -> np.ndarray:
    """The number of earlier entries with the same label, [N]."""
    sizes = np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    by_class = np.argsort(labels, kind="stable")
    ranks = np.empty(len(labels), np.int64)
    ranks[by_class] = np.arange(len(labels)) - starts[labels[by_class]]
    return ranks
