"""The curvature head's values, gradients and curvature estimates."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import golden
from helpers.dense import EPS, normal
from helpers.heads import (
    GOLDEN_HEADS,
    global_curvatures,
    golden_head,
    margin_hessian,
    random_head,
    true_curvature,
)
from lipjax.ops import (
    SOFTPLUS_CURVATURE,
    curvature_estimates,
    curvature_jacobian,
    curvature_logits,
    curvature_penalty,
    pair_curvatures,
)

curvatures_of = jax.jit(pair_curvatures)

# Published in float32 with logits up to 10: 32 products at u = 6e-8, twice.
TOLERANCE = 1e-5


@pytest.mark.parametrize("name", GOLDEN_HEADS)
def test_golden_logits(shared, name):
    arrays = golden.load(shared(f"golden/{name}.npz"))
    weights, features, _ = golden_head(arrays)
    logits = jax.jit(curvature_logits)
    assert np.abs(logits(weights, features) - arrays["logits"]).max() <= TOLERANCE
    wrong = [
        logits(weights, -features),
        logits(weights._replace(hidden_bias=-weights.hidden_bias), features),
        logits(weights._replace(output_bias=-weights.output_bias), features),
        logits(weights._replace(output_kernel=-weights.output_kernel), features),
    ]
    assert min(np.abs(w - arrays["logits"]).max() for w in wrong) > 100 * TOLERANCE


def test_jacobian_is_the_derivative():
    weights, z = random_head(0), normal(1, 5, 3)
    dense = jax.vmap(jax.jacrev(lambda z: curvature_logits(weights, z[None])[0]))
    np.testing.assert_allclose(
        jax.jit(curvature_jacobian)(weights, z), jax.jit(dense)(z), atol=200 * EPS
    )


def test_softplus_curvature():
    """1/4 is the largest second derivative of softplus, at 0, and none is negative."""
    second = jax.vmap(jax.grad(jax.grad(jax.nn.softplus)))(np.linspace(-9, 9, 1001))
    assert second.max() == SOFTPLUS_CURVATURE
    assert second.min() >= 0


@functools.partial(jax.jit, static_argnames="steps")
def estimates(kernel, scales, start, steps):
    return curvature_estimates(kernel, scales, start, steps)


def test_estimates_approach_from_below():
    weights = random_head(0)
    outer = weights.output_kernel.T
    pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
    scales = jnp.stack([jax.nn.relu(outer[i] - outer[j]) for i, j in pairs])
    true = np.array([true_curvature(weights, i, j) for i, j in pairs])
    start = jnp.asarray(normal(3, 3))
    previous = np.zeros(len(pairs))
    for steps in (1, 2, 8, 200):
        found = np.asarray(estimates(weights.hidden_kernel, scales, start, steps))
        assert (found <= true * (1 + 64 * EPS)).all()
        assert (found >= previous * (1 - 64 * EPS)).all()
        previous = found
    np.testing.assert_allclose(previous, true, rtol=1e-6)
    assert (estimates(weights.hidden_kernel, scales, start, 1) < 0.999 * true).any()


def test_estimates_of_nothing():
    kernel, start = jnp.asarray(normal(0, 3, 5)), jnp.ones(3)
    assert not estimates(kernel, jnp.zeros((2, 5)), start, 2).any()
    assert not estimates(kernel, jnp.ones((2, 5)), jnp.zeros(3), 2).any()
    gradient = jax.jit(jax.grad(lambda k: curvature_estimates(k, 0 * k[:1], start)[0]))
    assert np.isfinite(gradient(kernel)).all()


def test_estimate_gradient_holds_the_vectors():
    """At convergence it is the eigenvalue's own gradient, by finite differences."""
    weights = random_head(0)
    kernel, scale = weights.hidden_kernel, jnp.abs(weights.output_kernel[:, 0])
    gradient = jax.jit(
        jax.grad(lambda k: curvature_estimates(k, scale[None], jnp.ones(3), 300)[0])
    )(kernel)
    step = 1e-5 * normal(5, *kernel.shape)

    def true(k):
        return np.linalg.norm(np.asarray(k * jnp.sqrt(scale)[None]), 2) ** 2 / 4

    difference = (true(kernel + step) - true(kernel - step)) / 2
    # Central differences err by the step squared, 1e-10 relative, and by rounding.
    assert np.sum(gradient * step) == pytest.approx(difference, rel=1e-8)


