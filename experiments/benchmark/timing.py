"""Implementations timed in turn, so that a machine's moods meet all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

Clock = Callable[[], float]


class Rounds(NamedTuple):
    """How long to measure.

    Attributes:
      seconds: after which no new round begins,
      least: but not before so many rounds,
      most: and never more than these.
      call_seconds: what a call should take at least: quick jobs do several units.
    """

    seconds: float
    least: int
    most: int
    call_seconds: float


class Spread(NamedTuple):
    """Median, smallest and largest of some measurements."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Median with the range.

    Example:
      >>> spread([3.0, 1.0, 2.0])
      Spread(median=2.0, low=1.0, high=3.0)
    """
    return Spread(statistics.median(values), min(values), max(values))


def alternated(
    runs: Sequence[Callable[[int], None]],
    units: Sequence[int],
    rounds: Rounds,
    clock: Clock = time.perf_counter,
) -> list[list[float]]:
    """Times A B C A B C ..., a call each of so many units.

    Args:
      runs: what to time, warmed up; each does so many units and waits for the end.
      units: of a call of each.
      rounds: when to stop.
      clock: of seconds.

    Returns:
      Seconds a unit of each implementation's calls, in the order of `runs`.
    """
    seconds: list[list[float]] = [[] for _ in runs]
    begin, done = clock(), 0
    while done < rounds.least or (
        done < rounds.most and clock() - begin < rounds.seconds
    ):
        for run, count, taken in zip(runs, units, seconds, strict=True):
            taken.append(seconds_of(run, count, clock) / count)
        done += 1
    return seconds


def seconds_of(
    run: Callable[[int], None], units: int, clock: Clock = time.perf_counter
) -> float:
    """Seconds of one call."""
    begin = clock()
    run(units)
    return clock() - begin


def units_a_call(seconds: float, call_seconds: float) -> int:
    """Units that bring a call to `call_seconds`, at `seconds` each; at most 1000.

    Example:
      >>> units_a_call(0.3, 1.0), units_a_call(2.0, 1.0)
      (4, 1)
    """
    return max(1, min(1000, -int(-call_seconds // max(seconds, 1e-6))))
