"""The epochs of a run: steps, figures and checkpoints, to the end or to a signal."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from ..common.errors import UserError
from ..data import Dataset, Split
from ..parallel.processes import agreed, is_host0
from ..reporting import tables
from .evaluation import Evaluator
from .run_folder import Checkpoint, Run
from .trainer import Trainer

_SECONDS_A_CALL = 2.0


class Stopped(Exception):
    """The run stopped at a signal, its state saved.

    Attributes:
      number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Loop:
    """Trains a run from a checkpoint to its last epoch.

    Saves after each epoch, every `save_steps` steps, and when a signal came.

    Args:
      run: where figures and checkpoints go.
      trainer: takes the steps.
      signalled: gives the number of a signal to heed, 0 if there is none.
      save_steps: steps between checkpoints within an epoch.
    """

    def __init__(
        self,
        run: Run,
        trainer: Trainer,
        signalled: Callable[[], int],
        save_steps: int,
    ) -> None:
        self.run, self.trainer = run, trainer
        self._signalled = signalled
        self._save_steps = save_steps
        self._split, self._watched = watched(trainer.data)
        self._evaluator = Evaluator(
            trainer.model, trainer.data.levels, mesh=trainer.mesh
        )

    def train(self, start: Checkpoint) -> Checkpoint:
        """The checkpoint after the last epoch.

        Raises:
          Stopped: at a signal.
          UserError: if the loss is not finite, or a checkpoint cannot be written.
        """
        trainer, now = self.trainer, start
        total = trainer.config.epochs * trainer.steps_per_epoch
        print(tables.epoch_header(self._split), flush=True)
        begin, first = time.perf_counter(), int(start.state.step)
        with tqdm(
            total=total,
            initial=first,
            unit="step",
            disable=None if is_host0() else True,
            leave=False,
        ) as bar:
            while now.epoch < trainer.config.epochs:
                now, images_a_second = self._epoch(now, bar)
                now = self._finished(now, images_a_second)
                step = int(now.state.step)
                a_step = (time.perf_counter() - begin) / max(1, step - first)
                left = a_step * (total - step)
                line = tables.epoch_line(self.run.rows[-1], trainer.config.epochs, left)
                tqdm.write(line)
        _, number = agreed(0, self._signalled())
        if number:  # it came with the last steps
            self._stop(now, number)
        return now

    def _epoch(self, now: Checkpoint, bar: tqdm) -> tuple[Checkpoint, float]:
        """The rest of an epoch, in calls of a second or two so that the bar moves."""
        per_epoch = self.trainer.steps_per_epoch
        taken = int(now.state.step) - now.epoch * per_epoch
        first, started, count = int(now.totals.images), time.perf_counter(), 1
        before, elapsed = now.seconds, 0.0
        while taken < per_epoch:
            call = time.perf_counter()
            due = self._save_steps - taken % self._save_steps
            wanted = min(count, due, per_epoch - taken)
            count, number = agreed(wanted, self._signalled())
            if number:
                self._stop(now, number)
            state, totals = self.trainer.steps(now.state, now.totals, count)
            self._check_loss(float(totals.loss), int(state.step))
            taken += count
            bar.update(count)
            elapsed = time.perf_counter() - started
            now = now._replace(state=state, totals=totals, seconds=before + elapsed)
            if taken % self._save_steps == 0 and taken < per_epoch:
                self.run.save("last", now)
            seconds = (time.perf_counter() - call) / count
            count = max(1, min(2 * count, int(_SECONDS_A_CALL / seconds)))
        images = int(now.totals.images) - first
        return now, images / elapsed if elapsed else 0.0

    def _stop(self, now: Checkpoint, number: int) -> None:
        self.run.save("last", now)
        self.run.close()
        raise Stopped(number)

    def _check_loss(self, loss: float, step: int) -> None:
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is not finite at step {step}: lower --learning_rate; "
                "the last checkpoint is from before"
            )

    def _finished(self, now: Checkpoint, images_a_second: float) -> Checkpoint:
        """Adds the epoch's figures and saves; the next epoch's start.

        In this order, a run that is killed in between repeats what is missing.
        """
        totals, done = now.totals, now.epoch + 1
        variables = now.state.variables
        constants = self._evaluator.estimate_constants(variables)
        row = tables.epoch_row(
            done,
            float(totals.loss) / int(totals.images),
            int(totals.correct) / int(totals.images),
            self._evaluator.summary(variables, self._watched, constants),
            now.seconds,
            images_a_second,
        )
        before = max(map(merit, self.run.rows), default=-1.0)
        best, _ = agreed(merit(row) > before, 0)
        self.run.add(row)
        zero = self.trainer.zero_metrics()
        now = Checkpoint(now.state, zero, now.input, done)
        if len(self.trainer.data.validation) and best:
            self.run.save("best", now)
        self.run.save("last", now)
        return now


def watched(data: Dataset) -> tuple[str, Split]:
    """Name and images of the split to evaluate after each epoch."""
    if len(data.validation):
        return "validation", data.validation
    return "test", data.test


def merit(row: dict[str, Any]) -> float:
    """What the best checkpoint is best at: the mean radius, wrong images at 0."""
    return row["mean_radius_estimate"]
