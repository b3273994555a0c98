"""The runs of a table in turn, until the end, a signal or a time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..common import children
from ..common.errors import UserError
from ..configs import Config
from ..reporting.tables import duration
from . import train_flags
from .cells import Table
from .runs import FAILED, FINISHED, Run


@dataclasses.dataclass(frozen=True)
class Work:
    """What the runs of a table have in common.

    Attributes:
      base: the settings that the cells change.
      preset: the preset of `experiments.train` that these come from.
      images: test images to certify; None: all.
      due: whether the work has to stop; asked several times a second.
      held: a file descriptor with the table's lock.
      after: called after each run.
    """

    base: Config
    preset: str
    images: int | None
    due: Callable[[], bool]
    held: int
    after: Callable[[], Any]

    def config(self, run: Run) -> Config:
        """The settings of a run.

        Raises:
          UserError: if they do not fit one another.
        """
        return dataclasses.replace(self.base, **{"seed": run.seed, **run.cell.changes})

    def look(self, runs: Sequence[Run], earlier: Sequence[dict[str, Any]]) -> None:
        """Notes what the folders have, and which runs failed in an earlier command."""
        reasons = {
            (run["cell"], run["seed"]): run["reason"]
            for run in earlier
            if run["state"] == FAILED
        }
        for run in runs:
            try:
                self._prepare(run, runs)
                run.look(self.config(run))
            except UserError as error:
                run.fail(str(error))
            reason = reasons.get((run.cell.name, run.seed))
            if reason and run.state != FINISHED:
                run.fail(reason)

    def _prepare(self, run: Run, runs: Sequence[Run]) -> None:
        start = _start(run, runs)
        run.flags = train_flags.arguments(
            self.config(run), self.preset, run.path, start and start.path
        )
        if self.images is not None:
            run.flags.append(f"--certify_images={self.images}")

    def do(self, chosen: Sequence[Run], runs: Sequence[Run]) -> None:
        """Makes the chosen runs that are not finished; those that failed come last."""
        todo = [run for run in chosen if run.state != FINISHED]
        todo.sort(key=lambda run: run.state == FAILED)
        taken: list[float] = []
        for n, run in enumerate(todo):
            if self.due():
                return
            begin = time.monotonic()
            print(f"[{n + 1}/{len(todo)}] {run.name}: {run.log}", flush=True)
            self._make(run, runs)
            taken.append(time.monotonic() - begin)
            left = sum(taken) / len(taken) * (len(todo) - n - 1)
            print(f"    {_told(run)}; about {duration(left)} left", flush=True)
            self.after()

    def _make(self, run: Run, runs: Sequence[Run]) -> None:
        try:
            config = self.config(run)
            start = _start(run, runs)
        except UserError as error:
            run.fail(str(error))
            return
        if start and start.state != FINISHED:
            run.fail(f"it starts from {start.name}, which is {start.state}")
            return
        end = children.run_child("train", run.flags, run.log, self.due, self.held)
        run.reason = ""
        run.look(config)
        if end.code and not end.stopped and run.state != FINISHED:
            run.fail(end.reason)


def _start(run: Run, runs: Sequence[Run]) -> Run | None:
    """The run from whose network a run starts."""
    wanted = (run.cell.group, run.cell.start, run.seed)
    found = [r for r in runs if (r.cell.group, r.cell.label, r.seed) == wanted]
    if run.cell.start and not found:
        raise UserError(f"it starts from {run.cell.start}, which has no such seed")
    return found[0] if found else None


def _told(run: Run) -> str:
    """A finished run's figures, a failed one's reason, or its state; one line."""
    if run.figures and run.state == FINISHED:
        values = run.figures.values
        names = ("clean", "36/255", "72/255", "108/255")
        return ", ".join(f"{name} {values[name]:.2f}" for name in names)
    return f"{run.state}: {run.reason}" if run.reason else run.state


def plan(table: Table, folder: Path, seeds: int | None) -> list[Run]:
    """The runs of a table: all cells with one seed, then with the next.

    Args:
      table: the table.
      folder: its folder.
      seeds: seeds of each cell; None: as many as the cells say.
    """
    wanted = [(cell, seeds or cell.seeds) for cell in table.cells]
    most = max(count for _, count in wanted)
    return [
        Run(cell, seed, folder / cell.folder(seed))
        for seed in range(most)
        for cell, count in wanted
        if seed < count
    ]
