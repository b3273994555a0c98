"""What holds of the checker's own functions, in exact arithmetic: for its mutants.

A file cannot show an allowance of 1e-15 for the arithmetic of bounds; these do.
"""

import contextlib
import io
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from helpers import theorem, unclaimed_proofs
from helpers.facts_of_layers import (
    Facts,
    U,
    near,
    of_norm_holds,
    of_plain_errors,
    of_plain_norms,
    of_products,
    of_squares,
)
from helpers.small_proofs import NAMES, Proof, check


def of_gamma(checker: Any) -> Facts:
    """At least n u / (1 - n u), and hardly more."""
    for n in (1, 7, 1000, 10**6, 10**9):
        true = n * U / (1 - n * U)
        yield true <= Fraction(checker.gamma(n)) <= true * (1 + 64 * U)


def of_lower(checker: Any) -> Facts:
    """Below, by enough for a few operations."""
    for x in (1.0, -1.0, math.pi, -(2.0**-300)):
        lowered, x = Fraction(float(checker.lower(np.array(x)))), Fraction(x)
        yield 16 * U * abs(x) <= x - lowered <= 64 * U * abs(x)


def of_norms(checker: Any) -> Facts:
    """At least the norm, also where squares underflow, and hardly more."""
    draw = np.random.default_rng(0)
    vectors = [np.ones(1), np.array([1e-170, -3e-200]), np.zeros(3)]
    vectors += [draw.normal(size=n) for n in [1, 2, 5, 40] * 5]
    for x in vectors:
        square = sum(Fraction(v) ** 2 for v in x.tolist())
        found = Fraction(float(checker.norm_of(x)))
        yield found > 0 and found**2 >= square
        yield found**2 <= square * (1 + 300 * U) + Fraction(2) ** -800


def of_positive(checker: Any) -> Facts:
    """Rounding, that of the factorisation and underflow are subtracted."""
    for n in (1, 3, 20):
        unit = np.eye(n)
        yield not checker.positive(unit, 1.0)
        yield not checker.positive(unit, 2.0)
        yield not checker.positive(0 * unit, 0.0)
        yield not checker.positive(unit, 1 - float(4 * (n + 1) * n * U))
        yield checker.positive(unit, 1 - 1e-9)


def of_gains(checker: Any) -> Facts:
    """|p| < claim, strictly: 1 + 2^-50 is enough for a constant of 1, and 1 is not."""
    above = 1 + 2.0**-50
    yield not checker.gain_holds([1.0], 1.0, 1.0)
    yield checker.gain_holds([1.0], 1.0, above)
    yield not checker.gain_holds([0.0, 1.0], 1.0, 1.0)
    yield checker.gain_holds([0.0, 1.0], 1.0, above)
    # |p|^2 = 1 - s + s^2: largest at both ends, and 1 there.
    yield not checker.gain_holds([1.0, 1.0, 1.0], 1.0, 1.0)
    yield checker.gain_holds([1.0, 1.0, 1.0], 1.0, above)
    # An inner maximum of (1 - s)^2 + s (2 - s)^2, which no vertex shows.
    grid = np.linspace(0, 1, 100001)
    peak = math.sqrt(np.max((1 - grid) ** 2 + grid * (2 - grid) ** 2))
    yield not checker.gain_holds([1.0, 2.0, 1.0, 1.0], 1.0, peak * (1 - 1e-9))
    yield checker.gain_holds([1.0, 2.0, 1.0, 1.0], 1.0, peak * (1 + 1e-9))


def made_by_theorem(arguments: tuple) -> Any:
    return (theorem.layer if len(arguments) == 4 else theorem.plain)(*arguments)


