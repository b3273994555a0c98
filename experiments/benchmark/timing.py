"""Times implementations in turn, so that the machine's other work affects all alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import NamedTuple


class Rounds(NamedTuple):
    """How long to measure.

    Attributes:
      seconds: after these no new round begins.
      least: rounds done in any case.
      most: rounds never exceeded.
      call_seconds: shortest duration of a call; quick jobs do several units a call.
    """

    seconds: float
    least: int
    most: int
    call_seconds: float


def alternated(
    runs: Sequence[Callable[[int], None]],
    units: Sequence[int],
    rounds: Rounds,
) -> list[list[float]]:
    """Times calls in the order A B C A B C ...

    Args:
      runs: implementations, warmed up; each does the given number of units and waits
        for the result.
      units: units a call of each implementation.
      rounds: when to stop.

    Returns:
      Seconds a unit for every call of each implementation, in the order of `runs`.
    """
    seconds: list[list[float]] = [[] for _ in runs]
    begin, done = perf_counter(), 0
    while done < rounds.least or (
        done < rounds.most and perf_counter() - begin < rounds.seconds
    ):
        for run, count, taken in zip(runs, units, seconds, strict=True):
            taken.append(seconds_of(run, count) / count)
        done += 1
    return seconds


def seconds_of(run: Callable[[int], None], units: int) -> float:
    """Times one call."""
    begin = perf_counter()
    run(units)
    return perf_counter() - begin


def units_a_call(seconds: float, call_seconds: float) -> int:
    """Units of `seconds` each that make a call take `call_seconds`; at most 1000.

    Example:
      >>> units_a_call(0.3, 1.0), units_a_call(2.0, 1.0)
      (4, 1)
    """
    return max(1, min(1000, -int(-call_seconds // max(seconds, 1e-6))))
