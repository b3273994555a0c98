"""How a user starts our programs."""

from __future__ import annotations

import sys
from pathlib import Path

_CLONE = "python -m experiments."
_CHECKER = "python lipjax/verify.py"


def command(program: str = "") -> str:
    """The words that start a program, in the way that this one was started.

    `lipjax train`; `python -m experiments.train`; in a wheel without the former,
    `python -m lipjax.experiments.train`.
    """
    if _by_console():
        return f"lipjax {program}"
    package = (__package__ or "").rpartition(".")[0]
    return f"python -m {package}.{program}"


def as_started(text: str) -> str:
    """A text with the commands of a clone, with those that this user has."""
    text = text.replace(_CLONE, command())
    return text.replace(_CHECKER, "lipjax verify") if _by_console() else text


def _by_console() -> bool:
    return any(Path(word).stem == "lipjax" for word in sys.orig_argv[1:2])
