"""Power iteration as published."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import golden
from helpers.dense import EPS, normal, side_by_side
from lipjax import ops

# Published matrices 1, 3 and 4 move v, then u, as we do; matrix 2 u, then v: the same
# iteration on the transposed matrix.
TRANSPOSED = (False, True, False, False)


@functools.partial(jax.jit, static_argnames="steps")
def iterate(matrix, vectors, steps):
    return ops.power_iteration(matrix, vectors, steps)


def golden_error(arrays, n, *, steps=3, sign=1, transposed=None):
    """Largest error of the published singular vectors n and of their estimate."""
    matrix = sign * ops.unfoldings(golden.skew(arrays, "before/"))[golden.MATRIX[n]]
    turned = TRANSPOSED[n] if transposed is None else transposed
    order = -1 if turned else 1
    matrix = side_by_side(matrix)
    matrix = (matrix.T if turned else matrix)[None]
    before, after = (
        (first.ravel(), second.reshape(1, -1))
        for time in ("before", "after")
        for first, second in [golden.singular_vectors(arrays, f"{time}/")[n][::order]]
    )
    new = iterate(matrix, before, steps)
    sigma = ops.singular_value_estimate(matrix, new)
    errors = [np.abs(a - b).max() for a, b in zip(new, after, strict=True)]
    return max(*errors, abs(sigma - arrays["sigmas"][n]))


# Published in float32: 6 products of 18 terms at u = 6e-8, estimates around 2.5.
TOLERANCE = 1e-6


@pytest.mark.parametrize("n", range(4))
def test_golden(shared, n):
    arrays = golden.load(shared("golden/soc_power_iteration_3.npz"))
    assert golden_error(arrays, n) <= TOLERANCE


@pytest.mark.parametrize("n", range(4))
@pytest.mark.parametrize(
    "mutant", [{"steps": 2}, {"steps": 4}, {"sign": -1}, {"transposed": "other"}]
)
def test_golden_rejects(shared, n, mutant):
    if "transposed" in mutant:
        mutant = {"transposed": not TRANSPOSED[n]}
    arrays = golden.load(shared("golden/soc_power_iteration_3.npz"))
    assert golden_error(arrays, n, **mutant) > 100 * TOLERANCE


def test_unfoldings_hold_every_entry():
    kernel = normal(0, 3, 3, 2, 4)
    square, tall = map(side_by_side, ops.unfoldings(kernel))
    for row, column, i, o in np.ndindex(kernel.shape):
        assert square[column * 2 + i, row * 4 + o] == kernel[row, column, i, o]
        assert tall[(row * 3 + column) * 2 + i, o] == kernel[row, column, i, o]


def test_power_iteration_converges_from_below():
    matrix = normal(0, 2, 5, 4)
    norm = np.linalg.norm(side_by_side(matrix), 2)
    vectors = ops.random_vectors(jax.random.key(0), jnp.asarray(matrix))
    estimates = []
    for _ in range(4):
        estimates.append(ops.singular_value_estimate(matrix, vectors))
        vectors = iterate(matrix, vectors, 50)
    assert all(e <= norm * (1 + 16 * EPS) for e in estimates)
    assert estimates[-1] == pytest.approx(norm, rel=1e-12)
    for vector in vectors:
        assert np.linalg.norm(vector) == pytest.approx(1, rel=4 * EPS)


def test_power_iteration_carries_no_gradient():
    def f(matrix):
        vectors = ops.random_vectors(jax.random.key(0), matrix)
        return sum(v.sum() for v in ops.power_iteration(matrix, vectors, 2))

    assert not jax.jit(jax.grad(f))(jnp.asarray(normal(0, 1, 3, 4))).any()


def test_estimate_is_differentiable_with_vectors_fixed():
    matrix, vectors = normal(0, 2, 3, 4), (normal(1, 3), normal(2, 2, 4))
    gradient = jax.jit(jax.grad(ops.singular_value_estimate))(matrix, vectors)
    expected = np.outer(vectors[0], vectors[1].ravel())
    np.testing.assert_allclose(side_by_side(gradient), expected, rtol=4 * EPS)


@pytest.mark.parametrize("k", [1, 3])
def test_gradients_of_the_estimates_among_skew_kernels(k):
    kernel = ops.skew_kernel(normal(0, k, k, 4, 4))
    matrices = ops.unfoldings(kernel)
    vectors = [
        (normal(n, m.shape[1]), normal(9, m.shape[0], 4))
        for n, m in enumerate(matrices)
    ]
    found = ops.skew_estimate_gradients(vectors)
    for n, skew in enumerate(found):
        whole = jax.grad(
            lambda a, n=n: ops.singular_value_estimate(ops.unfoldings(a)[n], vectors[n])
        )(kernel)
        np.testing.assert_allclose(skew, ops.skew_kernel(whole), rtol=8 * EPS)
    assert k == 1 or np.abs(found[0] - found[1]).max() > 1


def test_zero_matrix_keeps_its_vectors():
    vectors = ops.random_vectors(jax.random.key(0), jnp.zeros((2, 3, 4)))
    new = iterate(jnp.zeros((2, 3, 4)), vectors, 2)
    for old, vector in zip(vectors, new, strict=True):
        np.testing.assert_array_equal(old, vector)


@given(scale=st.sampled_from([1e-6, 1.0, 1e6]), seed=st.integers(0, 99))
def test_a_step_is_a_step_of_the_power_iteration(scale, seed):
    matrices = ops.unjoined(scale * normal(seed, 3, 3, 4, 5))
    vectors = [
        ops.random_vectors(jax.random.key(seed + n), m) for n, m in enumerate(matrices)
    ]
    expected = [
        ops.power_iteration(m, v, 1) for m, v in zip(matrices, vectors, strict=True)
    ]
    found, estimates = jax.jit(ops.power_step)(matrices, vectors)
    # sums of 36 terms in another order, and two of them after one another
    chex.assert_trees_all_close(list(found), expected, rtol=1e-12, atol=1e-14)
    exact = [
        ops.singular_value_estimate(m, v)
        for m, v in zip(matrices, expected, strict=True)
    ]
    np.testing.assert_allclose(estimates, exact, rtol=1e-13)


def test_a_step_of_a_zero_matrix_keeps_its_vectors():
    zero = jnp.zeros((2, 3, 4))
    vectors = [ops.random_vectors(jax.random.key(0), zero)]
    found, estimates = ops.power_step([zero], vectors)
    chex.assert_trees_all_equal(list(found), vectors)
    assert estimates == [0]


def test_a_step_carries_no_gradient():
    def f(matrix):
        vectors = ops.random_vectors(jax.random.key(0), matrix)
        new, estimates = ops.power_step([matrix], [vectors])
        return sum(leaf.sum() for leaf in jax.tree.leaves((new, estimates)))

    assert not jax.grad(f)(jnp.asarray(normal(0, 1, 3, 4))).any()
