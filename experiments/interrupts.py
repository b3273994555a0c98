"""Ctrl-C, heeded between steps."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], None]]:
    """Turns the first Ctrl-C into a request; the second one interrupts at once.

    An exception that a signal raises lands wherever Python happens to be: in the
    callback of a library it may be lost, in the middle of a save it leaves threads
    behind.

    Yields:
      A function that raises KeyboardInterrupt if there was a request.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