def direct_penalty(weights, logits, labels, start, others):
    """Mean of max(m, M) over each sample's runners-up, sample by sample."""
    outer = np.asarray(weights.output_kernel)
    found = []
    for row, y in zip(np.asarray(logits), np.asarray(labels), strict=True):
        ranked = [t for t in np.argsort(-row) if t != y][:others]
        for t in ranked:
            scales = np.maximum(
                [outer[:, y] - outer[:, t], outer[:, t] - outer[:, y]], 0
            )
            found.append(max(estimates(weights.hidden_kernel, scales, start, 2)))
    return np.mean(found)


@pytest.mark.parametrize(
    ("classes", "samples", "others"),
    [(4, 10, 9), (4, 2, 2), (12, 3, 9), (12, 20, 9), (4, 50, 1), (2, 3, 9)],
)
def test_penalty_in_both_branches(classes, samples, others):
    """Few classes: a table of all pairs. Few samples: the pairs that they need."""
    weights = random_head(1, classes=classes)
    logits = jax.jit(curvature_logits)(weights, normal(2, samples, 3))
    labels = jnp.asarray(np.random.default_rng(0).integers(classes, size=samples))
    start = jnp.asarray(normal(4, 3))
    penalty = jax.jit(functools.partial(curvature_penalty, others=others))
    found = penalty(weights, logits, labels, start)
    expected = direct_penalty(weights, logits, labels, start, others)
    assert found == pytest.approx(expected, rel=64 * EPS)
    assert found <= max(
        true_curvature(weights, i, j) for i in range(classes) for j in range(classes)
    )


def test_branches_cover_both_sides():
    """The cases above: at most 2 n r <-> more than C (C - 1) pairs."""
    table = [4 * 3 <= 2 * 10 * 3, 12 * 11 <= 2 * 20 * 9]
    pairs = [4 * 3 <= 2 * 2 * 2, 12 * 11 <= 2 * 3 * 9]
    assert all(table) and not any(pairs)


@pytest.mark.parametrize("samples", [2, 40])
def test_penalty_gradients(samples):
    weights = random_head(1)
    logits = jax.jit(curvature_logits)(weights, normal(2, samples, 3))
    labels, start = jnp.zeros(samples, jnp.int32), jnp.ones(3)
    gw, gl = jax.jit(jax.grad(curvature_penalty, (0, 1)))(
        weights, logits, labels, start
    )
    assert all(np.isfinite(g).all() for g in gw)
    assert gw.hidden_kernel.any() and gw.output_kernel.any()
    assert not gl.any()  # the ranking carries none


def test_golden_tight_curvature(golden_case):
    """400 published power iterations, from below, in float32."""
    arrays, weights, _, labels, (_, other) = golden_case
    table = np.asarray(curvatures_of(weights))
    index = (np.asarray(labels)[:, None], other)
    np.testing.assert_allclose(table[index], arrays["tight_m"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(table.T[index], arrays["tight_M"], rtol=0, atol=1e-5)
    assert np.abs(table.T[index] - arrays["tight_m"]).max() > 1e-2  # m is not M


def test_golden_global_curvature(golden_case):
    """sigma_1(W1) is published from a few power iterations: 1e-4 relative at most."""
    arrays, weights, _, labels, (_, other) = golden_case
    table = np.asarray(global_curvatures(weights))
    index = (np.asarray(labels)[:, None], other)
    np.testing.assert_allclose(table[index], arrays["fast_m"], rtol=1e-4)
    np.testing.assert_allclose(table.T[index], arrays["fast_M"], rtol=1e-4)
    assert np.abs(table.T[index] - arrays["fast_m"]).max() > 1e-2


@pytest.mark.parametrize(("features", "hidden"), [(3, 8), (8, 3)])
def test_pair_curvatures(features, hidden):
    """Both sides of the Gram matrix that is decomposed."""
    weights = random_head(0, features, hidden)
    table = np.asarray(curvatures_of(weights))
    expected = [[true_curvature(weights, t, y) for t in range(4)] for y in range(4)]
    np.testing.assert_allclose(table, expected, rtol=64 * EPS, atol=EPS)
    assert (global_curvatures(weights) >= table * (1 - 64 * EPS)).all()


def test_hessian_lies_between():
    """-m I <= hessian <= M I everywhere."""
    weights = random_head(0)
    table = np.asarray(curvatures_of(weights))
    hessian = jax.jit(
        jax.vmap(lambda z: margin_hessian(weights, 1, 2, z)),
    )
    eigenvalues = np.linalg.eigvalsh(hessian(normal(1, 300, 3)))
    assert eigenvalues.min() >= -table[1, 2]
    assert eigenvalues.max() <= table[2, 1]
    assert eigenvalues.min() < 0 < eigenvalues.max()
