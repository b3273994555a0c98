"""Images with labels, their statistics, and the choice of a validation set."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from ..errors import UserError

SPLITS = ("train", "test")
"""What a source of data has; the validation set is held out of the first."""

_CHUNK = 1 << 22  # bytes counted at a time: bincount makes int64 copies of them


@dataclasses.dataclass(frozen=True)
class Split:
    """Images uint8 [N, H, W, C] with their labels int32 [N]."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def spread(self, count: int | None) -> Split:
        """At most `count` of the images, at even distances; None: all of them.

        Folders are read class by class, so the first images would be of one class.

        Example:
          >>> split = Split(np.zeros((7, 1, 1, 1), np.uint8), np.arange(7))
          >>> split.spread(3).labels.tolist()
          [0, 2, 4]
        """
        return _take(self, evenly(len(self), count))


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Training, validation and test images of one classification problem.

    Attributes:
      name: as asked for, e.g. "digits" or "folder:PATH".
      train: images to learn from.
      validation: images held out of the training set; may be empty.
      test: images for the final number.
      class_names: name of each label.
      levels: a pixel is images / levels, in [0, 1].
      flip: whether a mirrored training image is still of its class.
      crop_padding: pixels of zero padding for random crops; 0: no crops.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    levels: int
    flip: bool
    crop_padding: int

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

        One number, so that the normalisation of the input scales every distance
        alike. Held-out images count: the result does not depend on `validation`.
        """
        return round(sum(std for _, std in self._moments) / len(self._moments), 4)

    @functools.cached_property
    def _moments(self) -> list[tuple[float, float]]:
        counts = _histogram(self.train.images) + _histogram(self.validation.images)
        return [_mean_and_std(count, self.levels) for count in counts]


def evenly(size: int, count: int | None) -> np.ndarray:
    """At most `count` of 0 ... size - 1, at even distances, from 0; None: all."""
    count = size if count is None else min(count, size)
    return np.arange(count) * size // max(count, 1)


def _histogram(images: np.ndarray) -> np.ndarray:
    """Counts of each byte value per channel, int64 [C, 256]."""
    channels = images.shape[-1]
    counts = np.zeros((channels, 256), np.int64)
    step = max(1, _CHUNK // max(1, math.prod(images.shape[1:])))
    for start in range(0, len(images), step):
        for channel in range(channels):
            pixels = images[start : start + step, ..., channel].ravel()
            counts[channel] += np.bincount(pixels, minlength=256)
    return counts


def _mean_and_std(counts: np.ndarray, levels: int) -> tuple[float, float]:
    """Mean and standard deviation of pixels / levels; sums are exact integers."""
    total, first, second = (
        sum(value**power * int(n) for value, n in enumerate(counts))
        for power in range(3)
    )
    variance = (total * second - first**2) / total**2
    return first / total / levels, math.sqrt(variance) / levels


def hold_out(split: Split, count: int) -> tuple[Split, Split]:
    """Takes `count` images out of `split`, the same share of every class.

    The choice is fixed. A class gives its first image before any class gives its
    second share, and always keeps one.

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
    _check_count(split, count)
    order = np.random.default_rng(0).permutation(len(split))
    labels = split.labels[order]
    sizes = np.bincount(labels)[labels]
    ranks = _rank_in_class(labels)
    share = np.where(ranks < sizes - 1, ranks / sizes, np.inf)
    taken = np.zeros(len(split), bool)
    taken[order[np.argsort(share, kind="stable")[:count]]] = True
    return _take(split, ~taken), _take(split, taken)


def _check_count(split: Split, count: int) -> None:
    most = len(split) - len(np.unique(split.labels))
    if not 0 <= count <= most:
        raise UserError(
            f"cannot hold out {count} of {len(split)} training images: choose 0 to "
            f"{most}, which leaves one image of each class"
        )


def _rank_in_class(labels: np.ndarray) -> np.ndarray:
    """How many earlier entries have the same label, [N]."""
    sizes = np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    by_class = np.argsort(labels, kind="stable")
    ranks = np.empty(len(labels), np.int64)
    ranks[by_class] = np.arange(len(labels)) - starts[labels[by_class]]
    return ranks


def _take(split: Split, chosen: np.ndarray) -> Split:
    return Split(split.images[chosen], split.labels[chosen])


def unsplit(
    name: str,
    train: Split,
    test: Split,
    class_names: tuple[str, ...],
    *,
    levels: int = 255,
    flip: bool = True,
    crop_padding: int,
) -> Dataset:
    """A data set whose validation set is still empty."""
    empty = Split(train.images[:0], train.labels[:0])
    return Dataset(name, train, empty, test, class_names, levels, flip, crop_padding)
