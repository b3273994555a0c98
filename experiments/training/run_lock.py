"""The lock of a run's folder: one program trains a run at a time."""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import jax

from ..common.errors import UserError
from ..parallel.processes import barrier, broadcast_from_host0, is_host0

_SEEN_WITHIN = 10.0  # seconds after which a shared folder looks the same on all hosts


@contextlib.contextmanager
def run_lock(folder: Path, name: str) -> Iterator[None]:
    """Keeps other programs from training the run in a folder. All hosts must call it.

    Args:
      folder: a folder that all hosts share.
      name: the file in it to lock. On file systems without locks nothing is locked.

    Raises:
      UserError: if another program trains the run, or not all hosts see the folder.
    """
    with contextlib.ExitStack() as held:
        if is_host0():
            held.enter_context(_locked(folder / name))
        check_shared(folder)
        yield


def _locked(path: Path) -> IO[bytes]:
    file = path.open("r+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UserError(
            f"another program trains {path.parent}: wait for it to end, or stop it"
        ) from None
    except OSError:
        pass  # a file system without locks
    return file


def check_shared(folder: Path) -> None:
    """Checks that all hosts see what host 0 writes in a folder. All must call it.

    Raises:
      UserError: on the hosts that do not.
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
                "pass a --run on a disk that they share"
            )
        time.sleep(0.1)
    barrier()
    if is_host0():
        mark.unlink()
