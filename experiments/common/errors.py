"""Errors that are the user's to fix: programs print one line, without a traceback."""

from __future__ import annotations


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
    """The line for a package of the extra "experiments" that is not installed."""
    return f'{name} is not installed: pip install "lipjax[experiments]"'
