"""The epochs of a run: steps, figures and checkpoints, until the end or a signal."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from ..common.errors import UserError
from ..data import Dataset, Split
from ..parallel.processes import agreed, is_host0
from ..reporting import tables
from .checkpoints import Checkpoint, Checkpoints
from .evaluation import Evaluator
from .metrics_log import MetricsLog
from .state import zero_metrics
from .trainer import Trainer

_SECONDS_A_CALL = 2.0


class Stopped(Exception):
    """The run stopped at a signal, with its state saved.

    Attributes:
      number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclasses.dataclass
class Loop:
    """Trains a run from a checkpoint to its last epoch.

    Saves after each epoch, every `save_steps` steps, and at a signal.

    Attributes:
      trainer: takes the steps.
      checkpoints: where checkpoints are saved.
      log: the figures of the epochs.
      signalled: returns the number of the signal received, or 0.
      save_steps: steps between checkpoints within an epoch.
    """

    trainer: Trainer
    checkpoints: Checkpoints
    log: MetricsLog
    signalled: Callable[[], int]
    save_steps: int

    def train(self, start: Checkpoint) -> Checkpoint:
        """Returns the checkpoint after the last epoch.

        Raises:
          Stopped: at a signal.
          UserError: if the loss is not finite, or a checkpoint cannot be written.
        """
        trainer, now = self.trainer, start
        epochs = trainer.config.epochs
        total, first = epochs * trainer.steps_per_epoch, int(start.state.step)
        print(tables.epoch_header(watched_split(trainer.data)[0]), flush=True)
        begin = time.perf_counter()
        with tqdm(
            total=total,
            initial=first,
            unit="step",
            disable=None if is_host0() else True,
            leave=False,
        ) as bar:
            while now.epoch < epochs:
                now, images_a_second = self._epoch(now, bar)
                now = self._finish_epoch(now, images_a_second)
                step = int(now.state.step)
                seconds_a_step = (time.perf_counter() - begin) / max(1, step - first)
                left = seconds_a_step * (total - step)
                tqdm.write(tables.epoch_line(self.log.rows[-1], epochs, left))
        _, number = agreed(0, self.signalled())
        if number:  # it came with the last steps
            self._stop(now, number)
        return now

    def _epoch(self, now: Checkpoint, bar: tqdm) -> tuple[Checkpoint, float]:
        """Trains the rest of an epoch, in calls of a second or two for the bar."""
        per_epoch = self.trainer.steps_per_epoch
        taken = int(now.state.step) - now.epoch * per_epoch
        first, started, count = int(now.metrics.images), time.perf_counter(), 1
        before, elapsed = now.seconds, 0.0
        while taken < per_epoch:
            call = time.perf_counter()
            until_save = self.save_steps - taken % self.save_steps
            wanted = min(count, until_save, per_epoch - taken)
            count, number = agreed(wanted, self.signalled())
            if number:
                self._stop(now, number)
            state, metrics = self.trainer.steps(now.state, now.metrics, count)
            _check_loss(float(metrics.loss), int(state.step))
            taken += count
            bar.update(count)
            elapsed = time.perf_counter() - started
            now = now._replace(state=state, metrics=metrics, seconds=before + elapsed)
            if taken % self.save_steps == 0 and taken < per_epoch:
                self.checkpoints.save("last", now)
            seconds = (time.perf_counter() - call) / count
            count = max(1, min(2 * count, int(_SECONDS_A_CALL / seconds)))
        images = int(now.metrics.images) - first
        return now, images / elapsed if elapsed else 0.0

    def _stop(self, now: Checkpoint, number: int) -> None:
        self.checkpoints.save("last", now)
        self.checkpoints.close()
        raise Stopped(number)

    def _finish_epoch(self, now: Checkpoint, images_a_second: float) -> Checkpoint:
        """Logs the epoch's figures and saves; returns the start of the next epoch.

        In this order: a run that is killed in between repeats the missing parts.
        """
        metrics, done, data = now.metrics, now.epoch + 1, self.trainer.data
        variables = now.state.variables
        row = tables.epoch_row(
            done,
            float(metrics.loss) / int(metrics.images),
            int(metrics.correct) / int(metrics.images),
            self._evaluator.summary(
                variables,
                watched_split(data)[1],
                self._evaluator.estimate_constants(variables),
            ),
            now.seconds,
            images_a_second,
        )
        best_before = max(map(merit, self.log.rows), default=-1.0)
        is_best, _ = agreed(merit(row) > best_before, 0)
        self.log.append(row)
        now = Checkpoint(now.state, zero_metrics(self.trainer.mesh), now.input, done)
        if len(data.validation) and is_best:
            self.checkpoints.save("best", now)
        self.checkpoints.save("last", now)
        return now

    @functools.cached_property
    def _evaluator(self) -> Evaluator:
        trainer = self.trainer
        return Evaluator(trainer.model, trainer.data.levels, mesh=trainer.mesh)


def _check_loss(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise UserError(
            f"the loss is not finite at step {step}: lower --learning_rate; "
            "the last checkpoint is older"
        )


def watched_split(data: Dataset) -> tuple[str, Split]:
    """Name and images of the split that is evaluated after each epoch."""
    if len(data.validation):
        return "validation", data.validation
    return "test", data.test


def merit(row: dict[str, Any]) -> float:
    """The mean radius, wrong images at 0: decides which checkpoint is the best."""
    return row["mean_radius_estimate"]
