"""Each operator, sign, boolean and number of the checker, changed once, is noticed."""

import pytest

from helpers.explained_mutants import EXPLAINED
from helpers.hunt import MUTANTS, survivors

PARTS = 20


def test_explained_mutants_exist():
    assert EXPLAINED.keys() <= {mutant.key for mutant in MUTANTS}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(PARTS))
def test_mutants_are_caught_or_explained(tmp_path, part):
    found = set(survivors(part, PARTS, tmp_path))
    explained = EXPLAINED.keys() & {mutant.key for mutant in MUTANTS[part::PARTS]}
    assert found == explained, "not caught, or caught though explained"
