"""Means over seeds, with their spread."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from scipy.special import stdtrit

CONFIDENCE = 0.95
FEWEST = 3
"""Seeds from which an interval is given; of fewer, smallest and largest."""


class Spread(NamedTuple):
    """The mean of a few values, and an interval.

    Attributes:
      mean: of the values.
      low: lower end of Student's interval of 95%; of fewer than 3 values the smallest.
      high: upper end, or the largest value.
      size: of the values.
    """

    mean: float
    low: float
    high: float
    size: int

    @property
    def is_interval(self) -> bool:
        """Whether the ends are those of Student's interval."""
        return self.size >= FEWEST


def spread(values: Sequence[float]) -> Spread:
    """The mean of at least one value with Student's interval, as of normal values.

    Example:
      >>> [round(float(x), 2) for x in spread([1.0, 2.0, 3.0])]
      [2.0, -0.48, 4.48, 3.0]
      >>> spread([1.0, 2.0])
      Spread(mean=1.5, low=1.0, high=2.0, size=2)
    """
    mean, count = statistics.fmean(values), len(values)
    if count < FEWEST:
        return Spread(mean, min(values), max(values), count)
    quantile = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))
    half = quantile * statistics.stdev(values) / math.sqrt(count)
    return Spread(mean, mean - half, mean + half, count)


def text(one: Spread, digits: int = 2) -> str:
    """A spread as 1.50 ± 0.20, or as 1.50 (1.40 to 1.60), or as 1.50 of one seed.

    Example:
      >>> text(spread([1.0])), text(spread([1.0, 2.0])), text(spread([1.0, 2.0, 3.0]))
      ('1.00', '1.50 (1.00 to 2.00)', '2.00 ± 2.48')
    """
    mean = f"{one.mean:,.{digits}f}"
    if one.is_interval:
        return f"{mean} ± {one.high - one.mean:,.{digits}f}"
    if one.size == 1:
        return mean
    return f"{mean} ({one.low:,.{digits}f} to {one.high:,.{digits}f})"
