"""Intervals of the figures of a test set."""

from __future__ import annotations

import numpy as np
from scipy import stats

_LEVEL = 0.95


def share_interval(count: int, total: int) -> tuple[float, float]:
    """Interval of 95% for a share, of which `count` of `total` drawn images are.

    It is Clopper and Pearson's: whatever the share, at least 95 of 100 such test sets
    have an interval that covers it.

    Example:
      >>> low, high = share_interval(0, 10)
      >>> low, round(high, 4)
      (0.0, 0.3085)
    """
    found = stats.binomtest(count, total).proportion_ci(_LEVEL, method="exact")
    return float(found.low), float(found.high)


def band(counts: np.ndarray, total: int) -> tuple[np.ndarray, np.ndarray]:
    """The intervals of many counts at once, each on its own.

    Example:
      >>> low, high = band(np.array([0, 10]), 10)
      >>> low.round(4).tolist(), high.round(4).tolist()
      ([0.0, 0.6915], [0.3085, 1.0])
    """
    tail = (1 - _LEVEL) / 2
    low = stats.beta.ppf(tail, counts, total - counts + 1)
    high = stats.beta.ppf(1 - tail, counts + 1, total - counts)
    return np.where(counts > 0, low, 0.0), np.where(counts < total, high, 1.0)
