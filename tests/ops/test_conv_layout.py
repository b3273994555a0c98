"""Every layout gives the one convolution, and its gradient's skew part."""

import jax
import numpy as np
import pytest

from helpers.dense import EPS, naive_convolution, normal
from lipjax import ops
from lipjax.ops.conv_layout import conv_layout
from lipjax.ops.convolution import platform_convolution

# Few channels; one pixel; one tile an image; several.
CASES = [
    ((4, 5), 3, 4),
    ((4, 4), 1, 4),
    ((1, 1), 1, 4),
    ((1, 1), 3, 4),
    ((2, 2), 3, 32),
    ((4, 4), 3, 32),
    ((8, 4), 3, 32),
]


@pytest.fixture(params=CASES, ids=str)
def case(request):
    sides, k, channels = request.param
    x, g = normal(0, 3, *sides, channels), normal(1, 3, *sides, channels)
    return x, ops.skew_kernel(normal(2, k, k, channels, channels)), g


def test_convolution(case):
    x, kernel, _ = case

    @jax.jit
    def convolve(x, kernel):
        layout = conv_layout(x, kernel)
        return layout.leave(layout.convolve(layout.enter(x), kernel))

    # 288 products of size 1 to 10, by tiles with some ten times a plain sum's rounding.
    np.testing.assert_allclose(
        convolve(x, kernel), naive_convolution(x, kernel), rtol=0, atol=2e4 * EPS
    )


def test_gradient_is_the_skew_part(case):
    x, kernel, g = case

    @jax.jit
    def gradient(x, kernel, g):
        layout = conv_layout(x, kernel)
        return layout.gradient(layout.enter(x), layout.enter(g), kernel)

    _, whole = jax.vjp(platform_convolution, x, kernel)[1](g)
    assert np.abs(whole - ops.skew_kernel(whole)).max() > 0.1  # it is not all of it
    np.testing.assert_allclose(
        gradient(x, kernel, g), ops.skew_kernel(whole), rtol=0, atol=2e4 * EPS
    )
