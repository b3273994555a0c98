"""Block reflectors never expand, for any kernel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from helpers.dense import EPS, circular_matrix, naive_circular, normal, relative_error
from lipjax import ops
from lipjax.ops.reflector import RIDGE

# Transforms of 20 pixels and products of 6 terms. The inverse applied to V* is at most
# RIDGE^-1/2 / 2, and its error at most that times the condition number of 1e6.
ROUNDING = 20 * 6 * EPS
SOLVED = 1e6 * 6 * EPS

reflector_kernel = jax.jit(ops.reflector_kernel, static_argnums=(1, 2))
reflector_convolution = jax.jit(ops.reflector_convolution)

KERNELS = {
    "random": lambda shape: normal(3, *shape),
    "zero": np.zeros,
    "huge": lambda shape: 1e200 * normal(4, *shape),
    "tiny": lambda shape: 1e-200 * normal(5, *shape),
    "equal columns": np.ones,
    "far apart": lambda shape: normal(6, *shape) * np.geomspace(1, 1e-8, shape[-1]),
}
SHAPES = [(3, 4, 2), (1, 4, 2), (3, 1, 1), (5, 3, 1)]


@pytest.mark.parametrize("draw", KERNELS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_convolution_does_not_expand(shape, draw):
    """Theorem: symmetric, with eigenvalues in (-1, 1], for any kernel."""
    k, c, rank = shape
    kernel = jnp.asarray(KERNELS[draw]((k, k, c, rank)))
    for sides in [(4, 5), (2, 2), (1, 1)]:
        matrix = circular_matrix(reflector_kernel(kernel, *sides), *sides)
        np.testing.assert_allclose(matrix, matrix.T, rtol=0, atol=SOLVED)
        eigenvalues = np.linalg.eigvalsh(matrix)
        assert abs(eigenvalues).max() <= 1 + ROUNDING
        if draw == "zero":
            np.testing.assert_allclose(eigenvalues, 1, rtol=0, atol=ROUNDING)


def test_a_random_kernel_reflects_half_of_the_space():
    """It loses little of the norm: delta over the smallest eigenvalue of V* V."""
    kernel = jnp.asarray(normal(0, 3, 3, 8, 4))
    matrix = circular_matrix(reflector_kernel(kernel, 4, 4), 4, 4)
    eigenvalues = np.linalg.eigvalsh(matrix)
    assert (eigenvalues < 0).sum() == (eigenvalues > 0).sum() == 64
    assert abs(eigenvalues).min() > 0.9
    assert np.median(abs(eigenvalues)) > 1 - 4 * RIDGE


@pytest.mark.parametrize("sides", [(4, 5), (2, 2), (1, 1)])
def test_the_kernel_is_the_layer(sides):
    x, kernel = normal(0, 2, *sides, 4), jnp.asarray(normal(1, 3, 3, 4, 2))
    y = reflector_convolution(jnp.asarray(x), kernel)
    full = np.asarray(reflector_kernel(kernel, *sides))
    assert relative_error(y, naive_circular(x, full)) < SOLVED


def test_the_scale_of_the_kernel_makes_no_difference():
    x, kernel = jnp.asarray(normal(0, 1, 3, 3, 4)), jnp.asarray(normal(1, 3, 3, 4, 2))
    y = reflector_convolution(x, kernel)
    again = reflector_convolution(x, 1e100 * kernel)
    assert relative_error(again, y) < SOLVED


def test_gradients():
    x, kernel = jnp.asarray(normal(0, 1, 2, 3, 4)), jnp.asarray(normal(1, 3, 3, 4, 2))
    check_grads(reflector_convolution, (x, kernel), order=1, modes=["rev"])
    gradient = jax.grad(lambda k: jnp.sum(reflector_convolution(x, k) ** 2))
    np.testing.assert_array_equal(gradient(jnp.zeros_like(kernel)), 0)


def test_float32_agrees():
    """Condition numbers up to 1e5 cost float32 (eps 1e-7) at most two digits here."""
    x, kernel = normal(0, 2, 4, 4, 8), normal(1, 3, 3, 8, 4)
    y = reflector_convolution(jnp.asarray(x), jnp.asarray(kernel))
    single = (jnp.asarray(a, jnp.float32) for a in (x, kernel))
    found = reflector_convolution(*single)
    assert found.dtype == jnp.float32
    assert relative_error(found, y) < 1e-4
