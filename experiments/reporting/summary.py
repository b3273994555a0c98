"""Accuracy, certified robust accuracy (CRA) and mean radius of predictions."""

from __future__ import annotations

import dataclasses

import numpy as np

from lipjax import metrics

STANDARD_RADII = (36 / 255, 72 / 255, 108 / 255, 0.5, 1.0, 1.5)
RADIUS_NAMES = ("36/255", "72/255", "108/255", "0.5", "1.0", "1.5")


@dataclasses.dataclass(frozen=True)
class Summary:
    """The figures of a split's predictions and radii.

    Attributes:
      accuracy: share of the images that are classified correctly.
      cra: share that is classified correctly with a radius above each given radius.
      mean_radius: mean over all images, 0 where the prediction is wrong.
    """

    accuracy: float
    cra: tuple[float, ...]
    mean_radius: float


def summarize(
    prediction: np.ndarray, radius: np.ndarray, labels: np.ndarray
) -> Summary:
    """Accuracy, certified robust accuracy and mean radius of n images.

    Example:
      >>> summarize(np.array([1, 2]), np.array([0.6, 0.9]), np.array([1, 1])).cra
      (0.5, 0.5, 0.5, 0.5, 0.0, 0.0)
    """
    cra = metrics.certified_robust_accuracy(prediction, radius, labels, STANDARD_RADII)
    accuracy = metrics.accuracy(prediction, labels)
    return Summary(accuracy, cra, metrics.mean_radius(prediction, radius, labels))
