"""The figures of a run's epochs, in metrics.jsonl and metrics.csv."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.files import write_csv, write_json_lines
from ..parallel.processes import is_host0


class MetricsLog:
    """One row of figures for each completed epoch; host 0 writes the files.

    Args:
      folder: folder of the run; its existing rows are read.

    Attributes:
      rows: a dictionary for each epoch.

    Raises:
      UserError: if metrics.jsonl is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        path = folder / "metrics.jsonl"
        self.rows: list[dict[str, Any]] = []
        if path.exists():
            try:
                self.rows = [json.loads(row) for row in path.read_text().splitlines()]
            except ValueError as error:
                raise UserError(f"{path} is damaged: {error}") from error

    def append(self, row: dict[str, Any]) -> None:
        """Adds an epoch's figures."""
        self.rows.append(row)
        if is_host0():
            write_json_lines(self._folder / "metrics.jsonl", self.rows)
            write_csv(self._folder / "metrics.csv", self.rows)

    def truncate(self, epochs: int) -> None:
        """Drops the rows of epochs that will be repeated."""
        self.rows = self.rows[:epochs]
