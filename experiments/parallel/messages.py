"""Messages between processes: one JSON object a line, over TCP."""

from __future__ import annotations

import json
import selectors
import socket
import time
from typing import Any

Message = dict[str, Any]

# A host that is gone without a word is noticed in some 20 s.
_KEEPALIVE = {
    "TCP_KEEPIDLE": 5,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 20_000,
}


class Link:
    """A connection with lines of JSON in both directions."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._pending = b""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE.items():
            if hasattr(socket, option):
                connection.setsockopt(
                    socket.IPPROTO_TCP, getattr(socket, option), value
                )

    def send(self, message: Message) -> None:
        """Sends; a connection that is lost shows when it is read from."""
        try:
            self.socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            pass

    def receive(self, timeout: float | None = None) -> Message | None:
        """The next message; None if the connection is lost.

        Raises:
          TimeoutError: if none has come after `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while b"\n" not in self._pending:
            if deadline is not None:
                if not ready([self.socket], deadline - time.monotonic()):
                    raise TimeoutError
            try:
                more = self.socket.recv(1 << 16)
            except OSError:  # a peer that does not answer is one, too
                more = b""
            if not more:
                return None
            self._pending += more
        line, self._pending = self._pending.split(b"\n", 1)
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError):
            return None


def connect(host: str, port: int, seconds: float) -> Link | None:
    """A link to a port that may only come up later; None if it has not in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            connection = socket.create_connection((host, port), timeout=5)
            connection.settimeout(None)
            return Link(connection)
        except OSError:
            time.sleep(0.2)
    return None


def listen(port: int) -> socket.socket:
    """A socket that takes connections at a port of all the host's addresses."""
    return socket.create_server(("", port), backlog=1024)


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.create_server(("", 0)) as found:
        return found.getsockname()[1]


def ready(sockets: list[socket.socket], seconds: float) -> list[socket.socket]:
    """Those sockets that something can be read from, waiting at most so long."""
    with selectors.DefaultSelector() as selector:
        for each in sockets:
            selector.register(each, selectors.EVENT_READ)
        events = selector.select(max(0, seconds))
    return [key.fileobj for key, _ in events]  # pyright: ignore[reportReturnType]
