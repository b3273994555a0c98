"""Ctrl-C and SIGTERM, heeded between steps."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

HEEDED = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what schedulers send before they take a machine away."""


@contextlib.contextmanager
def deferred_signals() -> Iterator[Callable[[], int]]:
    """Turns the first Ctrl-C or SIGTERM into a request; the second acts at once.

    An exception that a signal raises lands wherever Python happens to be: in the
    callback of a library it may be lost, in the middle of a save it leaves threads
    behind.

    Yields:
      A function that gives the number of the signal that came, 0 if none did.
    """
    asked = 0

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = number
        for each, handler in before.items():
            signal.signal(each, handler)

    before = {number: signal.signal(number, ask) for number in HEEDED}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
