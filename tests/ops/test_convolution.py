"""Every lowering is the one convolution; transposes and skewness are exact."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from helpers.dense import EPS, convolution_matrix, jacobian, naive_convolution, normal
from lipjax import ops
from lipjax.ops.convolution import (
    convolution_of_pairs,
    looped_convolution,
    platform_convolution,
    product_of_blocks,
    product_of_taps,
    product_of_views,
)

LOWERINGS = [
    ops.same_convolution,
    platform_convolution,
    looped_convolution,
    product_of_blocks,
    product_of_taps,
    product_of_views,
]
SHAPES = [(1, 1), (2, 2), (3, 3), (4, 5), (1, 4), (2, 6)]


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("sides", SHAPES)
def test_lowerings_agree(sides, k):
    x, kernel = normal(0, 2, *sides, 3), normal(1, k, k, 3, 4)
    expected = naive_convolution(x, kernel)
    # gamma_n |K| |x| bounds the rounding of either sum of n = 3 k^2 products.
    n = 3 * k * k
    tolerance = 2 * n * EPS * naive_convolution(np.abs(x), np.abs(kernel))
    for lowering in [*LOWERINGS, *[convolution_of_pairs] * (sides[1] % 2 == 0)]:
        error = np.abs(np.asarray(jax.jit(lowering)(x, kernel)) - expected)
        assert (error <= tolerance).all(), lowering.__name__


def derivatives(lowering, x, kernel, tangents, cotangent):
    """Forward, for several tangents, and reverse."""
    _, pullback = jax.vjp(lowering, x, kernel)
    forward = [jax.jvp(lowering, (x, kernel), pair)[1] for pair in tangents]
    return [*pullback(cotangent), *forward]


@pytest.mark.parametrize("sides", SHAPES)
@pytest.mark.parametrize("k", [3, 5])
def test_derivatives_agree(sides, k):
    """Forward and reverse, in either argument and in both."""
    x, kernel = normal(0, 2, *sides, 3), normal(1, k, k, 3, 4)
    dx, dkernel = normal(2, *x.shape), normal(3, *kernel.shape)
    cotangent = normal(4, 2, *sides, 4)
    # At most 2 x 25 x 4 or 48 products of size 10: 200 eps of some 50, in either order.
    tangents = [(dx, 0 * dkernel), (0 * dx, dkernel), (dx, dkernel)]
    run = jax.jit(derivatives, static_argnums=0)
    expected = run(platform_convolution, x, kernel, tangents, cotangent)
    for lowering in LOWERINGS:
        found = run(lowering, x, kernel, tangents, cotangent)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e4 * EPS)


def test_second_derivatives_of_the_looped_convolution():
    x, kernel = normal(0, 2, 3, 4, 2), normal(1, 3, 3, 2, 2)
    check_grads(
        lambda x, kernel: jnp.sin(looped_convolution(x, kernel)), (x, kernel), order=2
    )


@pytest.mark.parametrize(
    ("width", "channels", "stride"), [(6, 8, 2), (6, 9, 1), (5, 8, 1)]
)
def test_narrow_images_are_convolved_in_pairs(width, channels, stride):
    """Forward, and in reverse, where it is the adjoint's convolution."""
    x, kernel = normal(0, 1, 4, width, channels), normal(1, 3, 3, channels, channels)
    forward = jax.make_jaxpr(looped_convolution)(x, kernel)
    _, pull = jax.vjp(lambda x: looped_convolution(x, kernel), x)
    for jaxpr in (forward, jax.make_jaxpr(pull)(x)):
        assert re.findall(r"window_strides=\((.*?)\)", str(jaxpr)) == [f"1, {stride}"]


@pytest.mark.parametrize("gradient", ops.GRADIENTS)
def test_no_convolution_in_a_loop_has_its_axes_permuted(gradient):
    """XLA on a CPU leaves such ones to a naive loop: 300 times the time."""
    if jax.default_backend() != "cpu":
        pytest.skip("needs the CPU backend: GPU or TPU in use")

    def descend(_, carry):
        x, kernel = carry
        loss = lambda x, m: jnp.sum(  # noqa: E731
            ops.skew_exponential(
                x, ops.skew_kernel(m), coefficients=(1.0, 1.0, 0.5), gradient=gradient
            )
            ** 2
        )
        return jax.grad(loss, (0, 1))(x, kernel)

    def loop(x, kernel):
        return jax.lax.fori_loop(0, 3, descend, (x, kernel))

    lowered = jax.jit(loop).lower(normal(0, 2, 4, 4, 3), normal(1, 3, 3, 3, 3))
    orders = re.findall(
        r" convolution\(.*dim_labels=(\S+?),?[ \n]", lowered.compile().as_text() or ""
    )
    assert orders and set(orders) == {"b01f_01io->b01f"}


