"""Hunts mutants of the checker: each is shown the files whose verdict is known.

    PYTHONPATH=tests:. python -m helpers.hunt 0 2

hunts the first half of them, and prints those that no file shows.
"""

import inspect
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from helpers.battery import Case, cases, right
from helpers.explained_mutants import EXPLAINED
from helpers.mutants import Mutant, module, mutants
from lipjax import verify as checker

SECONDS = 20
"""Of the processor, for all files: usually 2 are enough."""

MUTANTS = list(mutants(inspect.getsource(checker)))


class TooLong(BaseException):
    """No `except Exception` of a mutant catches it."""


def stop(*_) -> None:
    raise TooLong


def caught(mutant: Mutant, battery: Sequence[Case], folder: Path) -> bool:
    """Whether a file has another verdict by the mutant than is right."""
    handler = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with np.errstate(all="ignore"):
            verify = module(mutant.tree, "mutant").verify
            return not all(right(case, folder, verify) for case in battery)
    except Exception:  # the module itself cannot be executed
        return True
    except TooLong:
        return True
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)


def survivors(part: int, parts: int, folder: Path) -> Iterator[str]:
    """The mutants of a part that are not caught."""
    battery = list(cases(folder))
    for mutant in MUTANTS[part::parts]:
        if not caught(mutant, battery, folder):
            yield mutant.key


def main() -> None:
    part, parts = map(int, sys.argv[1:])
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        for key in survivors(part, parts, Path(folder)):
            print(f"{EXPLAINED.get(key, 'NOT EXPLAINED')}: {key}", flush=True)
    examined = len(MUTANTS[part::parts])
    print(f"{examined} mutants in {time.process_time() - start:.0f} s")


if __name__ == "__main__":
    main()
