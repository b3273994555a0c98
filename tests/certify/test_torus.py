"""Norms of plain convolutions: above the dense Jacobian's, on a torus equal to it."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from helpers.dense import EPS, any_convolution_matrix, normal
from lipjax.certify import (
    absolute_norm_bound,
    convolution_norm_bound,
    skew_norm_bound,
)
from lipjax.certify.convolutions import acting_taps

TIGHT = 1e-6
"""The tolerance of 1e-9 of a squared norm is far below it, and so is the rounding."""

# Taps, sides, channels in and out.
CASES = [
    ((1, 1), (1, 1), (5, 3)),
    ((1, 1), (3, 2), (3, 5)),
    ((3, 3), (4, 4), (3, 3)),
    ((5, 3), (4, 3), (2, 4)),
    ((2, 2), (3, 3), (3, 2)),  # even
    ((4, 1), (4, 2), (2, 2)),
    ((4, 5), (4, 5), (2, 3)),  # as large as the image
    ((7, 6), (2, 3), (2, 2)),  # larger
    ((3, 3), (1, 1), (4, 4)),
    ((3, 3), (1, 5), (2, 1)),
    ((1, 8), (3, 2), (1, 2)),
]
PADDINGS = ["zero", "circular"]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("taps, sides, channels", CASES)
def test_bound_is_above_the_dense_norm(taps, sides, channels, padding):
    for seed in range(3):
        kernel = normal(seed, *taps, *channels)
        dense = any_convolution_matrix(kernel, *sides, padding=padding)
        norm, bound = (
            np.linalg.norm(dense, 2),
            convolution_norm_bound(kernel, *sides, padding=padding),
        )
        assert norm <= bound
        absolute = np.linalg.norm(np.abs(dense), 2)
        assert absolute <= absolute_norm_bound(acting_or_all(kernel, sides, padding))
        if padding == "circular" or max(taps) == 1:
            assert bound <= norm * (1 + TIGHT)


def acting_or_all(kernel, sides, padding):
    return acting_taps(kernel, *sides) if padding == "zero" else kernel


@pytest.mark.parametrize("taps, sides, channels", CASES)
def test_taps_that_act_are_those_of_the_matrix(taps, sides, channels):
    kernel = normal(0, *taps, *channels)
    left = acting_taps(kernel, *sides)
    np.testing.assert_array_equal(
        any_convolution_matrix(left, *sides, padding="zero"),
        any_convolution_matrix(kernel, *sides, padding="zero"),
    )
    for k, tap, side in zip(left.shape, taps, sides, strict=False):
        assert k <= min(tap, 2 * side - 1)


def test_zero_padding_needs_a_larger_torus():
    """A shift of all pixels and its reverse add up across the image's border."""
    kernel = np.array([1.0, 0.0, -1.0]).reshape(1, 3, 1, 1)
    dense = any_convolution_matrix(kernel, 1, 2, "zero")
    circular = convolution_norm_bound(kernel, 1, 2, "circular")
    assert circular < np.linalg.norm(dense, 2)
    assert 1 <= convolution_norm_bound(kernel, 1, 2, "zero")


@hypothesis.given(st.integers(0, 999), st.sampled_from([1, 3, 5]), st.integers(1, 3))
def test_skew_kernels_have_the_bound_of_skew_convolutions(seed, k, channels):
    kernel = normal(seed, k, k, channels, channels)
    kernel = kernel - kernel[::-1, ::-1].swapaxes(2, 3)
    ours = convolution_norm_bound(kernel, 3, 4, "zero")
    np.testing.assert_allclose(skew_norm_bound(kernel, 3, 4), ours, 2e-9, 1e-140)


@hypothesis.given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(CASES),
    st.sampled_from(PADDINGS),
    st.integers(-290, 150),
)
def test_bound_is_never_below(seed, case, padding, exponent):
    """Also where squares of entries would underflow or overflow."""
    taps, sides, channels = case
    kernel = normal(seed, *taps, *channels)
    norm = np.linalg.norm(any_convolution_matrix(kernel, *sides, padding=padding), 2)
    bound = convolution_norm_bound(kernel * 10.0**exponent, *sides, padding=padding)
    # The SVD that measures rounds too: 100 eps covers matrices of side 200.
    assert bound >= norm * 10.0**exponent * (1 - 100 * EPS)


def orthogonal_circular(side, c, seed=0):
    """The kernel of an orthogonal circular convolution, as large as the image.

    exp of the Fourier transform of a skew kernel, at each frequency.
    """
    a = normal(seed, side, side, c, c)
    a = a - np.roll(a[::-1, ::-1], (1, 1), (0, 1)).swapaxes(2, 3)
    values, vectors = np.linalg.eigh(1j * np.fft.fft2(a, axes=(0, 1)))
    turned = vectors * np.exp(-1j * values)[..., None, :]
    symbols = turned @ vectors.conj().swapaxes(2, 3)
    kernel = np.fft.ifft2(symbols, axes=(0, 1))
    return np.roll(kernel.real, (side // 2, side // 2), (0, 1))


@pytest.mark.parametrize("side", [3, 4])
def test_orthogonal_convolutions_have_norm_one(side):
    """All singular values are equal: one proof serves all frequencies."""
    kernel = orthogonal_circular(side, 3)
    dense = any_convolution_matrix(kernel, side, side, "circular")
    np.testing.assert_allclose(dense @ dense.T, np.eye(len(dense)), atol=1e-12)
    bound = convolution_norm_bound(kernel, side, side, "circular")
    assert 1 - 1e-12 <= bound <= 1 + 1e-9


def test_zero_kernels():
    for padding in PADDINGS:
        assert convolution_norm_bound(np.zeros((3, 3, 2, 2)), 4, 4, padding) == 0
    far = np.zeros((3, 3, 2, 2))
    far[0] = 1.0
    assert convolution_norm_bound(far, 1, 4, "zero") == 0
    assert convolution_norm_bound(far, 1, 4, "circular") > 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_kernels_that_are_not_finite(value):
    with pytest.raises(ValueError, match="not finite"):
        convolution_norm_bound(np.full((1, 1, 2, 2), value), 2, 2, "zero")
