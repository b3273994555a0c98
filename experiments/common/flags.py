"""Runs a program: flags, help, and one line for a user's mistake."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Sequence
from logging import CRITICAL, getLogger

from absl import app, flags, logging

from .commands import as_started
from .errors import UserError, line_of

FLAGS = flags.FLAGS


def run(main: Callable[[], None], usage: str) -> None:
    """Runs a program; exits 0 after --help, 2 with one line at a user's mistake.

    Args:
      main: the program; the flags are parsed when it is called.
      usage: printed by `--help` before the flags, with the commands that the user has.
    """
    parse = functools.partial(_parse, usage=usage)
    try:
        try:
            app.run(lambda _: _guarded(main), flags_parser=parse)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read it, `head` say, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _guarded(main: Callable[[], None]) -> None:
    # JAX logs absent backends, and Orbax prints the errors that it also raises.
    logging.set_verbosity(logging.FATAL)
    getLogger("asyncio").setLevel(CRITICAL)
    try:
        main()
    except (UserError, OSError, ModuleNotFoundError) as error:
        line = line_of(error)
        if line is None:
            raise
        fail(line)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr, flush=True)
        sys.stdout.flush()
        # Not sys.exit: Orbax's threads, interrupted in a save, would print tracebacks.
        # No file is incomplete: files are renamed once complete.
        os._exit(130)


def matching(only: str | None, names: Sequence[str]) -> re.Pattern[str]:
    """The regular expression of --only, which must match one of the names.

    Raises:
      UserError: if it does not, or is none.
    """
    try:
        pattern = re.compile(only or "")
    except re.error as error:
        raise UserError(f"--only={only}: {error}") from error
    if not any(map(pattern.search, names)):
        raise UserError(f"--only={only} matches none of: {'; '.join(names)}")
    return pattern


def fail(message: str) -> None:
    """Prints one line to stderr and exits with code 2."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def _parse(argv: Sequence[str], usage: str) -> list[str]:
    module = sys.modules["__main__"]
    if any(word in ("--help", "-h", "-help", "--helpfull") for word in argv[1:]):
        print(as_started(usage.strip()), "\n\nFlags:\n")
        print(FLAGS.module_help(module))
        sys.exit(0)
    try:
        rest = FLAGS(list(argv))
    except flags.Error as error:
        fail(f"{error} (see --help)")
        raise
    if len(rest) > 1:
        fail(f"unexpected argument {rest[1]!r}: flags look like --name=value")
    return rest
