"""Compilers for accelerators, installed for tests and kept between their runs.

They are not installed with the other packages, so that no other test imports them.
"""

import fcntl
import importlib.metadata
import platform
import subprocess
import sys

import pytest


def installed(pytestconfig, *packages, alone=False):
    """The folder of packages that this version of JAX requires, for PYTHONPATH.

    Args:
      pytestconfig: of pytest; its cache holds them.
      packages: requirements, as pip takes them.
      alone: without what they depend on.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip("compilers for accelerators are for Linux on x86-64 alone")
    name = "".join(filter(str.isalnum, "".join(packages)))
    folder = pytestconfig.cache.mkdir(name)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            _install(packages, folder / "site", alone)
            (folder / "ready").touch()
    return folder / "site"


def required(package):
    """The requirement of a package by JAX's extras, as pip takes it."""
    (wanted,) = (
        requirement.partition(";")[0].strip()
        for requirement in importlib.metadata.requires("jax") or ()
        if requirement.startswith(package)
    )
    return wanted


def _install(packages, folder, alone):
    command = [sys.executable, "-m", "pip", "install", "-q", "--upgrade"]
    command += ["--no-deps"] * alone + [f"--target={folder}", *packages]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:  # in CI such a skip is a failure
        pytest.skip("the compiler could not be installed with pip")
