"""Figures of merit: what counts, and what does not."""

import jax.numpy as jnp
import numpy as np

from lipjax import metrics

PREDICTION, LABELS = np.array([0, 1, 2, 1]), np.array([0, 1, 2, 2])
RADIUS = np.array([0.5, 0.25, 0.0, 9.0], np.float32)


def test_only_correct_predictions_above_the_radius_count():
    found = metrics.certified_robust_accuracy(
        PREDICTION, RADIUS, LABELS, (0.0, 0.25, 0.5)
    )
    assert found == (0.5, 0.25, 0.0)  # a radius of 0 is no radius
    assert metrics.accuracy(PREDICTION, LABELS) == 0.75
    assert metrics.mean_radius(PREDICTION, RADIUS, LABELS) == 0.75 / 4


def test_jax_arrays():
    arrays = map(jnp.asarray, (PREDICTION, RADIUS, LABELS))
    assert metrics.mean_radius(*arrays) == 0.75 / 4
