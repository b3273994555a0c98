"""Mutants of the checker that no file of the battery shows, and why they may live.

The keys are those of `helpers.mutants`. An entry of a mutant that does not exist, or
that is caught, makes `tests/verify/test_mutants.py` fail.
"""

ARITHMETIC = "of the bounds' own arithmetic: 1e-15; files are 1e-9 apart"
LARGER = "an allowance that is larger than needed"
BATCHES = "executes in batches of another size"

EXPLAINED = {
    "module: 1 + 32 * U -> 1 - 32 * U": ARITHMETIC,
    "module: 32 * U -> 33 * U": ARITHMETIC,
    "module: 2.0 ** (-480) -> 3.0 ** (-480)": LARGER,
    "module: -480 -> -481": LARGER,
    "verify: i % 128 -> i % 129": BATCHES,
    "read_arrays: size < len(content) -> size <= len(content)": (
        "equivalent: an archive has more bytes than its entries"
    ),
    "read_arrays: allow_pickle=False -> allow_pickle=True": (
        "to be caught: a pickle that does something"
    ),
}
