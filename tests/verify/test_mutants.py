"""Each operator, sign, boolean and number of the checker, changed once, is noticed."""

import inspect
import signal

import numpy as np
import pytest

from helpers.battery import cases, right
from helpers.explained_mutants import EXPLAINED
from helpers.mutants import module, mutants
from lipjax import verify as checker

SECONDS = 120
MUTANTS = list(mutants(inspect.getsource(checker)))


class TooLong(BaseException):
    """No `except Exception` of a mutant catches it."""


@pytest.fixture(scope="module")
def battery(tmp_path_factory):
    return list(cases(tmp_path_factory.mktemp("battery")))


def stop(*_):
    raise TooLong


def caught(mutant, battery, folder):
    """Whether a file has another verdict by the mutant than is right."""
    handler = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        with np.errstate(all="ignore"):
            verify = module(mutant.tree, "mutant").verify
            return not all(right(case, folder, verify) for case in battery)
    except Exception:  # the module itself cannot be executed
        return True
    except TooLong:
        return True
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)


def test_the_battery_is_right(battery, tmp_path):
    assert [case.name for case in battery if not right(case, tmp_path)] == []


def test_explained_mutants_exist():
    assert EXPLAINED.keys() <= {mutant.key for mutant in MUTANTS}


# The table of explained mutants is not complete for other functions.
EXAMINED = ("number", "read_json", "require")


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_mutants_are_caught_or_explained(battery, tmp_path):
    examined = [m for m in MUTANTS if m.key.partition(":")[0] in EXAMINED]
    assert len(examined) >= 10
    wrong = [
        mutant.key
        for mutant in examined
        if caught(mutant, battery, tmp_path) == (mutant.key in EXPLAINED)
    ]
    assert not wrong, "not caught, or caught though explained:\n" + "\n".join(wrong)
