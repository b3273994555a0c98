"""Programs that are watched, killed and resumed, alone or as several processes."""

import contextlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np

from experiments.training.run_folder import RunFolder
from helpers.programs import ENVIRONMENT, ROOT

TINY = ("--batch_size=8", "--width=2", "--depth=2", "--validation=4")


class Program:
    """A program that runs in the background; both its streams are kept."""

    def __init__(self, name, *flags, package="experiments", **env):
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"{package}.{name}", *flags],
            cwd=ROOT,
            env=ENVIRONMENT | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def until(self, condition, seconds=120):
        """Waits for a condition, while the program runs."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, "it did not come"
            time.sleep(0.005)

    def kill(self):
        """As the kernel does when memory is short."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()
        assert self.process.returncode == -signal.SIGKILL, "it had ended before"

    def end(self, seconds=120):
        """Exit code, stdout and stderr, after it has ended by itself."""
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err


@contextlib.contextmanager
def together(count, *flags, each=lambda index: (), name="train", **settings):
    """`count` processes of one training run; killed if a test fails before they end."""
    with socket.create_server(("", 0)) as found:
        port = found.getsockname()[1]
    programs = [
        Program(
            name,
            f"--coordinator=localhost:{port}",
            f"--num_processes={count}",
            f"--process_id={index}",
            *flags,
            *each(index),
            **settings,
        )
        for index in range(count)
    ]
    try:
        yield programs
    finally:
        for program in programs:
            with program.process as process:  # whose pipes are closed
                process.kill()


def arrays(run, name="last"):
    """The numbers of a run's latest checkpoint."""
    found = RunFolder.open(run).checkpoints().restore(name)
    return [np.asarray(leaf) for leaf in jax.tree.leaves((found.state, found.metrics))]
