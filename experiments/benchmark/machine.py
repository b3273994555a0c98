"""The machine and the versions that figures were measured with."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

_PACKAGES = ("jax", "jaxlib", "libtpu", "flax", "optax", "numpy", "torch")


def describe(module: str) -> dict[str, Any]:
    """Describes the machine, the versions, the command, the date and the commit."""
    device = jax.devices()[0]
    return {
        "cpu": _field("/proc/cpuinfo", "model name")
        or platform.processor()
        or "unknown",
        "cores": cores(),
        "memory_gib": _memory_gib(),
        "platform": device.platform,
        "accelerator": None if device.platform == "cpu" else device.device_kind,
        "devices": jax.device_count(),
        "versions": {"python": platform.python_version()} | _versions(),
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
    }


def sentence(machine: dict[str, Any]) -> str:
    """The machine and the versions as a line of text."""
    accelerator = machine["accelerator"]
    if accelerator:
        accelerator = f"{machine['devices']} x {accelerator}"
    parts = [
        f"{machine['cores']} cores of {machine['cpu']}",
        f"{machine['memory_gib']:.0f} GiB",
        accelerator or "no accelerator",
    ]
    versions = (f"{name} {version}" for name, version in machine["versions"].items())
    commit = machine["commit"] or "unknown"
    return f"{', '.join(parts)}; {', '.join(versions)}; commit {commit}."


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gib() -> float:
    size = _field("/proc/meminfo", "MemTotal")
    return round(int(size.split()[0]) / 2**20, 1) if size else 0.0


def _field(path: str, name: str) -> str | None:
    """The first value of a field in a file of Linux's /proc."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    found = (line.partition(":")[2].strip() for line in lines if line.startswith(name))
    return next(found, None)


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """The commit of this checkout, with a plus if files differ from it."""
    here = Path(__file__).parent
    head = _git(here, "rev-parse", "--short=12", "HEAD")
    return head and head + "+" * bool(_git(here, "status", "--porcelain"))


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True
        )
    except OSError:
        return None
    return result.stdout.strip() if result.returncode == 0 else None
