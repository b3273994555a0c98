"""What a user can mend."""

from __future__ import annotations


class UserError(Exception):
    """A mistake of the user's: programs print its one line and exit with code 2."""


def line_of(error: BaseException) -> str | None:
    """The one line that tells a user of an error; None if it is not the user's."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return None
