"""Results of attacks: a line of JSON for each, written as soon as it has ended."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..common.errors import UserError
from ..common.files import written
from .balls import Balls, Success


class Unit(NamedTuple):
    """An attack on some images of a network: done at once, and not twice.

    Attributes:
      network: its name.
      attack: its name.
      factor: of the radii, within which the attack searches.
      round: which images: those of the n-th round.
      images: how many a round.
      seed: of all random draws.
    """

    network: str
    attack: str
    factor: float
    round: int
    images: int
    seed: int


class Results:
    """The results in a folder: lines of results.jsonl.

    A line that a killed program left incomplete is removed.

    Raises:
      UserError: if another program writes them, or a line cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "results.jsonl"
        self.file = self.path.open("a+b")
        with contextlib.ExitStack() as refused:
            refused.callback(self.file.close)
            self._lock()
            self.rows = self._read()
            refused.pop_all()
        self.done = {Unit(*(row[k] for k in Unit._fields)) for row in self.rows}

    def _lock(self) -> None:
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another program writes {self.path}") from None

    def _read(self) -> list[dict[str, Any]]:
        """The complete lines; the rest is removed from the file."""
        self.file.seek(0)
        content = self.file.read()
        complete = content.rfind(b"\n") + 1
        self.file.truncate(complete)
        try:
            rows = [json.loads(line) for line in content[:complete].splitlines()]
            if any(not set(Unit._fields) < row.keys() for row in rows):
                raise ValueError("a line is not a result")
        except (ValueError, AttributeError) as error:
            raise UserError(f"{self.path}: {error}: move it away") from error
        return rows

    @property
    def points(self) -> int:
        """The points inside certified balls, so far."""
        return sum(row["points"] for row in self.rows)

    def append(self, unit: Unit, balls: Balls, seconds: float) -> None:
        """Adds a line, which is on the disk when this returns."""
        row = unit._asdict() | {
            "attacked": len(balls.broken),
            "queries": balls.queries,
            "points": balls.points,
            "broken": int(balls.broken.sum()),
            "successes": len(balls.successes),
            "seconds": round(seconds, 3),
        }
        self.file.write((json.dumps(row) + "\n").encode())
        self.file.flush()
        os.fsync(self.file.fileno())
        self.rows.append(row)
        self.done.add(unit)

    def keep(self, unit: Unit, success: Success) -> Path:
        """Writes a point that breaks a certificate; returns the file."""
        name = f"broken-{unit.network}-image{success.image}.npz"
        with written(path := self.path.with_name(name)) as file:
            np.savez(file, **success._asdict(), **unit._asdict())
        return path


def table(rows: list[dict[str, Any]], by: Callable[[dict[str, Any]], str]) -> str:
    """Points and successes inside the radii, and shares broken beyond, by a key."""
    factors = sorted({row["factor"] for row in rows if row["factor"] > 1})
    head = "".join(f"{f'broken at {factor:g}':>15}" for factor in factors)
    lines = [f"{'':<36}{'points inside':>14}{'successes':>11}{head}"]
    for key in [*sorted({by(row) for row in rows}), "all"]:
        group = [row for row in rows if key in ("all", by(row))]
        points, successes = (sum(r[k] for r in group) for k in ("points", "successes"))
        line = f"{key:<36}{points:>14,}{successes:>11}"
        for factor in factors:
            line += f"{_share([r for r in group if r['factor'] == factor]):>15}"
        lines.append(line)
    return "\n".join(lines)


def _share(rows: list[dict[str, Any]]) -> str:
    attacked = sum(row["attacked"] for row in rows)
    return f"{sum(row['broken'] for row in rows) / attacked:.1%}" if attacked else "-"
