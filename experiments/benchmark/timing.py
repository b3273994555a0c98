"""Times implementations in turn, so that the machine's other work affects all alike."""

from __future__ import annotations

import timeit
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import NamedTuple

_REPEATS = 5  # of a product of matrices


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


class Runnable(NamedTuple):
    """An implementation of a job, ready to run.

    A unit is a training step, an evaluated split, a certified batch or a convolution.

    Attributes:
      run: does the given number of units and waits for the result.
      images: images a unit.
      multiply_adds: needed for a unit by the definition; None: not counted.
      compile_seconds: already spent on compilation.
      memory: peak bytes of a unit, called after a unit has run; None: not measured.
      once_seconds: seconds of the work done once for a model, if there is any.
    """

    run: Callable[[int], None]
    images: int
    multiply_adds: float | None = None
    compile_seconds: float = 0.0
    memory: Callable[[], int | None] = lambda: None
    once_seconds: float | None = None


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


def best_rate(products: Iterable[Callable[[], object]], size: int) -> float:
    """Multiply-adds a second of the fastest of some products.

    Args:
      products: each computes one product of square matrices and waits for it.
      size: side of the matrices.
    """
    seconds = []
    for product in products:
        product()  # compiles
        seconds += timeit.repeat(product, number=1, repeat=_REPEATS)
    return size**3 / min(seconds)
