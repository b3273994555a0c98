"""Training batches from the disk, read ahead by threads.

The images of a step depend on the seed and the step alone: not on the number of
processes that share the batch, on threads, or on where a run was interrupted. The
state of a stream is therefore the number of its next step.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from typing import Any, NamedTuple, Self

import grain
import numpy as np

from ..common.errors import UserError
from .dataset import Split

_THREADS = 16
"""Batches that are read at a time: a distant disk takes milliseconds to answer."""
_AHEAD = 16
"""Batches that are kept ready."""


class Batch(NamedTuple):
    """Images uint8 [n, H, W, C] with their labels int32 [n]."""

    images: np.ndarray
    labels: np.ndarray


class Stream:
    """An endless iterator over this process's part of each global batch.

    Epoch e has the images in the order `epoch_order(N, seed, e)`, cut into N //
    batch_size global batches. The images left over are not used in that epoch.
    Flags need not be parsed: a stream works in a notebook.

    Args:
      split: N images, in memory or `RecordImages`.
      batch_size: B, images in a global batch, 1 <= B <= N.
      seed: of the orders.
      rows: the part to read, a slice or an array of positions in 0 ... B - 1; None:
        all of the batch.
      start: the first step, at least 0.

    Attributes:
      step: the step whose batch `next` returns.

    Raises:
      UserError: if the batch is larger than the split; from `next`, if an image cannot
        be read.

    Example:
      >>> images = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
      >>> split = Split(images, np.arange(10, dtype=np.int32))
      >>> with Stream(split, batch_size=4, seed=0) as stream:
      ...     first, second, third = (next(stream).labels.tolist() for _ in range(3))
      >>> len({*first, *second}), stream.step
      (8, 3)
      >>> with Stream(split, batch_size=4, seed=0, rows=slice(2, 4), start=2) as half:
      ...     next(half).labels.tolist() == third[2:]
      True
    """

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        seed: int,
        rows: slice | np.ndarray | None = None,
        start: int = 0,
    ) -> None:
        if not 1 <= batch_size <= len(split):
            raise UserError(
                f"--batch_size={batch_size}: there are {len(split)} training images"
            )
        positions = np.arange(batch_size)[slice(None) if rows is None else rows]
        self._batches = _Batches(split, batch_size, positions, seed)
        self._begin(start)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        try:
            batch = next(self._iterator)
        except BaseException:  # Grain would continue with the batch after this one
            self.close()
            raise
        self.step += 1
        return batch

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def seek(self, step: int) -> None:
        """Goes to a step, back or ahead."""
        self.close()
        self._begin(step)

    def close(self) -> None:
        """Stops the threads; `next` raises from now on."""
        self._iterator.close()

    def _begin(self, step: int) -> None:
        if step < 0:
            raise ValueError(f"step {step} is negative")
        self.step = step
        source: Any = dataclasses.replace(self._batches, first=step)
        options = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=_AHEAD)
        self._iterator = iter(grain.MapDataset.source(source).to_iter_dataset(options))


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class _Batches:
    """This process's part of every batch from step `first` on, as a source for Grain.

    Grain only reads ahead here. Its shuffle, repeat and batch would make the order
    depend on how they are nested, and on whether the processes' parts are taken before
    or after them. A batch as one element is also read by one call per file, instead of
    one per image.
    """

    split: Split
    batch_size: int
    positions: np.ndarray
    seed: int
    first: int = 0

    def __len__(self) -> int:
        return sys.maxsize  # in effect endless

    def __getitem__(self, index: int) -> Batch:
        epoch, place = divmod(self.first + index, len(self.split) // self.batch_size)
        order = epoch_order(len(self.split), self.seed, epoch)
        rows = order[place * self.batch_size + self.positions]
        return Batch(self.split.images[rows], self.split.labels[rows])


@functools.lru_cache(maxsize=4)  # threads may be in two epochs at a time
def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of `count` images in an epoch, a permutation int64 [count]."""
    order = np.random.default_rng((seed % 2**64, epoch)).permutation(count)
    order.flags.writeable = False  # it is shared
    return order
