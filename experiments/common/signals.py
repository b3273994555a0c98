"""Ctrl-C and SIGTERM, heeded between steps."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

HEEDED = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what schedulers send before they take a machine away."""


@contextlib.contextmanager
def deferred(*numbers: int) -> Iterator[Callable[[], int]]:
    """Turns the first of these signals into a request; a second Ctrl-C acts at once.

    An exception that a signal raises lands wherever Python happens to be: in the
    callback of a library it may be lost, in the middle of a save it leaves threads
    behind. SIGTERM may come to a process and again through the one that watches it,
    which may have held it back until now.

    Yields:
      A function that gives the number of the signal that came, 0 if none did.
    """
    asked = 0

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = asked or number
        if number == signal.SIGINT:
            signal.signal(number, before[number])

    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, ask)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def held_back(number: int) -> Iterator[None]:
    """A process that is started herein gets the signal when it defers it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
