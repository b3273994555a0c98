"""Circular convolution, by taps and by frequencies, against its definition."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from helpers.dense import EPS, naive_circular, normal
from lipjax import ops
from lipjax.ops.circular import kernel_of_symbols

SIDES = [(4, 5), (2, 2), (1, 2), (1, 1)]
# Dot products of at most 25 taps of 3 channels, or transforms of 20 pixels, of numbers
# of size 1 whose sums are at most 30 in size.
ROUNDING = 30 * 75 * EPS


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("sides", SIDES)
def test_by_definition(k, sides):
    """Images smaller than the kernel included: taps wrap around more than once."""
    x, kernel = normal(0, 2, *sides, 3), normal(1, k, k, 3, 2)
    due = naive_circular(x, kernel)
    found = ops.circular_convolution(jnp.asarray(x), jnp.asarray(kernel))
    np.testing.assert_allclose(found, due, rtol=0, atol=ROUNDING)
    symbols = ops.kernel_symbols(jnp.asarray(kernel), *sides)
    found = ops.apply_symbols(jnp.asarray(x), symbols)
    np.testing.assert_allclose(found, due, rtol=0, atol=ROUNDING)
    full = np.asarray(kernel_of_symbols(symbols, sides[1]))
    assert full.shape == (*sides, 3, 2)
    np.testing.assert_allclose(naive_circular(x, full), due, rtol=0, atol=ROUNDING)


def test_an_even_kernel_has_its_middle_before():
    """As published: the offset of tap t is t - (k - 1) // 2, 0 for the first of 2."""
    kernel = jnp.zeros((2, 2, 1, 1)).at[0, 0].set(1.0)
    symbols = ops.kernel_symbols(kernel, 3, 4)
    x = normal(0, 1, 3, 4, 1)
    found = ops.apply_symbols(jnp.asarray(x), symbols)
    np.testing.assert_allclose(found, x, rtol=0, atol=ROUNDING)


def test_batches_of_any_rank():
    x, kernel = normal(0, 2, 3, 4, 4, 2), jnp.asarray(normal(1, 3, 3, 2, 2))
    due = naive_circular(x.reshape(6, 4, 4, 2), np.asarray(kernel)).reshape(x.shape)
    found = ops.circular_convolution(jnp.asarray(x), kernel)
    np.testing.assert_allclose(found, due, rtol=0, atol=ROUNDING)
    found = ops.circular_convolution(jnp.asarray(x[0, 0]), kernel)
    np.testing.assert_allclose(found, due[0, 0], rtol=0, atol=ROUNDING)


def test_gradients():
    x, kernel = jnp.asarray(normal(0, 2, 2, 3, 2)), jnp.asarray(normal(1, 3, 3, 2, 2))
    check_grads(ops.circular_convolution, (x, kernel), order=1, modes=["rev"])
    check_grads(
        lambda x, k: ops.apply_symbols(x, ops.kernel_symbols(k, 2, 3)),
        (x, kernel),
        order=1,
        modes=["rev"],
    )


def test_what_does_not_fit():
    with pytest.raises(ValueError, match="k odd"):
        ops.circular_convolution(jnp.zeros((1, 4, 4, 1)), jnp.zeros((2, 2, 1, 1)))
    with pytest.raises(ValueError, match="does not fit"):
        ops.circular_convolution(jnp.zeros((1, 4, 4, 1)), jnp.zeros((3, 3, 2, 1)))
