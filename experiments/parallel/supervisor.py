"""Several processes that start together and end together, whatever befalls one.

Each process is two: one that touches no device, meets the others at process 0 and
watches, and a child that computes. If a child fails or a host is lost,
all children are ended and process 0 says why, in one line: JAX's own processes would
wait for the missing one and then abort with a stack of C++.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from importlib.metadata import version
from queue import SimpleQueue
from typing import Any, NoReturn

import jax
from absl import flags

from ..common.errors import UserError, line_of
from ..common.signals import HEEDED, held_back
from .cluster import Member, member
from .hub import GOOD, Hub
from .messages import Link, Message, connect, listen
from .processes import abort, barrier, let_others_speak

FLAGS = flags.FLAGS
_CHILD = "LIPJAX_CHILD"


def supervised(main: Callable[[], None]) -> None:
    """Runs a program alone, or as one of the processes that the flags describe."""
    if _CHILD in os.environ:
        _child(main, json.loads(os.environ[_CHILD]))
        return
    found = member()
    if found is None:
        main()
    else:
        sys.stdout.flush()
        sys.exit(_parent(found))


def _child(main: Callable[[], None], place: dict[str, Any]) -> None:
    """Joins the others and runs the program."""
    _end_with(place["alive"])
    jax.config.update("jax_enable_preemption_service", False)  # signals are heeded here
    try:
        jax.distributed.initialize(
            place["coordinator"],
            place["count"],
            place["index"],
            local_device_ids=place["local_devices"],
            cluster_detection_method="deactivate",
        )
        with _to_stderr():  # where what Gloo tells is left out
            barrier()
        main()
    except Exception as error:
        # Not sys.exit: JAX would wait for the others.
        _end(error)


@contextlib.contextmanager
def _to_stderr() -> Iterator[None]:
    """Sends to stderr what anything, C++ included, writes to stdout."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _end(error: Exception) -> NoReturn:
    line = line_of(error)
    if line is not None:
        abort(line)
    let_others_speak()
    traceback.print_exception(error)
    sys.stderr.flush()
    os._exit(1)


def _end_with(alive: int) -> None:
    """Ends this process when the other end of a pipe is gone."""

    def wait() -> None:
        os.read(alive, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _parent(me: Member) -> int:
    """Meets the others, lets the child run, and gives the exit code."""
    if me.index:
        return _meet(me)
    try:
        hub = Hub(listen(me.port), me.count, FLAGS.wait_seconds)
    except OSError as error:
        raise UserError(
            f"--coordinator: cannot listen at port {me.port}: {error.strerror}"
        ) from error
    hub.start()
    code = _meet(me)
    hub.join()  # until the others know
    if code in GOOD and hub.failure:
        return _stopped(me, {"stop": hub.failure})
    return code


def _meet(me: Member) -> int:
    address = "localhost" if me.index == 0 else me.host
    link = connect(address, me.port, FLAGS.wait_seconds)
    if link is None:
        raise UserError(
            f"no process 0 at {me.host}:{me.port} within {FLAGS.wait_seconds} s"
        )
    link.send({"process": me.index, "name": socket.gethostname(), "flags": _settings()})
    answer = link.receive() or {"stop": "", "alone": "process 0 was lost"}
    if "stop" in answer:
        return _stopped(me, answer)
    return _supervise(me, link, f"{me.host}:{answer['go']}")


def _settings() -> list[str]:
    """What must be the same replicated."""
    given = FLAGS.flags_into_string().splitlines()
    versions = [f"{name}=={version(name)}" for name in ("jax", "lipjax")]
    return sorted(f for f in given if not f.startswith("--process_id=")) + versions


def _stopped(me: Member, message: Message) -> int:
    """Says why it ends, on one of the processes, and gives the exit code."""
    line = message.get("alone") or (message["stop"] if me.index == 0 else "")
    if line:
        print(f"error: {line}", file=sys.stderr, flush=True)
    return 2


def _supervise(me: Member, link: Link, coordinator: str) -> int:
    child = _start(me, coordinator)
    errors = _Errors(shown=me.index == 0)
    events: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    _in_background(lambda: events.put(("child", errors.until_the_end_of(child))))
    _in_background(lambda: events.put(("told", link.receive())))
    for number in HEEDED:
        signal.signal(number, lambda number, _: child.send_signal(number))
    kind, found = events.get()
    if kind == "child":
        link.send(found)
        if found["ended"] in GOOD:
            return found["ended"]
        while kind == "child":
            kind, found = events.get()
    child.kill()
    child.wait()
    return _stopped(me, found or {"stop": "", "alone": "process 0 was lost"})


def _start(me: Member, coordinator: str) -> subprocess.Popen[bytes]:
    alive, _ = os.pipe()  # whose other end is closed when this process ends
    place = dataclasses.asdict(me) | {"coordinator": coordinator, "alive": alive}
    with held_back(signal.SIGTERM):  # or it would die of it before it can save
        child = subprocess.Popen(
            sys.orig_argv,
            env=os.environ | {_CHILD: json.dumps(place)},
            stdout=None if me.index == 0 else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[alive],
            start_new_session=True,  # signals come from here, once
        )
    os.close(alive)
    return child


class _Errors:
    """What a child prints to stderr: its last word is for process 0 to say.

    Args:
      shown: whether other lines are printed as they come; else they are only if the
        child ends with a traceback. So are those after an error that C++ logs.
    """

    def __init__(self, shown: bool) -> None:
        self._shown = shown
        self._held: deque[bytes] = deque(maxlen=1000)

    def until_the_end_of(self, child: subprocess.Popen[bytes]) -> Message:
        """Reads until the child has ended; its exit code and its last word."""
        stream: Any = child.stderr
        last = ""
        for line in iter(stream.readline, b""):
            if line.startswith(b"error: "):
                last = line.decode(errors="replace").removeprefix("error: ").strip()
            elif not line.startswith(b"[Gloo]"):
                self._take(line)
        code = child.wait()
        if code == 1:
            sys.stderr.buffer.writelines(self._held)
            sys.stderr.flush()
        return {"ended": code, "line": last}

    def _take(self, line: bytes) -> None:
        if self._held or not self._shown or re.match(rb"[EF]\d{4} [\d:.]+ ", line):
            self._held.append(line)
            return
        sys.stderr.buffer.write(line)
        sys.stderr.flush()


def _in_background(job: Callable[[], None]) -> None:
    threading.Thread(target=job, daemon=True).start()
