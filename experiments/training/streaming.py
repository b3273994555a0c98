"""Training from images that stay on the disk: each process reads its share."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ..configs import Config
from ..data import Dataset
from ..parallel.shardings import batch_sharding, local_rows, put_rows, replicated
from .state import Metrics, TrainState, abstract_metrics
from .trainer import Trainer


class StreamTrainer(Trainer):
    """As `Trainer`, for training images that are read as they are needed.

    The order of the images is another than `Trainer`'s, and as independent of the
    number of devices and processes. Batches are read ahead; crops and flips are made on
    the devices.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._place = batch_sharding(self.mesh)
        self._rows = local_rows(self._place, self.config.batch_size)
        self._stream: Any = None
        state = jax.tree.map(lambda leaf: leaf.sharding, self.like())
        self._jitted_step = jax.jit(
            self._step,
            donate_argnums=(0, 1),
            out_shardings=(state, replicated(self.mesh)),
        )

    def steps(
        self, state: TrainState, totals: Metrics, count: int
    ) -> tuple[TrainState, Metrics]:
        """Takes `count` steps, reading their images; the arguments are used up."""
        stream = self._stream_at(int(state.step))
        for _ in range(count):
            batch = next(stream)
            x, y = (put_rows(a, self._place, self.config.batch_size) for a in batch)
            state, totals = self._jitted_step(state, totals, x, y)
        return state, totals

    def program(self) -> tuple[Any, tuple[Any, ...]]:
        """The jitted function of a step, and what stands for its arguments."""
        size = self.config.batch_size
        shapes = ((size, *self.data.image_shape), np.uint8), ((size,), np.int32)
        batch = (
            jax.ShapeDtypeStruct(shape, dtype, sharding=self._place)
            for shape, dtype in shapes
        )
        return self._jitted_step, (self.like(), abstract_metrics(self.mesh), *batch)

    def close(self) -> None:
        """Stops reading ahead."""
        if self._stream is not None:
            self._stream.close()

    def _stream_at(self, step: int) -> Any:
        from ..data.stream import Stream  # Grain is loaded only where it is used

        if self._stream is None:
            self._stream = Stream(
                self.data.train,
                batch_size=self.config.batch_size,
                seed=self.config.seed,
                rows=self._rows,
                start=step,
            )
        elif self._stream.step != step:
            self._stream.seek(step)
        return self._stream


def make_trainer(config: Config, data: Dataset, *args: Any, **settings: Any) -> Trainer:
    """The trainer for the data: streaming if they are not in memory."""
    in_memory = isinstance(data.train.images, np.ndarray)
    kind = Trainer if in_memory else StreamTrainer
    return kind(config, data, *args, **settings)
