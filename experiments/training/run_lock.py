"""A folder in which one program works at a time, and which all of its hosts see."""

from __future__ import annotations

import fcntl
import secrets
import time
from pathlib import Path
from typing import IO

import jax

from ..common.errors import UserError
from ..parallel.processes import barrier, broadcast_from_host0, is_host0

_SEEN_WITHIN = 10.0  # seconds, by which a shared folder is the same on all hosts


def lock(path: Path) -> IO[bytes]:
    """Opens a file that no other program locks until it is closed, or this one ends.

    Raises:
      UserError: if another program has locked it. File systems without locks let
        everyone in.
    """
    file = path.open("r+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UserError(
            f"another program trains {path.parent}: wait for its end, or stop it"
        ) from None
    except OSError:
        pass  # a file system without locks
    return file


def check_shared(folder: Path) -> None:
    """Checks that all hosts see what the first writes in a folder; for all to call.

    Raises:
      UserError: on those that do not.
    """
    if jax.process_count() == 1:
        return
    mark = folder / f".{broadcast_from_host0(secrets.token_hex(8))}.part"
    if is_host0():
        mark.touch()
    barrier()
    deadline = time.monotonic() + _SEEN_WITHIN
    while not mark.exists():
        if time.monotonic() > deadline:
            raise UserError(
                f"{folder} is not a folder that all hosts see: process "
                f"{jax.process_index()} does not see what process 0 writes there; "
                "give a --run on a disk that they share"
            )
        time.sleep(0.1)
    barrier()
    if is_host0():
        mark.unlink()
