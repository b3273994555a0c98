"""The folder of a table: whose it is, and that one program works on it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..common.errors import UserError

RESULTS = "results.json"
_PATIENCE = 60.0  # seconds in which the run of a program that was killed saves


def opened(out: Path, settings: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Makes or opens the folder of a table.

    Args:
      out: the folder of all tables of a size.
      settings: "table", "size", "data" and "certify_images" of the table.

    Returns:
      The folder of the table, and its results so far; {} if there are none.

    Raises:
      UserError: if the folder is of something else.
    """
    if (out / RESULTS).exists():
        raise UserError(f"--out={out} is the folder of one table: name its parent")
    path = out / settings["table"]
    path.mkdir(parents=True, exist_ok=True)
    if not (path / RESULTS).exists():
        return path, {}
    results = _read(path / RESULTS)
    for name, value in settings.items():
        if _kind(results.get(name)) != _kind(value):
            raise UserError(
                f"{path} has results with --{name}={results.get(name)}, not {value}: "
                "name another --out"
            )
    return path, results


def _read(path: Path) -> dict[str, Any]:
    try:
        results = json.loads(path.read_text())
        return {**results, "runs": list(results["runs"])}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged or not a table's: {error!r}") from error


def _kind(value: Any) -> Any:
    """A setting without a location: a folder of images may move."""
    return value.partition(":")[0] if isinstance(value, str) else value


@contextlib.contextmanager
def alone(path: Path) -> Iterator[int]:
    """Keeps other programs from working on a table.

    A run that outlives its program, which was killed, saves first: it is waited for.

    Yields:
      A file descriptor; the lock lasts until all processes that have it close it.

    Raises:
      UserError: if another program works on the table.
    """
    descriptor = os.open(path, os.O_RDONLY)
    deadline = time.monotonic() + _PATIENCE
    try:
        while not _locks(descriptor):
            if time.monotonic() > deadline:
                raise UserError(
                    f"another program works on {path}: wait for it to end, or stop it"
                )
            time.sleep(0.2)
        yield descriptor
    finally:
        os.close(descriptor)


def _locks(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True
