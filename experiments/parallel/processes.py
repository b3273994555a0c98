"""The processes of a run: JAX joins them, and all end together if one fails.

JAX detects the cluster, waits for all processes at the start, and aborts them if one is
lost. This module compares their settings, ends a process at once at an error, and has
the last line on every screen tell the user what to do. docs/scaling.md has measurements
of JAX alone and of this module.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import NoReturn, TypeVar

import jax
import numpy as np
from absl import flags
from jax.experimental import multihost_utils

from ..common.errors import UserError, line_of

FLAGS = flags.FLAGS
Result = TypeVar("Result")

LOST = 3
"""Exit code of a process that ends because another was lost or has failed."""

_HEARTBEAT = 15  # seconds without a heartbeat after which a process is lost
_SHUTDOWN = 60  # seconds that processes wait for each other at the end
_GRACE = 3.0  # seconds in which others can print before process 0's end aborts them
_TEXT = 8192  # bytes of a text that processes exchange
_LOST_LINE = (
    "another process was lost, or its own last line says why it failed: "
    "the same command continues the run"
)
_LOST_WORDS = re.compile("Gloo|NCCL|UNAVAILABLE|ABORTED|CANCELLED|oordination")
_callbacks: list[object] = []  # C calls them: they must not be collected


def define_flags() -> None:
    """Defines the flags that join several processes."""
    flags.DEFINE_string(
        "coordinator",
        None,
        "for several processes: HOST:PORT of process 0; auto: JAX detects it and the "
        "next two flags in Slurm and Open MPI jobs, on Cloud TPU and Kubernetes",
    )
    flags.DEFINE_integer("num_processes", None, "number of processes", 1)
    flags.DEFINE_integer("process_id", None, "number of this process, from 0", 0)
    flags.DEFINE_integer(
        "wait_seconds", 300, "how long processes wait for each other at the start", 1
    )


def run_joined(main: Callable[[], Result]) -> Result:
    """Runs a program alone, or as one of the processes that the flags describe.

    Only process 0 prints to stdout. The exit code of a process is 2, with one line,
    after a user's mistake; 1 after a traceback; and `LOST`, with a line on how to
    continue, if another process was lost or has failed.

    Raises:
      UserError: if the flags do not go together.
    """
    where = FLAGS.coordinator
    _check_flags()
    if where is None:
        return main()
    try:
        _join(None if where == "auto" else where)
        with _silent():  # the first collective makes Gloo print
            _check_settings()
        with contextlib.nullcontext() if is_host0() else _silent():
            return main()
    except Exception as error:
        _end(error)


def _check_flags() -> None:
    where, count, index = FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id
    given = [where not in (None, "auto"), count is not None, index is not None]
    if not any(given):
        return
    if not all(given):
        raise UserError(
            "pass all of --coordinator=HOST:PORT, --num_processes and --process_id, or "
            "--coordinator=auto alone"
        )
    found = re.fullmatch(r"[^:]+:(\d+)", where)
    if found is None or not 0 < int(found[1]) < 2**16:
        raise UserError(
            f"--coordinator={where}: pass HOST:PORT (a name or IPv4), or auto"
        )
    if not index < count:
        raise UserError(
            f"--process_id={index} must be less than --num_processes={count}"
        )


def _join(where: str | None) -> None:
    if where and FLAGS.process_id == 0:
        _check_port(where)
    _on_abort(f"not all processes came within {FLAGS.wait_seconds} s", 2)
    jax.config.update("jax_enable_preemption_service", False)  # `signals` handles them
    try:
        jax.distributed.initialize(
            where,
            FLAGS.num_processes,
            FLAGS.process_id,
            cluster_detection_method="deactivate" if where else None,
            initialization_timeout=FLAGS.wait_seconds,
            heartbeat_timeout_seconds=_HEARTBEAT,
            shutdown_timeout_seconds=_SHUTDOWN,
        )
    except (RuntimeError, ValueError) as error:  # no cluster is detected, for example
        line = str(error).partition("\n")[0]
        raise UserError(f"--coordinator={FLAGS.coordinator}: {line}") from error
    _on_abort(_LOST_LINE, LOST)


def _check_port(where: str) -> None:
    """JAX ends in a segmentation fault if the port is taken."""
    try:
        socket.create_server(("", int(where.rpartition(":")[2]))).close()
    except OSError as error:
        raise UserError(
            f"--coordinator={where}: cannot listen at the port: "
            f"{os.strerror(error.errno or 0)}"
        ) from error


def _check_settings() -> None:
    """Ends all processes if one was started with other settings than process 0."""
    given = FLAGS.flags_into_string().splitlines()
    versions = [f"{name}=={version(name)}" for name in ("jax", "jaxlib", "lipjax")]
    mine = [flag for flag in given if not flag.startswith("--process_id=")] + versions
    rows = multihost_utils.process_allgather(_packed("\n".join(mine)))
    settings = [set(_unpacked(row).splitlines()) for row in np.atleast_2d(rows)]
    for index, found in enumerate(settings):
        if found != settings[0]:
            here = " ".join(sorted(found - settings[0])) or "the default"
            there = " ".join(sorted(settings[0] - found)) or "the default"
            abort(
                f"process {index} was started with other settings than process 0: "
                f"{here} instead of {there}"
            )


def _end(error: Exception) -> NoReturn:
    """Prints why this process ends; its end ends the others."""
    line = line_of(error)
    if line is not None:
        abort(line)
    if lost_a_process(error):
        abort(_LOST_LINE, LOST)
    traceback.print_exception(error)
    abort(f"{type(error).__name__}, see above", 1)


def lost_a_process(error: BaseException | None) -> bool:
    """Whether an error comes from another process that was lost or has failed.

    Collectives and barriers then raise errors of several types, told by their words. A
    process that is alone has lost none, though a path in its error may hold such words.
    """
    while error is not None and jax.process_count() > 1:
        if not isinstance(error, UserError) and _LOST_WORDS.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def abort(line: str, code: int = 2) -> NoReturn:
    """Ends this process, from any thread, with a last line; this ends the others.

    Not `sys.exit`: JAX would wait for the others, and they for this process.
    """
    print(f"error: {line}", file=sys.stderr, flush=True)
    if jax.distributed.is_initialized() and is_host0():
        time.sleep(_GRACE)
    os._exit(code)


def _on_abort(line: str, code: int) -> None:
    """Sets the last line and the exit code for when JAX's client calls C's abort().

    Python's `signal` would run the handler in the main thread, too late.
    """

    def handler(_: int) -> None:
        os.write(2, f"error: {line}\n".encode())
        os._exit(code)

    callback = ctypes.CFUNCTYPE(None, ctypes.c_int)(handler)
    _callbacks.append(callback)
    ctypes.CDLL(None).signal(signal.SIGABRT, callback)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Prints nothing to stdout, the output of C++ included."""
    sys.stdout.flush()
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nothing)


