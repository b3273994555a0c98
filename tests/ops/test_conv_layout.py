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


def convolve(x, kernel):
    layout = conv_layout(x, kernel)
    return layout.leave(layout.convolve(layout.enter(x), kernel))


def test_convolution(case):
    x, kernel, _ = case
    # 288 products of size 1 to 10, by tiles with some ten times a plain sum's rounding.
    np.testing.assert_allclose(
        jax.jit(convolve)(x, kernel),
        naive_convolution(x, kernel),
        rtol=0,
        atol=2e4 * EPS,
    )


def derivatives(convolve, x, kernel, g):
    """In reverse, the kernel's skew part, and forward in either argument."""
    dkernel = ops.skew_kernel(kernel[::-1])
    by_x, by_kernel = jax.vjp(convolve, x, kernel)[1](g)
    forward = [
        jax.jvp(lambda x: convolve(x, kernel), (x,), (g,))[1],
        jax.jvp(lambda kernel: convolve(x, kernel), (kernel,), (dkernel,))[1],
        jax.jvp(convolve, (x, kernel), (g, dkernel))[1],
    ]
    return [by_x, ops.skew_kernel(by_kernel), *forward]


# Sums of at most 288 products as above; in second ones of some ten times the size.
def test_derivatives(case):
    run = jax.jit(derivatives, static_argnums=0)
    expected = run(platform_convolution, *case)
    for ours, theirs in zip(run(convolve, *case), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e4 * EPS)


def test_second_derivatives(case):
    x, kernel, g = case

    def slope(convolve, x, kernel):
        """In the kernel, of a square, along the skew kernel itself."""
        of = lambda kernel: jax.numpy.vdot(convolve(x, kernel) ** 2, g)  # noqa: E731
        return jax.jvp(of, (kernel,), (kernel,))[1]

    run = jax.jit(jax.grad(slope, 1), static_argnums=0)
    ours, theirs = run(convolve, x, kernel), run(platform_convolution, x, kernel)
    np.testing.assert_allclose(ours, theirs, rtol=1e3 * EPS, atol=1e5 * EPS)


def test_gradient_is_the_skew_part(case):
    check_gradient(*case)


def test_gradient_of_a_large_kernel(monkeypatch):
    """By twice the images, in single tiles."""
    monkeypatch.setattr("lipjax.ops.conv_layout._TRANSPOSED", 31)
    x, g = normal(0, 3, 4, 4, 32), normal(1, 3, 4, 4, 32)
    check_gradient(x, ops.skew_kernel(normal(2, 3, 3, 32, 32)), g)


def check_gradient(x, kernel, g):

    @jax.jit
    def gradient(x, kernel, g):
        layout = conv_layout(x, kernel)
        return layout.gradient(layout.enter(x), layout.enter(g), kernel)

    _, whole = jax.vjp(platform_convolution, x, kernel)[1](g)
    assert np.abs(whole - ops.skew_kernel(whole)).max() > 0.1  # it is not all of it
    np.testing.assert_allclose(
        gradient(x, kernel, g), ops.skew_kernel(whole), rtol=0, atol=2e4 * EPS
    )
