"""Figures of merit of n images: accuracy, certified robust accuracy, mean radius.

All take NumPy or JAX arrays of shape [n] and compute with NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def accuracy(prediction: Any, labels: Any) -> float:
    """Fraction of the images that are classified correctly.

    Args:
      prediction: classes, of shape [n].
      labels: of shape [n].

    Example:
      >>> accuracy(np.array([1, 2]), np.array([1, 1]))
      0.5
    """
    return float(np.mean(np.asarray(prediction) == np.asarray(labels)))


def certified_robust_accuracy(
    prediction: Any, radius: Any, labels: Any, radii: Sequence[float]
) -> tuple[float, ...]:
    """Fraction of the images classified correctly with a radius above r, for each r.

    Args:
      prediction: classes, of shape [n].
      radius: certified radii of the predictions, of shape [n].
      labels: of shape [n].
      radii: every r, in the unit of `radius`.

    Example:
      >>> prediction, labels = np.array([1, 2, 1]), np.array([1, 1, 1])
      >>> certified_robust_accuracy(prediction, np.ones(3), labels, (0.5, 1.0))
      (0.6666666666666666, 0.0)
    """
    certified = _certified(prediction, radius, labels)
    correct = np.asarray(prediction) == np.asarray(labels)
    return tuple(float(np.mean(correct & (certified > r))) for r in radii)


def mean_radius(prediction: Any, radius: Any, labels: Any) -> float:
    """Mean certified radius, 0 for a wrong prediction, in the unit of `radius`.

    Args:
      prediction: classes, of shape [n].
      radius: certified radii of the predictions, of shape [n].
      labels: of shape [n].

    Example:
      >>> mean_radius(np.array([1, 2]), np.array([0.6, 0.9]), np.array([1, 1]))
      0.3
    """
    return float(np.mean(_certified(prediction, radius, labels)))


def _certified(prediction: Any, radius: Any, labels: Any) -> np.ndarray:
    correct = np.asarray(prediction) == np.asarray(labels)
    return np.where(correct, np.asarray(radius), 0.0)
