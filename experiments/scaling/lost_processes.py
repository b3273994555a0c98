"""Measures how processes end if one is lost or fails, by JAX alone and by lipjax.

    python -m experiments.scaling.lost_processes                     two processes
    python -m experiments.scaling.lost_processes --num_processes=4 --ways=lipjax

Processes on this machine step together every 50 ms, until one is killed, is frozen or
fails. Prints, for each way to join them, the seconds until all have ended, the exit
codes (None: still running after --limit) and the last line on the first other screen.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from absl import flags
from jax.experimental import multihost_utils

from ..common.errors import UserError
from ..common.flags import run
from ..parallel import processes

FLAGS = flags.FLAGS
_SHORT = {
    "initialization_timeout": 20,
    "heartbeat_timeout_seconds": 15,
    "shutdown_timeout_seconds": 15,
}
_WAYS = {"defaults": {}, "short": _SHORT, "lipjax": None}
_SIGNALS = {"killed": signal.SIGKILL, "frozen": signal.SIGSTOP}
_EVENTS = (*_SIGNALS, "mistake")


def main() -> None:
    if FLAGS.member:
        _member()
        return
    for event in FLAGS.events:
        for way in FLAGS.ways:
            seconds, codes, line = _measured(way, event)
            print(f"{event}, {way}: {seconds:.1f} s, {codes}, {line}", flush=True)


def _member() -> None:
    """One of the processes."""
    settings = _WAYS[FLAGS.ways[0]]
    if settings is None:
        processes.run_joined(_steps)
        return
    jax.distributed.initialize(
        FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id, **settings
    )
    _steps()


def _steps() -> None:
    """Steps until the folder says which process is to make a mistake."""
    folder = Path(FLAGS.member)
    for step in range(10**6):
        multihost_utils.process_allgather(np.ones(8))
        if step == 10:
            (folder / f"ready{jax.process_index()}").touch()
        if (folder / "mistake").exists() and jax.process_index() == 1:
            raise UserError("a mistake")
        time.sleep(0.05)


def _measured(way: str, event: str) -> tuple[float, list[int | None], str]:
    """Seconds until all have ended, exit codes, last line of process 0."""
    numbers = range(FLAGS.num_processes or 2)
    with socket.create_server(("", 0)) as found:
        where = f"localhost:{found.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        joined = [_start(folder, way, where, i, len(numbers)) for i in numbers]
        try:
            _until(lambda: all((folder / f"ready{i}").exists() for i in numbers))
            begin = time.monotonic()
            if event in _SIGNALS:
                joined[1].send_signal(_SIGNALS[event])
            else:
                (folder / "mistake").touch()
            waited = [p for p in joined if event != "frozen" or p is not joined[1]]
            _until(lambda: all(p.poll() is not None for p in waited))
            seconds = time.monotonic() - begin
            codes = [p.poll() for p in joined]
        finally:
            for process in joined:
                process.kill()
                process.wait()
        lines = (folder / "screen0").read_text(errors="replace").strip().splitlines()
    return seconds, codes, lines[-1] if lines else ""


def _start(
    folder: Path, way: str, where: str, index: int, count: int
) -> subprocess.Popen[bytes]:
    command = (
        *(sys.executable, "-m", "experiments.scaling.lost_processes"),
        *(f"--member={folder}", f"--ways={way}", f"--coordinator={where}"),
        *(f"--num_processes={count}", f"--process_id={index}"),
    )
    cpu = os.environ | {"JAX_PLATFORMS": "cpu"}
    with (folder / f"screen{index}").open("wb") as screen:
        return subprocess.Popen(
            command, env=cpu, stdout=screen, stderr=subprocess.STDOUT
        )


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + FLAGS.limit
    while not done() and time.monotonic() < deadline:
        time.sleep(0.02)


if __name__ == "__main__":
    flags.DEFINE_multi_enum(
        "events", list(_EVENTS), _EVENTS, "what happens to process 1"
    )
    flags.DEFINE_multi_enum("ways", list(_WAYS), list(_WAYS), "how they are joined")
    flags.DEFINE_float("limit", 130, "seconds to wait", 1)
    flags.DEFINE_string("member", None, "internal: folder of the measurement")
    processes.define_flags()
    flags.adopt_module_key_flags(processes)
    run(main, __doc__ or "")
