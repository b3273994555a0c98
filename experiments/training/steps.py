"""Many training steps in a row: over images in memory, or read from the disk."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding

from ..configs import Config
from ..data import Dataset, Split
from ..parallel.shardings import (
    batch_sharding,
    local_rows,
    put,
    put_rows,
    replicated,
)
from .augmentation import random_key
from .state import Metrics, TrainState, abstract
from .step import TrainStep

Carry = tuple[TrainState, Metrics]


@dataclasses.dataclass
class _Steps:
    """The fields of both kinds of steps, see `make_steps`."""

    train_step: TrainStep
    config: Config
    train: Split
    mesh: Mesh
    out_shardings: Any

    def _jit(self, function: Callable[..., Carry]) -> Any:
        return jax.jit(
            function, donate_argnums=(0, 1), out_shardings=self.out_shardings
        )


class InMemorySteps(_Steps):
    """Any number of steps in one call that stays on the devices.

    The images are copied to every device once, at the first step. Each epoch has its
    own permutation of them, drawn from the seed and the epoch's number.

    Attributes:
      jitted: the jitted function of the steps.
    """

    @functools.cached_property
    def jitted(self) -> Any:
        return self._jit(self.run)

    def __call__(self, state: TrainState, metrics: Metrics, count: int) -> Carry:
        """Takes `count` steps; state and metrics are donated."""
        return self.jitted(state, metrics, *self._on_devices, np.int32(count))

    def abstract_images(self) -> tuple[Any, ...]:
        """Abstract values of the arguments of `jitted` after state and metrics."""
        arrays = (self.train.images, self.train.labels)
        return *abstract(arrays, replicated(self.mesh)), np.int32(1)

    def close(self) -> None:
        """Stops reading in the background; here nothing does."""

    @functools.cached_property
    def _on_devices(self) -> tuple[jax.Array, jax.Array]:
        arrays = (self.train.images, self.train.labels)
        return put(arrays, replicated(self.mesh))

    def run(self, state: TrainState, metrics: Metrics, images, labels, count) -> Carry:
        """`count` steps over all images [N, ...], to be compiled."""
        size, key = self.config.batch_size, random_key(self.config.seed)
        steps_per_epoch = len(labels) // size

        def permutation(step):
            of_epoch = jax.random.fold_in(key, step // steps_per_epoch)
            return jax.random.permutation(of_epoch, len(labels))

        def body(_, carry):
            state, metrics, order = carry
            position = state.step % steps_per_epoch
            order = lax.cond(position == 0, permutation, lambda _: order, state.step)
            chosen = lax.dynamic_slice(order, (position * size,), (size,))
            chosen = lax.with_sharding_constraint(chosen, batch_sharding(self.mesh))
            batch = images[chosen], labels[chosen]
            return *self.train_step(state, metrics, *batch), order

        carry = (state, metrics, permutation(state.step))
        return lax.fori_loop(0, count, body, carry)[:2]


class StreamedSteps(_Steps):
    """Steps whose batches are read from the disk ahead of time.

    The order of the images differs from `InMemorySteps`'; like it, it depends on the
    seed and the step alone. Each process reads its share of a batch.
    """

    _stream: Any = None

    @functools.cached_property
    def jitted(self) -> Any:
        return self._jit(self.train_step)

    @property
    def _sharding(self) -> NamedSharding:
        return batch_sharding(self.mesh)

    def __call__(self, state: TrainState, metrics: Metrics, count: int) -> Carry:
        stream, size = self._stream_at(int(state.step)), self.config.batch_size
        for _ in range(count):
            x, y = (put_rows(array, self._sharding, size) for array in next(stream))
            state, metrics = self.jitted(state, metrics, x, y)
        return state, metrics

    def abstract_images(self) -> tuple[Any, ...]:
        size, shape = self.config.batch_size, self.train.images.shape[1:]
        batch = functools.partial(jax.ShapeDtypeStruct, sharding=self._sharding)
        return batch((size, *shape), np.uint8), batch((size,), np.int32)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()

    def _stream_at(self, step: int) -> Any:
        from ..data.stream import Stream  # Grain is loaded only where it is used

        if self._stream is None:
            self._stream = Stream(
                self.train,
                batch_size=self.config.batch_size,
                seed=self.config.seed,
                rows=local_rows(self._sharding, self.config.batch_size),
                start=step,
            )
        elif self._stream.step != step:
            self._stream.seek(step)
        return self._stream


Steps = InMemorySteps | StreamedSteps


def make_steps(
    train_step: TrainStep, config: Config, data: Dataset, mesh: Mesh, shardings: Any
) -> Steps:
    """Makes steps over the training images, from memory or from the disk.

    Args:
      train_step: see `make_train_step`.
      config: the settings; batch size and seed are used.
      data: the data set.
      mesh: the devices.
      shardings: where the state lies, a sharding for each leaf.
    """
    in_memory = isinstance(data.train.images, np.ndarray)
    kind = InMemorySteps if in_memory else StreamedSteps
    return kind(train_step, config, data.train, mesh, (shardings, replicated(mesh)))
