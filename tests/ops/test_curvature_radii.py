"""Radii of curvature heads in closed form: no flip inside, and the published ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.dense import EPS, normal
from helpers.heads import global_curvatures, random_head
from lipjax.ops import (
    CurvatureWeights,
    binding_radius,
    curvature_jacobian,
    curvature_logits,
    curvature_radii,
    pair_curvatures,
)

curvatures_of = jax.jit(pair_curvatures)
radii_of = jax.jit(curvature_radii)


def test_golden_closed_form(golden_case):
    """With the published curvature; where the label wins, for we promise no more."""
    arrays, weights, features, labels, entries = golden_case
    published = arrays["fast_certificates"]

    def error(table, features=features):
        radii = np.asarray(radii_of(weights, features, labels, table))[entries]
        assert ((radii > 0) == (published > 0)).all()
        return np.abs(radii - published)[published > 0].max()

    table = global_curvatures(weights)
    assert error(table) <= 1e-4  # as sigma_1, of radii up to 5
    assert error(table.T) > 0.1
    assert error(2 * table) > 0.1
    assert error(0 * table) > 0.1


def test_golden_tighter_curvature_certifies_more(golden_case):
    arrays, weights, features, labels, entries = golden_case
    tight, coarse = (
        np.asarray(radii_of(weights, features, labels, table))[entries]
        for table in (curvatures_of(weights), global_curvatures(weights))
    )
    assert (tight >= coarse - 64 * EPS).all()
    assert (tight > coarse * 1.01).any()


@pytest.mark.parametrize("seed", range(4))
def test_no_point_inside_flips(seed):
    """Brute force on a head of 2 features: a fine grid of the disc, and its border."""
    weights = random_head(seed, features=2)
    z = normal(seed, 6, 2)
    logits = jax.jit(curvature_logits)
    y = np.asarray(logits(weights, z)).argmax(1)
    radii = np.asarray(radii_of(weights, z, y, curvatures_of(weights)))
    angle = np.linspace(0, 2 * np.pi, 721)
    circle = np.stack([np.cos(angle), np.sin(angle)], -1)
    scale = np.array([0.3, 0.6, 0.9, 1 - 1e-9])
    for n, t in np.ndindex(radii.shape):
        if t == y[n]:
            continue
        points = z[n] + (radii[n, t] * scale[:, None, None] * circle).reshape(-1, 2)
        values = np.asarray(logits(weights, points))
        gap = values[:, y[n]] - values[:, t]
        assert gap.min() > 0
    assert radii[np.isfinite(radii)].min() > 0


def test_a_curvature_too_small_would_certify_too_much():
    """With m = 0 some class does win inside the radius: the search can fail."""
    flips = 0
    for seed in range(4):
        weights = random_head(seed, features=2)
        z = normal(seed, 6, 2)
        logits = np.asarray(curvature_logits(weights, z))
        y = logits.argmax(1)
        radii = np.asarray(radii_of(weights, z, y, 0 * curvatures_of(weights)))
        jacobian = np.asarray(curvature_jacobian(weights, z))
        for n, t in np.ndindex(radii.shape):
            if t != y[n] and np.isfinite(radii[n, t]):
                slope = jacobian[n, t] - jacobian[n, y[n]]
                step = radii[n, t] * slope / np.linalg.norm(slope)
                moved = np.asarray(curvature_logits(weights, (z[n] + step)[None]))[0]
                flips += moved[y[n]] < moved[t]
    assert flips > 0


def test_flat_head_is_linear():
    """m = 0 is allowed, and without slope the margin cannot change."""
    weights = CurvatureWeights(
        jnp.zeros((2, 3)), jnp.zeros(3), jnp.ones((3, 2)), jnp.array([1.0, 0.0])
    )
    radii = radii_of(weights, jnp.zeros((1, 2)), jnp.array([0]), jnp.zeros((2, 2)))
    np.testing.assert_array_equal(radii, [[np.inf, np.inf]])


def test_small_margins_do_not_cancel():
    """r -> g / ||grad g|| as g -> 0, to rounding, where the other form gives noise."""
    weights = random_head(0)
    z = jnp.asarray(normal(1, 1, 3))
    logits = curvature_logits(weights, z)
    bias = weights.output_bias - logits[0] + jnp.array([1e-13, 0.0, -1, -1])
    weights = weights._replace(output_bias=bias)
    logits = curvature_logits(weights, z)
    gap = float(logits[0, 0] - logits[0, 1])
    jacobian = curvature_jacobian(weights, z)[0]
    radii = radii_of(weights, z, jnp.array([0]), curvatures_of(weights))
    expected = gap / np.linalg.norm(jacobian[0] - jacobian[1])
    assert radii[0, 1] == pytest.approx(expected, rel=1e-9)


def test_ties_and_losses_certify_nothing():
    weights = random_head(0)
    weights = weights._replace(
        output_kernel=weights.output_kernel.at[:, 1].set(weights.output_kernel[:, 0]),
        output_bias=weights.output_bias.at[1].set(weights.output_bias[0]),
    )
    z = normal(1, 8, 3)
    y = jnp.zeros(8, jnp.int32)
    radii = radii_of(weights, z, y, curvatures_of(weights))
    assert not (radii[:, 1] > 0).any()
    assert not binding_radius(radii, y).radius.any()
    worst = np.asarray(curvature_logits(weights, z)).argmin(1)
    losing = radii_of(weights, z, worst, curvatures_of(weights))
    assert (np.sort(losing, axis=1)[:, :3] <= 0).all()


def test_losing_radius_is_first_order():
    weights, z = random_head(0), normal(1, 5, 3)
    logits, jacobian = curvature_logits(weights, z), curvature_jacobian(weights, z)
    y = np.asarray(logits).argmin(1)
    radii = radii_of(weights, z, y, curvatures_of(weights))
    t = (y + 1) % 4
    rows = np.arange(5)
    gap = logits[rows, y] - logits[rows, t]
    slope = np.linalg.norm(jacobian[rows, y] - jacobian[rows, t], axis=-1)
    np.testing.assert_allclose(radii[rows, t], gap / slope, rtol=1e-12)
