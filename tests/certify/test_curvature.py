"""Bounds on curvatures lie above the true ones, and refining makes them smaller."""

import numpy as np
import pytest

from helpers.heads import random_head, true_curvature
from lipjax.certify import additive_curvature_bounds, pair_curvature_bound
from lipjax.certify.curvature import Curvatures, refine

PAIRS = [(y, t) for y in range(4) for t in range(4) if y != t]


def start(weights):
    bounds = additive_curvature_bounds(weights)
    return Curvatures(bounds, np.zeros(bounds.shape, bool))


@pytest.mark.parametrize(("features", "hidden"), [(3, 8), (8, 3)])
def test_bounds_are_above_the_true_curvature(features, hidden):
    """The individual bound is tight, and the additive one lies above it."""
    weights = random_head(0, features, hidden)
    additive = additive_curvature_bounds(weights)
    for y, t in PAIRS:
        true = true_curvature(weights, t, y)
        own = pair_curvature_bound(weights, y, t)
        # 1e-8 is far above the tolerances, 1e-140 above what covers underflow.
        assert true <= own <= true * (1 + 1e-8) + 1e-140
        assert own <= additive[y, t] * (1 + 1e-8)
    assert not additive.diagonal().any()


def test_refined_both_ways_and_only_these():
    weights = random_head(1)
    before = start(weights)
    after = refine(before, weights, [(0, 1), (3, 2)])
    refined = {(0, 1), (1, 0), (3, 2), (2, 3)}
    assert set(zip(*np.nonzero(after.refined), strict=True)) == refined
    for pair in PAIRS:
        own = pair_curvature_bound(weights, *pair)
        assert after.bounds[pair] == (own if pair in refined else before.bounds[pair])
    assert (after.bounds <= before.bounds).all()
    assert not before.refined.any()  # left as it was


def test_the_order_does_not_matter():
    weights = random_head(2)
    whole = refine(start(weights), weights, PAIRS)
    parts = start(weights)
    for pair in reversed(PAIRS):
        parts = refine(parts, weights, [pair])
    np.testing.assert_array_equal(whole.bounds, parts.bounds)
    assert whole.refined.sum() == len(PAIRS)
