"""Errors that are the user's to fix: programs print one line, without a traceback."""

from __future__ import annotations

import importlib.util
import sys

_EXTRAS = {"foolbox": "attackers", "pyautoattack": "attackers", "torch": "torch"}
"""The extra that a package is in, if not "experiments"."""


class UserError(Exception):
    """A user's mistake: programs print its one line and exit with code 2."""


def line_of(error: BaseException) -> str | None:
    """The one line that tells a user of an error; None if it is not the user's."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ModuleNotFoundError) and (error.name or ".").isidentifier():
        return missing_package(error.name)
    return None


def missing_package(name: str | None) -> str:
    """The line for a package of an extra that is not installed."""
    extra = _EXTRAS.get(name or "", "experiments")
    return f'{name} is not installed: pip install "lipjax[{extra}]"'


def need(*packages: str) -> None:
    """Raises an error unless all are installed; a program ends in its line instead."""
    for name in packages:
        if importlib.util.find_spec(name) is None:
            line = missing_package(name)
            if sys.argv[0] == "-m":  # python -m experiments.PROGRAM: no traceback
                print(f"error: {line}", file=sys.stderr)
                sys.exit(2)
            raise ModuleNotFoundError(line, name=name)
