"""Hunts mutants of the checker, by exact facts and by files whose verdict is known.

    PYTHONPATH=tests:. python -m helpers.hunt 0 2

hunts the first half of them, and prints those that are not caught.
"""

import inspect
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from helpers import facts
from helpers.battery import Case, cases, right
from helpers.explained_mutants import EXPLAINED
from helpers.mutants import Mutant, module, mutants
from lipjax import verify as checker

SECONDS = 120
"""Of the processor, for all files: 2 to 6 on idle cores. What is stopped is caught."""

MUTANTS = list(mutants(inspect.getsource(checker)))


class TooLong(BaseException):
    """No `except Exception` of a mutant catches it."""


def stop(*_) -> None:
    raise TooLong


def caught(mutant: Mutant, battery: Sequence[Case], folder: Path) -> bool:
    """Whether a fact fails of the mutant, or its verdict on a file is wrong."""
    handler = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with np.errstate(all="ignore"):
            changed = module(mutant.tree, "mutant")
            if not facts.hold(changed, battery[0].files, folder):
                return True
            return not all(right(case, folder, changed.verify) for case in battery)
    except (Exception, SystemExit):  # the module itself cannot be executed
        return True
    except TooLong:
        return True
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)


def survivors(some: Sequence[Mutant], folder: Path) -> Iterator[str]:
    """Those of some mutants that are not caught."""
    battery = list(cases(folder))
    for mutant in some:
        if not caught(mutant, battery, folder):
            yield mutant.key


def main() -> None:
    part, parts = map(int, sys.argv[1:3])
    some, start = MUTANTS[part::parts], time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        for key in survivors(some, Path(folder)):
            print(f"{EXPLAINED.get(key, 'NOT EXPLAINED')}: {key}", flush=True)
    print(f"{len(some)} mutants in {time.process_time() - start:.0f} s")


if __name__ == "__main__":
    main()
