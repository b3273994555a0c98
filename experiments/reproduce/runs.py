"""A run of a table: a cell with a seed, its folder and its state."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..configs import Config
from ..training.run_folder import SETTINGS, RunFolder
from .cells import Cell
from .figures import Figures, read_figures

FINISHED, FAILED, STARTED, WAITING = "finished", "failed", "started", "not run"


@dataclasses.dataclass
class Run:
    """A cell with a seed.

    Attributes:
      cell: the cell.
      seed: the seed.
      path: folder of the run.
      state: "finished", "failed", "started" or "not run".
      reason: why it failed, one line.
      figures: what it measured, if it is finished.
      flags: flags of `experiments.train` that make it.
    """

    cell: Cell
    seed: int
    path: Path
    state: str = WAITING
    reason: str = ""
    figures: Figures | None = None
    flags: list[str] = dataclasses.field(default_factory=list)

    @property
    def name(self) -> str:
        """The cell and the seed."""
        return f"{self.cell.name}, seed {self.seed}"

    @property
    def log(self) -> Path:
        """What its processes printed."""
        return self.path.with_name(f"{self.path.name}.log")

    def fail(self, reason: str) -> None:
        """Notes why it failed."""
        self.state, self.reason = FAILED, " ".join(reason.split())

    def look(self, config: Config) -> None:
        """Notes what its folder has, if that was made with the settings of `config`."""
        if not (self.path / SETTINGS).exists():
            self.state = WAITING
            return
        try:
            folder = RunFolder.open(self.path)
            differ = _differences(folder.config, config)
            if differ:
                self.fail(f"{self.path} was made with {differ}: move it away")
                return
            self.figures = read_figures(folder, self.log)
        except (UserError, OSError) as error:
            self.fail(str(error))
            return
        self.state = FINISHED if self.figures else STARTED

    def to_json(self) -> dict[str, Any]:
        """What results.json says of it."""
        return {
            "cell": self.cell.name,
            "changes": dict(self.cell.changes),
            "seed": self.seed,
            "state": self.state,
            "reason": self.reason,
            "flags": self.flags,
            "figures": self.figures and self.figures.to_json(),
        }


def _differences(theirs: Config, ours: Config) -> str:
    """Settings of a run that are not ours, as flags; where the data are may differ."""
    fields = [f.name for f in dataclasses.fields(Config)]
    values = [(n, getattr(theirs, n), getattr(ours, n)) for n in fields]
    return " ".join(
        f"--{name}={one}"
        for name, one, other in values
        if name not in ("data", "data_dir") and one != other
    )
