"""Mutants of the checker that are not caught, and why they may live.

The keys are those of `helpers.mutants`. An entry of a mutant that does not exist, or
that is caught, makes `tests/verify/test_mutants.py` fail.
"""

SAME = "the same verdicts: another way to say it, or refused a line later"
MORE = "more zeros, pixels or frequencies than are needed"
BORDER = "the maps agree on the borders of their sectors"
BATCHES = "executes in batches of another size"
LIMIT = "a limit on sizes or effort: another one would do as well"
STRICT = "equal numbers, to the last bit: either verdict is right"
LARGER = "an allowance that is larger than the theorem asks"
NO_RADIUS = "where units are so large, their rounding leaves no radius"
TINY_FACTOR = "2^-480 times the rounding of a layer: less than 2^-480 that is added"

EXPLAINED = {
    "module: 32 * U -> 33 * U": LARGER,
    "verify: i % 128 == 0 -> i % 128 != 0": BATCHES,
    "verify: i % 128 -> i * 128": BATCHES,
    "verify: i % 128 -> i % 129": BATCHES,
    "verify: i % 128 == 0 -> i % 128 == 1": BATCHES,
    "read_arrays: size < len(content) -> size <= len(content)": SAME,
    "read_model: 2 ** 20 -> 3 ** 20": LIMIT,
    "read_model: 2 ** 20 -> 2 ** 21": LIMIT,
    "read_model: 2 ** 20 -> 2 * 20 (2)": LIMIT,
    "read_model: 2 ** 20 -> 3 ** 20 (2)": LIMIT,
    "read_model: 2 ** 20 -> 2 ** 21 (2)": LIMIT,
    "read_model: strict=True -> strict=False": SAME,
    "read_model: 0 < d < 50 -> 0 <= d < 50": SAME,
    "read_model: strict=True -> strict=False (2)": SAME,
    "read_model: strict=True -> strict=False (3)": SAME,
    "read_model: names[0] -> names[1]": SAME,
    "read_model: strict=True -> strict=False (4)": SAME,
    "features_of: -1 -> -2": SAME,
    "features_of: -1 -> -2 (3)": SAME,
    "convolution: -1 -> -2": SAME,
    "activation: a * c + b * s >= 0 -> a * c + b * s > 0": BORDER,
    (
        "activation: a * np.sin(angles[0] / 2) <= b * np.cos(angles[0] / 2) -> "
        "a * np.sin(angles[0] / 2) < b * np.cos(angles[0] / 2)"
    ): BORDER,
    "activation: phi < t1 / 2 -> phi <= t1 / 2": BORDER,
    "activation: phi < (t1 + t2) / 2 -> phi <= (t1 + t2) / 2": BORDER,
    "activation: phi < np.pi + t2 / 2 -> phi <= np.pi + t2 / 2": BORDER,
    "activation: strict=True -> strict=False": SAME,
    "head_of: np.ones(1) -> np.ones(2)": SAME,
    "head_of: z >= 0 -> z > 0": SAME,
    "lower: 32 * U -> 33 * U": LARGER,
    (
        "prove_convolution: UP * (1 + gamma(kernel.size)) * math.prod(map(math.sqrt,"
        " sums)) + TINY -> UP * (1 + gamma(kernel.size)) * math.prod(map(math.sqrt,"
        " sums)) - TINY"
    ): TINY_FACTOR,
    (
        "prove_polynomial: np.linspace(0, norm, 1000) -> np.linspace(0, norm, 1001)"
    ): LARGER,
    "plus_product: m - 1 - m // 2 -> m - 1 + m // 2": MORE,
    "plus_product: m - 1 -> m + 1": MORE,
    "plus_product: m // 2 -> m // 3 (2)": MORE,
    "plus_product: n - 1 - n // 2 -> n - 1 + n // 2": MORE,
    "plus_product: n - 1 -> n + 1": MORE,
    "plus_product: n // 2 -> n // 3 (2)": MORE,
    "plus_product: -1 -> -2": SAME,
    "plus_product: -1 -> -2 (2)": SAME,
    "plus_product: -1 -> -2 (3)": SAME,
    "plus_product: -1 -> -2 (4)": SAME,
    "read_model: inputs == width and outputs == c -> inputs == width or outputs == c": (
        SAME
    ),
    "norm_holds: h // 2 -> h * 2": MORE,
    "norm_holds: h // 2 + 1 -> h // 2 + 2": MORE,
    "norm_holds: norm * np.eye(len(s)) + t -> norm * np.eye(len(s)) - t": SAME,
    "norm_holds: -c -> +c": SAME,
    "norm_holds: left > 0 -> left >= 0": STRICT,
    "squares_hold: root.shape[0] > root.shape[1] -> root.shape[0] >= root.shape[1]": (
        SAME
    ),
    "squares_hold: root.shape[0] > root.shape[1] -> root.shape[0] <= root.shape[1]": (
        LARGER
    ),
    "squares_hold: root.shape[0] -> root.shape[1]": LARGER,
    "norm_holds: m > 1 -> m >= 1": SAME,
    "norm_holds: n > 1 -> n >= 1": SAME,
    (
        "gain_holds: Fraction(a) * (-1) ** (k // 2) -> Fraction(a) / (-1) ** (k // 2)"
    ): SAME,
    (
        "gain_holds: min(rows[0][0], rows[0][-1]) <= 0 or len(pieces) > 99 -> m"
        "in(rows[0][0], rows[0][-1]) <= 0 and len(pieces) > 99"
    ): LIMIT,
    (
        "gain_holds: min(rows[0][0], rows[0][-1]) <= 0 -> min(rows[0][0], rows["
        "0][-1]) < 0"
    ): STRICT,
    (
        "gain_holds: min(rows[0][0], rows[0][-1]) <= 0 -> min(rows[0][0], rows["
        "0][-1]) <= 1"
    ): STRICT,
    "gain_holds: len(pieces) > 99 -> len(pieces) >= 99": LIMIT,
    "gain_holds: len(pieces) > 99 -> len(pieces) > 100": LIMIT,
    "gain_holds: min(rows[0]) <= 0 -> min(rows[0]) < 0": STRICT,
    "gain_holds: min(rows[0]) <= 0 -> min(rows[0]) <= 1": STRICT,
    "gain_holds: -1 -> +1 (5)": SAME,
    "prove_head: 2 * kappa -> 3 * kappa": LARGER,
    "prove_head: 2 * hidden -> 2 / hidden": LARGER,
    "prove_head: 2 * hidden -> 3 * hidden": LARGER,
    "prove_head: 2 * hidden + 8 -> 2 * hidden + 9": LARGER,
    (
        "read_certificate: {'eta': 0.0, 'delta': '', **classes[str(t)]} -> {'et"
        "a': 1.0, 'delta': '', **classes[str(t)]}"
    ): SAME,
    "check_batch: -1 -> -2": SAME,
    "check_batch: strict=True -> strict=False": SAME,
    (
        "check_batch: 2.0 ** (-30) * np.abs(z).max() -> 2.0 ** (-30) / np.abs(z).max()"
    ): LIMIT,
    "check_batch: 2.0 ** (-30) -> 3.0 ** (-30)": LIMIT,
    "check_batch: -30 -> -31": LIMIT,
    "check_batch: strict=True -> strict=False (2)": SAME,
    "check_batch: entry.radius <= radius -> entry.radius < radius": STRICT,
    "check_batch: strict=True -> strict=False (3)": SAME,
    "proven_radii: strict=True -> strict=False": SAME,
    "proven_radii: 4 * U -> 5 * U": LARGER,
    "proven_radii: -1 -> +1": SAME,
    "proven_radii: rest > 0 -> rest >= 0": SAME,
    "proven_radii: UP * most -> UP / most": NO_RADIUS,
    (
        "proven_radii: np.max(sizes, axis=0) < HUGE -> np.max(sizes, axis=0) <= HUGE"
    ): STRICT,
}
