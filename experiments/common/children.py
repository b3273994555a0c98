"""Programs of ours that another one starts, each in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

CHILD = f"{__package__}.child"
"""The module that runs a program."""
_POLL = 0.2  # seconds
_LONGEST = 300  # characters of a reason


class Outcome(NamedTuple):
    """How a process ended.

    Attributes:
      code: its exit code; minus the number of a signal that killed it.
      told: whether it was told to stop.
      reason: one line, if it failed.
    """

    code: int
    told: bool
    reason: str

    @property
    def stopped(self) -> bool:
        """Whether it ended because it was told to."""
        return self.told and self.code in (0, -signal.SIGTERM)


def run_child(
    program: str,
    flags: Sequence[str],
    log: Path,
    due: Callable[[], bool],
    held: int,
) -> Outcome:
    """Runs `python -m experiments.PROGRAM FLAGS` until it ends, or is due to stop.

    It gets SIGTERM when it is due, and when this process is gone.

    Args:
      program: its name, as "train".
      flags: its flags.
      log: what it prints is appended here.
      due: whether it has to stop; asked several times a second.
      held: a file descriptor with a lock; the process keeps the lock until it ends.
    """
    command = [sys.executable, "-m", CHILD, program, *flags]
    with log.open("ab") as output:
        begin = output.tell()
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,  # Ctrl-C is ours to pass on
            pass_fds=(held,),
        ) as process:
            told = False
            while (code := _ended(process)) is None:
                if due() and not told:
                    process.terminate()
                    told = True
    printed = log.read_bytes()[begin:].decode(errors="replace")
    return Outcome(code, told, _reason(code, printed))


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(_POLL)
    except subprocess.TimeoutExpired:
        return None


def _reason(code: int, printed: str) -> str:
    if code == 0:
        return ""
    if code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + "; out of memory?" * (name == "SIGKILL")
    lines = [" ".join(line.split()) for line in printed.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    last = (errors or lines or [f"error: exit code {code}"])[-1]
    return last.removeprefix("error: ")[:_LONGEST]
