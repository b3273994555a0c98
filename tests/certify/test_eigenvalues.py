"""Bounds on eigenvalues lie above the eigenvalues, and not far above."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from helpers.dense import normal
from lipjax.certify import largest_eigenvalue_bound
from lipjax.certify.eigenvalues import is_above


def symmetric(seed, n, exponent=0):
    matrix = normal(seed, n, n) * 10.0**exponent
    return matrix + matrix.T


@hypothesis.given(st.integers(0, 99), st.integers(1, 130), st.integers(-20, 20))
def test_bound_is_above_and_tight(seed, n, exponent):
    matrix = symmetric(seed, n, exponent)
    largest = max(np.linalg.eigvalsh(matrix)[-1], 0)
    bound = largest_eigenvalue_bound(matrix)
    size = np.abs(np.linalg.eigvalsh(matrix)).max()
    assert largest <= bound <= largest + 1e-8 * size


@pytest.mark.parametrize("n", [1, 20, 120])
def test_a_smaller_number_is_not_proven(n):
    matrix = symmetric(0, n) + 100 * np.eye(n)
    largest = np.linalg.eigvalsh(matrix)[-1]
    assert is_above(largest * (1 + 1e-9), matrix)
    assert not is_above(largest * (1 - 1e-9), matrix)
    assert not is_above(0.999 * largest, matrix)


def test_a_perturbation_is_counted():
    matrix = np.diag([1.0, 2.0])
    assert 2.5 <= largest_eigenvalue_bound(matrix, 0.5) < 2.5 + 1e-8
    assert not is_above(2.4, matrix, 0.5)


def test_negative_and_zero_matrices():
    assert 0 <= largest_eigenvalue_bound(-np.eye(3)) < 1e-9
    assert 0 <= largest_eigenvalue_bound(np.zeros((3, 3))) < 1e-100


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite(bad):
    with pytest.raises(ValueError, match="not finite"):
        largest_eigenvalue_bound(np.array([[bad]]))