def is_host0() -> bool:
    """Whether this process is host 0, which writes files and prints."""
    return jax.process_index() == 0


def agreed(of_host0: int, of_any: int) -> tuple[int, int]:
    """Host 0's first number, and the largest of all hosts' second numbers.

    All hosts must call it: numbers that decide the next step must agree on all.
    """
    if jax.process_count() == 1:
        return of_host0, of_any
    numbers = multihost_utils.process_allgather(np.array([of_host0, of_any]))
    return int(numbers[0, 0]), int(numbers[:, 1].max())


def broadcast_from_host0(text: str) -> str:
    """Host 0's text. All hosts must call it."""
    if jax.process_count() == 1:
        return text
    return _unpacked(multihost_utils.broadcast_one_to_all(_packed(text)))


def _packed(text: str) -> np.ndarray:
    return np.frombuffer(text.encode()[:_TEXT].ljust(_TEXT, b"\0"), np.uint8)


def _unpacked(array: np.ndarray) -> str:
    return np.asarray(array, np.uint8).tobytes().rstrip(b"\0").decode()


def barrier() -> None:
    """Waits for all hosts."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("lipjax")


def shutdown() -> None:
    """Waits for all hosts, then parts from them."""
    if jax.process_count() > 1:
        jax.distributed.shutdown()
