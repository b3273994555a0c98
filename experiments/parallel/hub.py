"""Where the processes of a run meet, and learn of each other's end."""

from __future__ import annotations

import signal
import socket
import threading
import time

from .messages import Link, Message, free_port, ready

_GRACE = 3.0  # seconds between a failure and those that it draws after it
GOOD = (0, 130)
"""Exit codes of an end that is no failure: done or stopped; interrupted, if all are."""


class Hub(threading.Thread):
    """Waits for all processes, lets them start, and stops all if one fails.

    Args:
      server: takes their connections.
      count: how many processes there are.
      seconds: how long to wait for all of them.

    Attributes:
      failure: why all were stopped; None: they were not.
    """

    def __init__(self, server: socket.socket, count: int, seconds: float) -> None:
        super().__init__(daemon=True)
        self._server, self._count, self._seconds = server, count, seconds
        self.failure: str | None = None
        self._links: dict[int, Link] = {}
        self._names: dict[int, str] = {}
        self._flags: dict[int, list[str]] = {}

    def run(self) -> None:
        """Meets, starts, watches, until all processes have ended."""
        with self._server:
            self.failure = self._meet()
        if self.failure is None:
            self._tell({"go": free_port()})
            self.failure = self._watch()
        if self.failure is not None:
            self._tell({"stop": self.failure})
        for link in self._links.values():
            link.socket.close()

    def _tell(self, message: Message) -> None:
        for link in self._links.values():
            link.send(message)

    def _meet(self) -> str | None:
        """Waits until every process has come; what is wrong, if something is."""
        deadline = time.monotonic() + self._seconds
        while set(self._links) != set(range(self._count)):
            sockets = {link.socket: i for i, link in self._links.items()}
            found = ready([self._server, *sockets], deadline - time.monotonic())
            if not found:
                missing = [str(i) for i in range(self._count) if i not in self._links]
                return (
                    f"of {self._count} processes, {_listed(missing)} did not come "
                    f"within {self._seconds:g} s"
                )
            for each in found:
                if each is self._server:
                    self._welcome(Link(self._server.accept()[0]), deadline)
                else:  # it has gone again, and may come back
                    self._links.pop(sockets[each]).socket.close()
        return self._differences(self._flags)

    def _welcome(self, link: Link, deadline: float) -> None:
        try:
            hello = link.receive(max(0.0, min(5.0, deadline - time.monotonic())))
            index, name, flags = (
                (hello or {})[key] for key in ("process", "name", "flags")
            )
        except (TimeoutError, KeyError):  # not one of ours
            return link.socket.close()
        if not isinstance(index, int) or index not in range(self._count):
            link.send({"stop": "", "alone": f"there are {self._count} processes"})
            link.socket.close()
        elif index in self._links:
            link.send({"stop": "", "alone": f"process {index} is there already"})
            link.socket.close()
        else:
            self._links[index], self._names[index] = link, str(name)
            self._flags[index] = flags

    def _differences(self, flags: dict[int, list[str]]) -> str | None:
        for index, given in sorted(flags.items()):
            if given != flags[0]:
                here = [f for f in given if f not in flags[0]] or ["fewer"]
                there = [f for f in flags[0] if f not in given] or ["fewer"]
                return (
                    f"{self._called(index)} was started with other settings than "
                    f"process 0: {' '.join(here)} instead of {' '.join(there)}"
                )
        return None

    def _watch(self) -> str | None:
        """Waits until all have ended well (None) or one has not (why)."""
        running, ends, deadline = dict(self._links), {}, None
        while running and (deadline is None or time.monotonic() < deadline):
            left = 3600 if deadline is None else deadline - time.monotonic()
            sockets = {link.socket: i for i, link in running.items()}
            for found in ready(list(sockets), left):
                index = sockets[found]
                end = running.pop(index).receive() or {"ended": None, "line": ""}
                ends[index] = end
                if end["ended"] != 0:
                    deadline = deadline or time.monotonic() + _GRACE
        bad = [(_weight(end), i) for i, end in ends.items() if end["ended"] not in GOOD]
        if bad:
            _, index = min(bad)
            return self._why(index, ends[index])
        if running:  # while one was interrupted, before it could save
            index = next(i for i, end in ends.items() if end["ended"])
            return f"{self._called(index)} was interrupted"
        return None

    def _why(self, index: int, end: Message) -> str:
        code = end["ended"]
        if code is None or code < 0:
            how = f" (signal {-code})" if code else ""
            return f"{self._called(index)} was lost{how}: go on with --resume"
        line = end["line"] or f"it ended with code {code}"
        return line if index == 0 else f"{self._called(index)}: {line}"

    def _called(self, index: int) -> str:
        return f"process {index} on {self._names[index]}"


def _weight(end: Message) -> int:
    """A failure draws others after it: the smaller, the likelier the first.

    A process that is killed makes the others fail; one that says what is wrong, or
    ends with a traceback, makes JAX abort the others.
    """
    code = end["ended"]
    if code in (2, 1):
        return 3 - code
    return 3 if code == -signal.SIGABRT else 0


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown
