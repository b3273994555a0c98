"""Training batches from the disk, read ahead by threads.

Which images a step sees depends on the seed and on the step alone: not on the number
of processes that share the batch, nor on threads, nor on where a run was interrupted.
So the state of a stream is the number of its next step.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, NamedTuple, Self

import grain
import numpy as np

from ..common.errors import UserError
from .dataset import Split


class Batch(NamedTuple):
    """Images uint8 [n, H, W, C] with their labels int32 [n]."""

    images: np.ndarray
    labels: np.ndarray


class Stream:
    """An endless iterator of this process's part of each global batch.

    Epoch e has the images in the order `epoch_order(N, seed, e)`, cut into N //
    batch_size global batches; the images that are left over wait for another epoch.

    Args:
      split: N images, in memory or `RecordImages`.
      batch_size: B, images in a global batch, 1 <= B <= N.
      seed: of the orders.
      rows: which images of the global batch to read: a slice or an array of positions
        in 0 ... B - 1; None: all of them.
      start: the first step to give.
      threads: how many batches are read at a time; 0: none ahead of time. They wait
        for a distant disk, which answers each in milliseconds, at the same time.
      ahead: how many batches may wait to be asked for, at least 1.

    Raises:
      UserError: if the batch is larger than the split; from `next`, if an image cannot
        be read.

    Example:
      >>> images = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
      >>> split = Split(images, np.arange(10, dtype=np.int32))
      >>> with Stream(split, batch_size=4, seed=0) as stream:
      ...     first, second, third = (next(stream).labels.tolist() for _ in range(3))
      ...     state = stream.state()
      >>> len({*first, *second}), state["step"]
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
        threads: int = 16,
        ahead: int = 16,
    ) -> None:
        if not 1 <= batch_size <= len(split):
            raise UserError(
                f"--batch_size={batch_size}: there are {len(split)} training images"
            )
        self.steps_per_epoch = len(split) // batch_size
        self._settings = dict(images=len(split), batch_size=batch_size, seed=seed)
        positions = np.arange(batch_size)[slice(None) if rows is None else rows]
        self._batches = _Batches(
            split, self.steps_per_epoch, positions, batch_size, seed
        )
        self._options = grain.ReadOptions(
            num_threads=threads, prefetch_buffer_size=ahead if threads else 0
        )
        self._iterator = self._begin(start)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        try:
            batch = next(self._iterator)
        except BaseException:  # Grain would go on with the batch after this one
            self.close()
            raise
        self._step += 1
        return batch

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def step(self) -> int:
        """The step whose batch `next` gives."""
        return self._step

    def state(self) -> dict[str, int]:
        """What `restore` needs to go on with the next batch; JSON can hold it."""
        return {"step": self._step, **self._settings}

    def restore(self, state: dict[str, int]) -> None:
        """Goes to the step of a `state`, of a stream in whatever number of processes.

        Raises:
          UserError: if the state is of other images, of another batch size or seed.
        """
        for name, value in self._settings.items():
            if state.get(name) != value:
                raise UserError(
                    f"the input is of {name} {value}, but the saved one was of "
                    f"{name} {state.get(name)}"
                )
        self.seek(state["step"])

    def seek(self, step: int) -> None:
        """Goes to a step, back or ahead."""
        self._iterator.close()
        self._iterator = self._begin(step)

    def close(self) -> None:
        """Stops the threads; `next` raises from now on."""
        self._iterator.close()

    def _begin(self, step: int) -> grain.DatasetIterator[Batch]:
        if step < 0:
            raise ValueError(f"step {step} is negative")
        self._step = step
        source: Any = _From(self._batches, step)
        dataset = grain.MapDataset.source(source).to_iter_dataset(self._options)
        return iter(dataset)


class _Batches(NamedTuple):
    """This process's part of every step's batch.

    Grain's part is the threads that read ahead. Its own shuffle, repeat and batch
    would make the order depend on how they are nested, and on slices for processes
    taken before or after them; a batch as one element is also read by one call per
    file, instead of one per image.
    """

    split: Split
    steps_per_epoch: int
    positions: np.ndarray
    batch_size: int
    seed: int

    def at(self, step: int) -> Batch:
        epoch, place = divmod(step, self.steps_per_epoch)
        order = epoch_order(len(self.split), self.seed, epoch)
        rows = order[place * self.batch_size + self.positions]
        return Batch(self.split.images[rows], self.split.labels[rows])


class _From:
    """The batches from a step on, as a source for Grain; as good as endless."""

    def __init__(self, batches: _Batches, first: int) -> None:
        self._batches = batches
        self._first = first

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: int) -> Batch:
        return self._batches.at(self._first + index)


@functools.lru_cache(maxsize=4)  # threads may be in two epochs at a time
def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of `count` images in an epoch, a permutation int64 [count]."""
    order = np.random.default_rng((seed % 2**64, epoch)).permutation(count)
    order.flags.writeable = False  # it is shared
    return order
