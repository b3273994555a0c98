"""Trains a run, as `experiments.train`, for a program that may be killed.

    python -m experiments.reproduce.child --run=runs/NAME ...

Its standard input is a pipe that the program holds open. When the program is gone, the
run saves and stops, as at SIGTERM.
"""

from __future__ import annotations

import os
import runpy
import signal
import threading


def main() -> None:
    threading.Thread(target=_stop_at_the_end_of_input, daemon=True).start()
    package = (__package__ or "").rpartition(".")[0]
    runpy.run_module(f"{package}.train", run_name="__main__", alter_sys=True)


def _stop_at_the_end_of_input() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
