"""Forges many proofs, has the checker judge them, and judges the checker.

    PYTHONPATH=.:tests python -m helpers.campaign 100000

prints the forgeries by kind: refused, accepted and harmless (the same claims, weaker
ones, or true ones of another network), and the seconds.
"""

import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from helpers.forger import KINDS, Forgery, forge
from helpers.judge import in_one_form, judge
from helpers.small_proofs import SHAPES, Proof, check, files_of, random_proof
from lipjax import verify as checker

MINUTE, GIGABYTE = 60, 2**20  # in seconds, in KiB


def honest_proofs(folder: Path) -> dict[str, Proof]:
    proofs = {kind: random_proof(kind, folder) for kind in SHAPES}
    for proof in proofs.values():
        check(files_of(proof), folder)
    return proofs


def outcome(forgery: Forgery, honest: Proof, folder: Path, verify: Any) -> str:
    """refused, or why it is harmless that this was accepted; or fails."""
    files = files_of(honest)
    if forgery.files == files:
        return "unchanged"
    try:
        check(forgery.files, folder, verify)
    except (checker.Rejected, ValueError) as error:
        message = str(error)
        assert message.isprintable() and 0 < len(message) < 600, repr(message)
        return "refused"
    archives = not forgery.kind.startswith("archive")
    assert in_one_form(forgery.files, archives), "this is another form"
    return judge(forgery.files, honest)


def campaign(
    proofs: dict[str, Proof], seeds: Iterable[int], folder: Path,
    kind: str | None = None, verify: Any = checker.verify,
) -> Counter[tuple[str, str]]:  # fmt: skip
    """Counts (kind, outcome); fails at a false claim, a crash, a minute, a gigabyte."""
    found, before = Counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    handler = signal.signal(signal.SIGALRM, too_long)
    try:
        for seed in seeds:
            forgery = forge(proofs, np.random.default_rng(seed), kind)
            signal.alarm(MINUTE)
            try:
                result = outcome(forgery, proofs[forgery.proof], folder, verify)
            except BaseException as error:
                error.add_note(f"forgery {seed}: {forgery.kind} of {forgery.proof}")
                raise
            signal.alarm(0)
            found[forgery.kind, result] += 1
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < GIGABYTE, f"{grown} KiB more"
    return found


def too_long(*_: Any) -> None:
    raise TimeoutError("a check took a minute")


def table(found: Counter[tuple[str, str]]) -> str:
    outcomes = ["refused", "same", "weaker", "true", "unchanged"]
    lines = ["| forgery | " + " | ".join(outcomes) + " |", "|---" * 6 + "|"]
    for kind in KINDS:
        counts = [str(found[kind, outcome]) for outcome in outcomes]
        lines.append(f"| {kind} | " + " | ".join(counts) + " |")
    totals = [str(sum(found[kind, o] for kind in KINDS)) for o in outcomes]
    return "\n".join([*lines, "| all | " + " | ".join(totals) + " |"])


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        start, folder = time.process_time(), Path(name)
        found = campaign(honest_proofs(folder), range(int(sys.argv[1])), folder)
    print(table(found))
    print(f"{found.total()} forgeries in {time.process_time() - start:.0f} s")


if __name__ == "__main__":
    main()
