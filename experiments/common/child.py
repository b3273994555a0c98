"""Runs a program of ours for another one, which may be killed.

    python -m experiments.common.child train --run=runs/NAME ...

Its standard input is a pipe that the other program holds open. When that is gone, this
one gets SIGTERM: a training run saves and stops.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def main() -> None:
    threading.Thread(target=_stop_at_the_end_of_input, daemon=True).start()
    package = (__package__ or "").rpartition(".")[0]
    program = sys.argv.pop(1)
    runpy.run_module(f"{package}.{program}", run_name="__main__", alter_sys=True)


def _stop_at_the_end_of_input() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
