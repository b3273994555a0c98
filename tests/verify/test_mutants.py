"""Each operator, sign, boolean and number of the checker, changed once, is noticed."""

import pytest

from helpers import facts
from helpers.battery import cases
from helpers.explained_mutants import EXPLAINED
from helpers.hunt import MUTANTS, survivors
from lipjax import verify as checker

PARTS = 20


def test_the_facts_hold(tmp_path):
    assert facts.hold(checker, next(cases(tmp_path)).files, tmp_path)


def test_explained_mutants_exist():
    assert EXPLAINED.keys() <= {mutant.key for mutant in MUTANTS}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(PARTS))
def test_mutants_are_caught_or_explained(tmp_path, part):
    some = MUTANTS[part::PARTS]
    found = set(survivors(some, tmp_path))
    explained = EXPLAINED.keys() & {mutant.key for mutant in some}
    assert found == explained, "not caught, or caught though explained"