def of_features(checker: Any) -> Facts:
    """L, N and E by the theorem."""
    for side, std, layers in (
        (1, 0.5, []),
        (1, 2.0**-299, []),
        (1, 2.0**-300, []),
        (1, 1.0, [(1, 5.5, 0, 1)]),
        (1, 1.0, [(1, 5.5, 5, 1)]),
        (2, 0.5, [(2, 5.5, 5, 3), (4, 6.0, 10, 1)]),
        (2, 0.5, [(2, 2.5, 5, 3, "convolution")]),
        (2, 0.5, [(2, 5.5, 5, 3), (2, 2.5, 5, 3, "circular_convolution")]),
    ):
        parts = [made_by_theorem(arguments) for arguments in layers]
        made = unclaimed_proofs.proof((side, side, 2), parts, 2 * side**2)
        made.arrays["std"][:] = std
        model = checker.read_model(made.model())
        checker.prove_features(model)
        true = theorem.features(layers, side, std)
        yield near(model.lipschitz, true.lipschitz)
        bias = all(arguments[2] for arguments in layers)  # a bound on 0 is above 0
        yield near(model.norm[0], true.norm.offset, 1e-12 if bias else 2)
        yield near(model.norm[1], true.norm.slope)
        yield near(model.error[0], true.error.offset)
        yield near(model.error[1], true.error.slope)
        if layers:
            inside = model.norms[-2]
            yield near(inside[0], true.largest.offset, 0.002)
            yield near(inside[1], true.largest.slope, 0.002)
            yield (model.norms[-1] == model.norm).all()


def with_head(made: Proof, head: dict[str, np.ndarray]) -> Proof:
    """The proof under another head; its arrays are in the order of a record."""
    for name in ("head.kernel", "head.bias"):
        del made.arrays[name]
    made.arrays |= {f"head.{name}": value for name, value in head.items()}
    return made


def of_heads(checker: Any) -> Facts:
    """The errors of logits by the theorem."""
    kernel = np.array([[3.0, 6.0, -5.0], [4.0, 8.0, 12.0]])
    made = unclaimed_proofs.proof((1, 1, 2), [], 2)
    made.arrays |= {"head.kernel": kernel, "head.bias": np.array([0.0, 7.0, -1.0])}
    model = checker.read_model(made.model())
    checker.prove_head(model)
    for c, (column, bias) in enumerate(((5, 0), (10, 7), (13, 1))):
        true = theorem.linear_logit(column, bias, 2)
        yield near(model.slope[c], true.slope) and near(model.offset[c], true.offset)
    outer = np.array([[1.0, 0.0, -2.0], [3.0, 0.0, 1.0], [-4.0, 2.0, 1.0]])
    head = {"hidden_kernel": kernel, "hidden_bias": np.array([0.0, -2.0, 64.0])}
    head |= {"curvatures": np.zeros((3, 3)), "kernel": outer}
    head |= {"bias": np.array([0.0, 7.0, -1.0])}
    model = checker.read_model(with_head(made, head).model())
    checker.prove_head(model)
    for c, bias in enumerate((0, 7, -1)):
        weights = outer[:, c].astype(int).tolist()
        true = theorem.curved_logit(weights, bias, [5, 10, 13], [0, -2, 64], 2)
        yield near(model.slope[c], true.slope) and near(model.offset[c], true.offset)


def of_curvatures(checker: Any) -> Facts:
    """The rounding of the Gram matrix [[4]] is subtracted: m = 1."""
    made = unclaimed_proofs.proof((1, 1, 1), [], 1, classes=2)
    head = {"hidden_kernel": np.full((1, 1), 2.0), "hidden_bias": np.zeros(1)}
    head |= {"curvatures": np.ones((2, 2)), "kernel": np.array([[0.0, 1.0]])}
    made = with_head(made, head | {"bias": np.zeros(2)})
    for claim, proven in ((1.0, False), (1 + 24 * float(U), False), (1 + 1e-9, True)):
        made.arrays["head.curvatures"][0, 1] = claim
        model = checker.read_model(made.model())
        checker.prove_head(model)
        try:
            yield (checker.curvature(model, 0, 1) == claim) == proven
        except ValueError:
            yield not proven
    yield checker.curvature(model, 1, 0) == 1  # nothing is lost


@contextlib.contextmanager
def coarse(checker: Any) -> Iterator[tuple[float, float]]:
    """With u = 2^-20 and tau = 2^-22, each allowance for rounding can be seen."""
    u, tau = 2.0**-20, 2.0**-22
    names: dict[str, Any] = {"U": u, "TINY": tau, "UP": 1.0, "lower": lambda x: x}
    exact: dict[str, Any] = {"U": Fraction(u), "TAU": Fraction(tau)}
    patched = mock.patch.multiple
    with patched(checker, **names), patched(theorem, **exact):
        yield u, tau


