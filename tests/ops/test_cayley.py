"""Cayley convolutions: the published numbers, and orthogonality for any kernel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from helpers import golden
from helpers.dense import EPS, circular_matrix, naive_circular, normal, relative_error
from lipjax import ops

# Transforms of 20 pixels, and one inverse of a matrix of at most 5 rows whose hermitian
# part is at least I, so that rounding is amplified by at most its own norm.
ROUNDING = 20 * 5 * EPS

cayley_kernel = jax.jit(ops.cayley_kernel, static_argnums=(2, 3))
cayley_convolution = jax.jit(ops.cayley_convolution)

CHANNELS = [(3, 3), (2, 5), (5, 2), (1, 1)]
DRAWS = {
    "random": lambda shape: normal(3, *shape),
    "zero": np.zeros,
    "huge": lambda shape: 1e200 * normal(4, *shape),
}


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("channels", CHANNELS)
def test_the_convolution_is_orthogonal(channels, k, draw):
    """Theorem: all singular values are 1, for any kernel."""
    kernel = jnp.asarray(DRAWS[draw]((k, k, *channels)))
    for sides in [(4, 5), (2, 2)]:
        full = cayley_kernel(kernel, jnp.array(7.0), *sides)
        values = np.linalg.svd(circular_matrix(full, *sides), compute_uv=False)
        np.testing.assert_allclose(values, 1, rtol=0, atol=10 * ROUNDING)


@pytest.mark.parametrize("channels", CHANNELS)
def test_the_kernel_is_the_layer(channels):
    x, kernel = normal(0, 2, 4, 5, channels[0]), jnp.asarray(normal(1, 3, 3, *channels))
    alpha = jnp.array(5.0)
    y = cayley_convolution(jnp.asarray(x), kernel, alpha)
    full = np.asarray(cayley_kernel(kernel, alpha, 4, 5))
    assert relative_error(y, naive_circular(x, full)) < ROUNDING


@pytest.mark.parametrize("name", ["cayley_same", "cayley_expand", "cayley_stride2"])
def test_published_numbers(name, shared):
    arrays = golden.load(shared(f"golden/{name}.npz"))
    x = jnp.asarray(golden.nhwc(arrays["x"]))
    x = ops.space_to_depth(x, int(arrays["stride"]))
    params = golden.cayley_params(arrays)
    due = golden.nhwc(arrays["y"]) - params["bias"]

    def error(kernel, alpha):
        y = cayley_convolution(x, jnp.asarray(kernel), jnp.asarray(alpha))
        return relative_error(y, due)

    assert error(params["kernel"], params["alpha"]) < golden.FLOAT32
    assert error(params["kernel"], params["alpha"] / 2) > 1e-2
    assert error(-params["kernel"], params["alpha"]) > 1e-2


def test_the_norm_leaves_the_scale():
    """With it the matrices are those of the kernel as it stands."""
    kernel = jnp.asarray(normal(0, 1, 1, 3, 3))
    alpha = ops.cayley_norm(kernel, 4, 4)
    full = cayley_kernel(kernel, alpha, 4, 4)
    w = np.asarray(kernel[0, 0].T)
    skew = w - w.T
    due = np.linalg.solve(np.eye(3) + skew, np.eye(3) - skew)
    np.testing.assert_allclose(full[2, 2].T, due, rtol=0, atol=ROUNDING)


def test_gradients():
    x = jnp.asarray(normal(0, 1, 2, 3, 2))
    alpha = jnp.array(3.0)
    for channels in [(2, 2), (2, 3), (2, 1)]:
        kernel = jnp.asarray(normal(1, 3, 3, *channels))
        check_grads(
            jax.jit(ops.cayley_convolution), (x, kernel, alpha), order=1, modes=["rev"]
        )
    zero = jnp.zeros((3, 3, 2, 2))
    total = lambda *a: jnp.sum(cayley_convolution(*a))  # noqa: E731
    grads = jax.jit(jax.grad(total, (0, 1, 2)))(x, zero, alpha)
    grads += (jax.jit(jax.grad(lambda k: ops.cayley_norm(k, 2, 3)))(zero),)
    assert all(np.isfinite(g).all() for g in grads)
