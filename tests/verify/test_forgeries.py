"""The forger against the checker: no forgery is accepted that claims what is not so."""

import pytest

from helpers.campaign import campaign, honest_proofs
from helpers.forger import KINDS
from helpers.judge import judge
from helpers.small_proofs import set_radius

PARTS, PART = 25, 4_000  # of `make test-all`: 100,000 forgeries


@pytest.fixture(scope="module")
def proofs(tmp_path_factory):
    return honest_proofs(tmp_path_factory.mktemp("honest"))


@pytest.mark.parametrize("part", range(2))
def test_forgeries(proofs, tmp_path, part):
    found = campaign(proofs, range(part * 500, part * 500 + 500), tmp_path)
    assert found.total() == 500
    assert sum(n for (_, outcome), n in found.items() if outcome == "refused") > 300


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
def test_many_forgeries(proofs, tmp_path, part):
    start = 10**6 + part * PART
    found = campaign(proofs, range(start, start + PART), tmp_path)
    assert {kind for kind, _ in found} == set(KINDS)
    assert all(found[kind, "refused"] > 10 for kind in KINDS)
    assert sum(found[kind, "true"] for kind in KINDS) > 10


def test_the_judge_finds_false_claims(proofs):
    """Radii beyond the nearest point of another class, and bounds below the truth."""
    for kind, factor in (("plain", 1 + 1e-6), ("convolutions", 5), ("pooled", 1.5)):
        proof = proofs[kind].copy()
        row = proof.rows[0]
        for entry in row["classes"].values():
            entry["radius"] *= factor
        set_radius(row)
        with pytest.raises(AssertionError, match="is nearer"):
            judge(proof.files(rehash=True), proofs[kind])
    proof = proofs["plain"].copy()
    proof.rows[3]["prediction"] = proof.rows[3]["label"]
    with pytest.raises(AssertionError):
        judge(proof.files(), proofs["plain"])
    proof = proofs["convolutions"].copy()
    proof.arrays["layers.0.claims"][0] *= 0.5
    with pytest.raises(AssertionError):
        judge(proof.files(), proofs["convolutions"])
