"""Intervals of the figures of a test set."""

from __future__ import annotations

import numpy as np
from scipy import stats

_LEVEL = 0.95


def share_intervals(counts: np.ndarray, total: int) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of 95% for shares, of which `counts` of `total` drawn images are.

    They are Clopper and Pearson's, each on its own: whatever the share, at least 95 of
    100 such test sets have an interval that covers it.

    Example:
      >>> low, high = share_intervals(np.array([0, 10]), 10)
      >>> low.round(4).tolist(), high.round(4).tolist()
      ([0.0, 0.6915], [0.3085, 1.0])
    """
    tail = (1 - _LEVEL) / 2
    low = stats.beta.ppf(tail, counts, total - counts + 1)
    high = stats.beta.ppf(1 - tail, counts + 1, total - counts)
    return np.where(counts > 0, low, 0.0), np.where(counts < total, high, 1.0)
