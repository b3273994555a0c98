"""Every lowering is the one convolution; transposes and skewness are exact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.dense import EPS, convolution_matrix, jacobian, naive_convolution, normal
from lipjax import ops
from lipjax.ops.convolution import platform_convolution, product_of_views

LOWERINGS = [ops.same_convolution, platform_convolution, product_of_views]
SHAPES = [(1, 1), (2, 2), (3, 3), (4, 5), (1, 4), (2, 6)]


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("sides", SHAPES)
def test_lowerings_agree(sides, k):
    x, kernel = normal(0, 2, *sides, 3), normal(1, k, k, 3, 4)
    expected = naive_convolution(x, kernel)
    # gamma_n |K| |x| bounds the rounding of either sum of n = 3 k^2 products.
    n = 3 * k * k
    tolerance = 2 * n * EPS * naive_convolution(np.abs(x), np.abs(kernel))
    for lowering in LOWERINGS:
        error = np.abs(np.asarray(jax.jit(lowering)(x, kernel)) - expected)
        assert (error <= tolerance).all(), lowering.__name__


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