def same(found: Any, true: Any) -> bool:
    return abs(float(found) - float(true)) <= 1e-9 * abs(float(true))


def of_room(checker: Any) -> Facts:
    """The least norm that is proven of a rotation, for a coarser arithmetic."""
    for k, side in ((1, 1), (3, 2)):
        taps = np.zeros((k, k, 2, 2))
        taps[k // 2, k // 2] = theorem.ROTATION
        layer = checker.Record(kernel=taps, size=(side, side, 2), kind=checker.SKEW)
        with coarse(checker) as (u, tau):
            kernel, factorisation = (
                float(theorem.gamma(n)) for n in (k * k + 64, 4 + 8)
            )
            least = (1 + 2 * kernel + tau) / (1 - 16 * factorisation - 9 * u)
            yield not checker.norm_holds(layer, least * (1 - 2e-7), 1.0)
            yield checker.norm_holds(layer, least * (1 + 2e-7), 1.0)


def of_plain_room(checker: Any) -> Facts:
    """The same for plain convolutions: by a real K, and by one that is not."""
    for k, side in ((1, 2), (2, 4)):  # sides of K in real form
        taps = np.zeros((1, k, 2, 2))
        taps[0, 0] = theorem.ROTATION
        layer = checker.Record(kernel=taps, size=(1, 3, 2), kind=checker.CIRCULAR)
        with coarse(checker) as (_, tau):
            error = 2 * float(theorem.gamma(k + 64))
            square, factorisation = (
                side * float(theorem.gamma(side + n)) for n in (16, 8)
            )

            def excess(norm: float) -> float:
                """Of the least eigenvalue, times norm^2, over what is subtracted."""
                room = (norm - error) ** 2 - 1  # noqa: B023
                return room * (1 - 4 * factorisation) - square - tau * norm**2  # noqa: B023

            low, high = 1.0, 2.0
            for _ in range(60):
                middle = (low + high) / 2
                low, high = (low, middle) if excess(middle) > 0 else (middle, high)
            yield not checker.norm_holds(layer, low * (1 - 2e-7), 1.0)
            yield checker.norm_holds(layer, low * (1 + 2e-7), 1.0)


def of_rounding(checker: Any) -> Facts:
    """Bounds and radii are those of the theorem, for a coarser arithmetic."""
    layers: list[tuple] = [(2, 5.5, 5, 3), (4, 6.0, 10, 1)]
    layers += [(1, 1.5, 5, 3, "circular_convolution"), (1, 1.5, 5, 3, "convolution")]
    parts = [made_by_theorem(arguments) for arguments in layers]
    made = unclaimed_proofs.proof((2, 2, 2), parts, 8)
    hidden = np.resize([0.5, -0.25, 0.75, 1.0, -0.5, 0.125, -1.0], (8, 3))
    outer = np.array([[1.0, 0.0, -2.0], [3.0, 0.0, 1.0], [-4.0, 2.0, 1.0]])
    head = {"hidden_kernel": hidden, "hidden_bias": np.array([0.0, -2.0, 4.0])}
    head |= {"curvatures": np.full((3, 3), 3.0), "kernel": outer}
    head |= {"bias": np.array([90.0, 3.0, -9.0])}
    model = checker.read_model(with_head(made, head).model())
    with (
        coarse(checker) as (u, tau),
        mock.patch.multiple(
            checker, norm_holds=lambda *_: True, curvature=lambda model, y, t: 3.0
        ),
    ):
        checker.prove_features(model)
        checker.prove_head(model)
        true = theorem.features(layers, 2, 0.5)
        yield near(model.lipschitz, true.lipschitz, 1e-6)
        yield near(model.error[0], true.error.offset, 1e-3)
        yield near(model.error[1], true.error.slope, 1e-3)
        yield same(model.norm[1], true.norm.slope)
        for c in range(3):
            norms = (
                np.sqrt(np.square(hidden).sum(0)) * (1 + 16 * u / (1 - 16 * u)) + tau
            )
            weights = [Fraction(v) for v in outer[:, c]]
            logit = theorem.curved_logit(
                weights, Fraction(head["bias"][c]), list(map(Fraction, norms)),
                [0, -2, 4], 8,
            )  # fmt: skip
            yield near(model.slope[c], logit.slope, 1e-3)
            yield near(model.offset[c], logit.offset, 1e-3)
        yield from _radii(checker, model, head, u, tau)


def _radii(checker: Any, model: Any, head: Any, u: float, tau: float) -> Facts:
    norm, error = (theorem.Affine(*map(Fraction, v)) for v in (model.norm, model.error))
    zero = theorem.fixed(0)
    network = theorem.Features(Fraction(model.lipschitz), norm, error, zero)
    hidden, outer = head["hidden_kernel"], head["kernel"]
    f = np.array([0.5, -0.5, 0.25, 1.0, -0.25, 0.0, 0.125, -1.0])
    n0, claim = 1.25, 0.01
    for eta, scale in ((0.0, 0.0), (0.03, 0.9), (0.1, 0.7)):
        z = f @ hidden + head["hidden_bias"]
        gradient = hidden @ ((outer[:, 0] - outer[:, 1]) / (1 + np.exp(-z)))
        delta = -scale * eta * gradient
        z = (f + delta) @ hidden + head["hidden_bias"]
        gradient = hidden @ ((outer[:, 0] - outer[:, 1]) / (1 + np.exp(-z)))
        logits = np.logaddexp(0, z) @ outer + head["bias"]
        entry = checker.Record(y=0, t=1, eta=eta, radius=claim)
        entry.delta = delta if eta else 0.0
        found = checker.proven_radii(f[None], np.array([n0]), [entry], model)[0]
        point = theorem.Point(n0, logits[0] - logits[1], gradient, delta, eta, claim)
        parts = SimpleNamespace(
            units=model.units, sizes=model.sizes, columns=model.columns[:2],
            kappa=float(theorem.gamma(12) + 24 * theorem.U),
            tail=float(theorem.gamma(9)), m=3.0, std=0.5,
        )  # fmt: skip
        errors = list(zip(model.slope[:2], model.offset[:2], strict=True))
        due = theorem.radius(point, network, errors, parts, u, tau)
        yield found > 0 and same(found, due)


def of_messages(checker: Any) -> Facts:
    """One printable line, whatever a file has."""
    for error, line in (
        (ValueError("\ud800 a\n \x1b[2J"), "here: \\ud800 a \\x1b[2J"),
        (KeyError("b"), "here: no such key: 'b'"),
        (OSError("c" * 400), "here: " + 300 * "c"),
    ):
        try:
            with checker.reading("here", checker.Rejected):
                raise error
        except checker.Rejected as refused:
            yield str(refused) == line


def of_programs(checker: Any, files: dict[str, bytes], folder: Path) -> Facts:
    """Exit codes for an honest proof, and what is left of its radii."""
    report = check(files, folder, checker.verify)
    yield 0 < report.margin < 1e-8
    certificates, model, data = (str(folder / name) for name in NAMES)
    command = [certificates, "--model", model, "--data", data]
    with contextlib.redirect_stdout(io.StringIO()):
        yield checker.main(command) == 0
        yield checker.main([certificates, "--model", data, "--data", data]) == 2
        (folder / "nonsense").write_text("{}\n")
        yield checker.main([str(folder / "nonsense"), *command[1:]]) == 1
    for missing in (command[:3], [certificates, *command[3:]]):
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                checker.main(missing)
            yield False
        except SystemExit as error:
            yield error.code == 2


OF_FUNCTIONS: list[Callable[[Any], Facts]] = [
    of_gamma, of_lower, of_norms, of_positive, of_norm_holds, of_plain_norms,
    of_products, of_plain_errors, of_squares, of_gains, of_features, of_heads,
    of_curvatures, of_rounding, of_room, of_plain_room, of_messages,
]  # fmt: skip


@np.errstate(all="ignore")
def hold(checker: Any, files: dict[str, bytes], folder: Path) -> bool:
    """Whether all facts hold of a module of the checker; the files are honest."""
    functions = all(all(facts(checker)) for facts in OF_FUNCTIONS)
    return functions and all(of_programs(checker, files, folder))
