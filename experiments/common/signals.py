"""SIGTERM and Ctrl-C, handled between steps."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def deferred(number: int) -> Iterator[Callable[[], int]]:
    """Defers a signal to the next step; a second Ctrl-C acts at once.

    A signal's exception can be raised anywhere in Python. In the callback of a library
    it may be lost; in the middle of a save it leaves threads behind.

    Yields:
      A function that returns the number of the signal once it was received, else 0.
    """
    received = 0

    def receive(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received = number
        if number == signal.SIGINT:
            signal.signal(number, before)

    before = signal.signal(number, receive)
    try:
        yield lambda: received
    finally:
        signal.signal(number, before)


@contextlib.contextmanager
def stopping(late: float) -> Iterator[tuple[Callable[[], bool], Callable[[], int]]]:
    """Defers Ctrl-C and SIGTERM for work that also has to stop at a time.

    Args:
      late: the time, of `time.monotonic`.

    Yields:
      A function that tells whether the work has to stop, and one that returns the
      number of the signal if that is why, else 0.
    """
    with deferred(signal.SIGINT) as interrupted, deferred(signal.SIGTERM) as terminated:

        def signalled() -> int:
            return interrupted() or terminated()

        yield lambda: bool(signalled()) or time.monotonic() > late, signalled