def test_a_flipped_kernel_is_another_convolution():
    x, kernel = normal(0, 2, 4, 4, 3), normal(1, 3, 3, 3, 4)
    wrong = ops.same_convolution(x, kernel[::-1])
    assert np.abs(np.asarray(wrong) - naive_convolution(x, kernel)).max() > 1


def test_leading_axes():
    x, kernel = normal(0, 2, 3, 4, 4, 3), jnp.asarray(normal(1, 3, 3, 3, 4))
    y = jax.jit(ops.same_convolution)(x, kernel)
    assert y.shape == (2, 3, 4, 4, 4)
    one = jax.jit(ops.same_convolution)(x[1, 2], kernel)
    np.testing.assert_allclose(y[1, 2], one, rtol=0, atol=100 * EPS)


@pytest.mark.parametrize("sides", SHAPES)
@pytest.mark.parametrize("k", [1, 3, 5])
def test_skew_jacobian(sides, k):
    """J^T = -J in every bit: the entries are taps, copied."""
    skew = ops.skew_kernel(normal(0, k, k, 3, 3))
    dense = jacobian(lambda x: ops.same_convolution(x, skew), normal(1, *sides, 3))
    np.testing.assert_array_equal(dense, -dense.T)
    np.testing.assert_array_equal(dense, convolution_matrix(skew, *sides))


def test_skew_kernel_in_float32_is_exactly_skew():
    skew = ops.skew_kernel(jnp.asarray(normal(0, 3, 3, 4, 4), jnp.float32))
    assert skew.dtype == jnp.float32
    np.testing.assert_array_equal(ops.transpose_kernel(skew), -skew)


@pytest.mark.parametrize("channels", [512, 520])
def test_large_kernels_are_transposed_alike(channels):
    kernel, cotangent = normal(0, 1, 1, channels, channels), normal(1, channels)
    kernel = np.concatenate([kernel, 0 * kernel, kernel + cotangent])
    swapped = kernel[::-1].swapaxes(2, 3)
    skew, pullback = jax.vjp(jax.jit(ops.skew_kernel), kernel)
    np.testing.assert_array_equal(skew, (kernel - swapped) / 2)
    np.testing.assert_array_equal(pullback(kernel)[0], (kernel - swapped) / 2)


def test_skew_kernel_keeps_skew_kernels():
    skew = ops.skew_kernel(normal(0, 3, 3, 4, 4))
    np.testing.assert_array_equal(ops.skew_kernel(skew), skew)


@pytest.mark.parametrize("sides", [(4, 4), (2, 2), (1, 1)])
def test_transpose_kernel_is_the_adjoint(sides):
    kernel = normal(0, 3, 3, 2, 4)
    forth = jacobian(lambda x: ops.same_convolution(x, kernel), normal(1, *sides, 2))
    back = jacobian(
        lambda x: ops.same_convolution(x, ops.transpose_kernel(kernel)),
        normal(1, *sides, 4),
    )
    np.testing.assert_array_equal(back, forth.T)


def test_bad_shapes():
    x = jnp.zeros((4, 4, 3))
    for shape in [(2, 2, 3, 3), (3, 1, 3, 3), (3, 3, 3)]:
        with pytest.raises(ValueError, match="k odd"):
            ops.same_convolution(x, jnp.zeros(shape))
    for image in (jnp.zeros((4, 4, 2)), jnp.zeros((4, 3))):
        with pytest.raises(ValueError, match="does not fit"):
            ops.same_convolution(image, jnp.zeros((3, 3, 3, 3)))
    with pytest.raises(ValueError, match="channels in as out"):
        ops.skew_kernel(jnp.zeros((3, 3, 2, 3)))
