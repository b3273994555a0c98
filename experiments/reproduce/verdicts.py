"""What the runs say of a claim, by an interval over seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .cells import SECONDS, Comparison
from .runs import Run
from .spread import Spread, spread


class Verdict(NamedTuple):
    """A comparison within a group of cells.

    Attributes:
      group: of the cells.
      comparison: the two cells and the claim.
      gain: of the better cell over the worse one, the same seeds paired: in points, or
        in % of the seconds.
      sign: "confirmed", "denied", "open", or that there are too few seeds.
    """

    group: str
    comparison: Comparison
    gain: Spread
    sign: str


def verdicts(
    comparisons: Sequence[Comparison], runs: Sequence[Run]
) -> Iterator[Verdict]:
    """The comparisons of which both cells have a finished run of the same seed."""
    for group in dict.fromkeys(run.cell.group for run in runs):
        found = {
            (run.cell.label, run.seed): run.figures.values
            for run in runs
            if run.figures and run.cell.group == group
        }
        seeds = sorted({seed for _, seed in found})
        for one in comparisons:
            ends = [((one.better, seed), (one.worse, seed)) for seed in seeds]
            pairs = [
                (found[better][one.figure], found[worse][one.figure])
                for better, worse in ends
                if better in found and worse in found
            ]
            if pairs:
                gain = spread([_gain(one.figure, *pair) for pair in pairs])
                yield Verdict(group, one, gain, sign(gain, one.least))


def _gain(figure: str, better: float, worse: float) -> float:
    return 100 * (1 - better / worse) if figure == SECONDS else better - worse


def sign(gain: Spread, least: float = 0.0) -> str:
    """Whether a gain of at least `least` is confirmed or denied by its interval.

    Example:
      >>> sign(Spread(2.0, 1.0, 3.0, size=3)), sign(Spread(2.0, -1.0, 5.0, size=3))
      ('confirmed', 'open')
      >>> sign(Spread(20.0, 19.0, 21.0, size=3), least=30.0)
      'denied'
      >>> sign(Spread(2.0, 2.0, 2.0, size=1))
      'open: fewer than 3 seeds'
    """
    if not gain.is_interval:
        return "open: fewer than 3 seeds"
    if gain.low > least:
        return "confirmed"
    return "denied" if gain.high < least else "open"
