"""Norms of skew convolutions: above the dense Jacobian's, and close to it."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from helpers.dense import EPS, convolution_matrix, normal, side_by_side
from lipjax import ops
from lipjax.certify import absolute_norm_bound, skew_norm_bound, unfolding_bound
from lipjax.certify.convolutions import _hermitian_symbol, acting_taps

SIDES = [(1, 1), (2, 2), (3, 2), (1, 5), (4, 4), (6, 5)]


def skew(seed, k, channels, scale=1.0):
    return np.asarray(ops.skew_kernel(scale * normal(seed, k, k, channels, channels)))


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("k", [1, 3, 5])
def test_bound_is_above_the_dense_norm(sides, k):
    for seed in range(3):
        kernel = skew(seed, k, 1 + 2 * seed)
        norm = np.linalg.norm(convolution_matrix(kernel, *sides), 2)
        assert norm <= skew_norm_bound(kernel, *sides)


@pytest.mark.parametrize("sides", [(1, 1), (8, 8), (12, 9)])
def test_bound_is_tight(sides):
    """Zero padding loses little of the torus' norm on all but the smallest images."""
    for seed in range(3):
        kernel = skew(seed, 3, 4)
        norm = np.linalg.norm(convolution_matrix(kernel, *sides), 2)
        assert skew_norm_bound(kernel, *sides) <= 1.2 * norm


@hypothesis.given(st.integers(0, 99), st.sampled_from([1, 3, 5]), st.integers(1, 4))
def test_bound_is_below_that_of_the_unfoldings(seed, k, channels):
    kernel = skew(seed, k, channels)
    torus, unfolded = skew_norm_bound(kernel, 7, 7), unfolding_bound(kernel)
    assert torus <= unfolded * (1 + 1e-8) + 1e-140  # a bound for 0 covers underflow


def test_a_torus_of_the_image_s_own_side_is_no_bound():
    """The shortcut that leaves out the gap: five times too small at side 2."""
    kernel = skew(0, 3, 1)
    norm = np.linalg.norm(convolution_matrix(kernel, 2, 2), 2)
    shortcut = max(
        np.abs(np.linalg.eigvalsh(_hermitian_symbol(kernel, (i, j), (2, 2)))).max()
        for i in range(2)
        for j in range(2)
    )
    assert shortcut < norm <= skew_norm_bound(kernel, 2, 2)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_scale(k):
    kernel = skew(0, k, 3)
    ratio = skew_norm_bound(kernel * 2.0**30, 4, 4) / skew_norm_bound(kernel, 4, 4)
    assert abs(ratio / 2.0**30 - 1) < 1e-8


def unfolding_norms(kernel):
    return [np.linalg.norm(side_by_side(m), 2) for m in ops.unfoldings(kernel)]


@pytest.mark.parametrize("k", [1, 3, 5])
def test_unfolding_bound(k):
    kernel = np.asarray(ops.skew_kernel(normal(0, k, k, 3, 3)))
    bound = unfolding_bound(kernel)
    for sides in [*SIDES, (7, 7)]:
        assert bound >= np.linalg.norm(convolution_matrix(kernel, *sides), 2)
    sigma = min(unfolding_norms(kernel))
    # A bound on k sigma too, above it by less than the tolerance of its square.
    assert k * sigma <= bound <= k * sigma * (1 + 1e-10)


def test_one_unfolding_alone_would_be_worse():
    """The minimum is over two matrices that differ: each is the smaller somewhere."""
    differences = []
    for seed in range(20):
        skew = np.asarray(ops.skew_kernel(normal(seed, 3, 3, 1, 1)))
        square, tall = unfolding_norms(skew)
        differences.append(square - tall)
    assert max(np.abs(differences)) > 0.1


KERNELS = st.tuples(
    st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 5]), st.integers(1, 4)
)


@hypothesis.given(KERNELS, st.integers(-300, 150), st.sampled_from(SIDES))
def test_unfolding_bound_is_never_below(case, exponent, sides):
    """Also where squares of entries would underflow or overflow."""
    seed, k, channels = case
    skew = np.asarray(ops.skew_kernel(normal(seed, k, k, channels, channels)))
    norm = np.linalg.norm(convolution_matrix(skew, *sides), 2)
    # The SVD that measures rounds too: 100 eps covers matrices of side 200.
    assert unfolding_bound(skew * 10.0**exponent) >= (
        norm * 10.0**exponent * (1 - 100 * EPS)
    )


def test_a_rank_one_kernel_attains_its_unfolding_bound():
    rotation = np.array([[0.0, 3.0], [-3.0, 0.0]]).reshape(1, 1, 2, 2)
    assert 3 <= unfolding_bound(rotation) <= 3 * (1 + 1e-10)


def test_unfolding_bound_of_zero():
    assert unfolding_bound(np.zeros((3, 3, 2, 2))) == 0


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("k", [1, 3, 5])
def test_absolute_norm(sides, k):
    kernel = skew(1, k, 4)
    norm = np.linalg.norm(np.abs(convolution_matrix(kernel, *sides)), 2)
    bound = absolute_norm_bound(kernel)
    # Row sums of a positive matrix exceed its norm by at most the root of its side.
    assert norm <= bound <= 2 * np.linalg.norm(np.abs(kernel).sum((0, 1)), 2) + 1e-12


def test_absolute_norm_of_blocks_and_zeros():
    kernel = np.zeros((1, 1, 4, 4))
    assert 0 <= absolute_norm_bound(kernel) < 1e-100
    kernel[0, 0, 0, 1], kernel[0, 0, 1, 0] = 3, -3
    assert 3 <= absolute_norm_bound(kernel) <= 3.01


def test_acting_taps():
    kernel = normal(0, 5, 5, 1, 1)
    np.testing.assert_array_equal(acting_taps(kernel, 9, 9), kernel)
    np.testing.assert_array_equal(acting_taps(kernel, 2, 1), kernel[1:4, 2:3])


@pytest.mark.parametrize(
    "bound", [unfolding_bound, lambda kernel: skew_norm_bound(kernel, 4, 4)]
)
def test_bad_kernels(bound):
    with pytest.raises(ValueError, match="not skew"):
        bound(normal(0, 3, 3, 2, 2))
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="not finite"):
            bound(np.full((1, 1, 2, 2), value))
