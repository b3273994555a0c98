"""What an accelerator computes is what a CPU computes, shown on the CPU.

Several functions have a lowering for a CPU and one for all other platforms. Here the
others run on the CPU.
"""

import chex
import jax
import jax.numpy as jnp
import pytest

from helpers.dense import normal
from lipjax import ops
from lipjax.ops import conv_layout, convolution, norms
from lipjax.ops.exponential import GRADIENTS


@pytest.fixture(params=["cuda", "default"])
def elsewhere(monkeypatch, request):
    """Runs a function with the lowerings of another platform."""

    def lowered_elsewhere(*arguments, **branches):
        return branches.get(request.param, branches["default"])(*arguments)

    def run(function, *arguments):
        with monkeypatch.context() as context:
            context.setattr(jax.lax, "platform_dependent", lowered_elsewhere)
            return function(*arguments)

    return run


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize(("k", "side"), [(1, 1), (1, 4), (3, 1), (3, 2), (3, 5)])
def test_series(elsewhere, k, side, gradient):
    """Value and gradients; float64, sums in another order."""
    kernel = jnp.asarray(normal(0, k, k, 4, 4)) / (2 * k)
    x, g = (jnp.asarray(normal(seed, 2, side, side, 4)) for seed in (1, 2))

    def outputs(x, kernel, scale):
        def series(x, kernel, scale):
            return ops.skew_exponential(
                x,
                ops.skew_kernel(kernel),
                coefficients=ops.taylor(4),
                scale=scale,
                gradient=gradient,
            )

        y, pullback = jax.vjp(series, x, kernel, scale)
        return y, *pullback(g)

    arguments = (x, kernel, jnp.asarray(1.3))
    here, there = outputs(*arguments), elsewhere(outputs, *arguments)
    chex.assert_trees_all_close(there, here, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("k", "side"), [(3, 1), (3, 2), (3, 6), (5, 4)])
def test_reversed_convolution(k, side):
    kernel = ops.skew_kernel(jnp.asarray(normal(0, k, k, 3, 3)))
    x = jnp.asarray(normal(1, 2, side, side, 3))
    expected = convolution.platform_convolution(x, kernel)
    found = conv_layout.reversed_convolution(x, kernel)
    chex.assert_trees_all_close(found, expected, rtol=1e-12, atol=1e-13)


def test_only_skew_kernels_may_be_reversed():
    kernel, x = jnp.asarray(normal(0, 3, 3, 3, 3)), jnp.asarray(normal(1, 2, 4, 4, 3))
    expected = convolution.platform_convolution(x, kernel)
    found = conv_layout.reversed_convolution(x, kernel)
    assert jnp.abs(found - expected).max() > 0.1


@pytest.mark.parametrize("k", [1, 3])
def test_power_iterations(elsewhere, k):
    """Of the joined and of the unjoined unfoldings, here and elsewhere."""
    kernel = jnp.asarray(normal(0, k, k, 5, 5))
    for joined, unjoined in zip(
        ops.unfoldings(kernel), ops.unjoined(kernel), strict=True
    ):
        start = ops.random_vectors(jax.random.key(0), joined)
        chex.assert_trees_all_equal(
            start, ops.random_vectors(jax.random.key(0), unjoined)
        )

        def moved(matrix, start=start):
            vectors = ops.power_iteration(matrix, start, 3)
            return vectors, ops.singular_value_estimate(matrix, vectors)

        expected = moved(joined)
        for found in (moved(unjoined), elsewhere(moved, unjoined)):
            chex.assert_trees_all_close(found, expected, rtol=1e-12)


def test_products_of_narrow_matrices_are_computed_in_the_vectors_dtype():
    kernel = jnp.asarray(normal(0, 3, 3, 4, 4), jnp.bfloat16)
    wide = kernel.astype(jnp.float64)
    for narrow, exact in zip(ops.unjoined(kernel), ops.unjoined(wide), strict=True):
        u, v = ops.random_vectors(jax.random.key(0), exact)
        for product, vector in [
            (norms.product_of_blocks, v),
            (norms.row_sums, v),
            (norms.transpose_product_of_blocks, u),
            (norms.column_sums, u),
        ]:
            found = product(narrow, vector)
            assert found.dtype == vector.dtype
            chex.assert_trees_all_close(found, product(exact, vector), rtol=1e-12)
