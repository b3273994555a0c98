"""Files are written under a temporary name, and renamed once complete."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from .errors import UserError

_PATIENCE = 60.0  # seconds in which the process of a program that was killed saves


@contextlib.contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file under a temporary name; it is renamed at the end."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            yield file
        os.replace(temporary, path)
    except OSError as error:  # the error of a full disk has no file name
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Waits until no other program has the folder locked, then keeps it locked."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_empty(path: Path) -> bool:
    """Whether a folder has no files except temporary ones of a killed program."""
    return path.is_dir() and all(
        file.name.startswith(".") and file.name.endswith(".part")
        for file in path.iterdir()
    )


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file."""
    with written(path) as file:
        file.write(content)


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON document."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Writes one JSON object per line, as the rows come."""
    with written(path) as file:
        file.writelines((json.dumps(row) + "\n").encode() for row in rows)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes rows with the same keys as comma-separated values with a header."""
    lines = [",".join(rows[0])] if rows else []
    lines += [",".join(str(value) for value in row.values()) for row in rows]
    write_bytes(path, "".join(line + "\n" for line in lines).encode())


@contextlib.contextmanager
def alone(path: Path) -> Iterator[int]:
    """Keeps other programs from working in a folder.

    A process that outlives its program, which was killed, saves first: wait for it.

    Yields:
      A file descriptor; the lock lasts until all processes that have it close it.

    Raises:
      UserError: if another program works in the folder.
    """
    descriptor = os.open(path, os.O_RDONLY)
    deadline = time.monotonic() + _PATIENCE
    try:
        while not _locks(descriptor):
            if time.monotonic() > deadline:
                raise UserError(
                    f"another program works in {path}: wait for it to end, or stop it"
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
