"""The one exception that a program turns into a line and exit code 2."""


class UserError(Exception):
    """A mistake of the user's: programs print its one line and exit with code 2."""
