"""Runs the programs as a user does."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

ENVIRONMENT = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "0"}


def program(name, *flags, timeout=500, **env):
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", *flags],
        cwd=ROOT,
        env=ENVIRONMENT | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def refused(name, *flags):
    """Runs a program that must refuse: exit code 2, one line, no traceback."""
    result = program(name, *flags)
    assert result.returncode == 2, result.stdout + result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), result.stderr
    return lines[0]
