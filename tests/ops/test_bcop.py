"""Block convolutions of orthogonal matrices: published kernels, and no expansion."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from helpers import golden
from helpers.dense import EPS, circular_matrix, naive_circular, normal, relative_error
from lipjax import ops

# Chains of at most 20 steps of products of at most 6 terms, on numbers of size 1.
ROUNDING = 20 * 6 * 4 * EPS


bcop_kernel = jax.jit(ops.bcop_kernel, static_argnames=("c_in", "c_out"))


def orthogonal(seed, *shape):
    return jnp.asarray(np.linalg.qr(normal(seed, *shape))[0])


def test_bjorck_finds_the_polar_factor():
    """Singular values of at least 0.1 of the bound are 1 after 20 steps."""
    u, v = orthogonal(0, 3, 5, 5), orthogonal(1, 3, 5, 5)
    sizes = np.linspace(0.5, 2, 5)
    found = ops.bjorck((u * sizes[None, None]) @ v)
    np.testing.assert_allclose(found, u @ v, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_bjorck_does_not_depend_on_the_scale(scale):
    matrices = orthogonal(0, 2, 4, 4)
    found = ops.bjorck(matrices * scale)
    np.testing.assert_allclose(found, matrices, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("steps", [0, 1, 3, 20])
def test_bjorck_has_singular_values_of_at_most_one(steps):
    """At any step, for singular matrices as well: what no expansion rests on."""
    matrices = normal(0, 4, 5, 5)
    matrices[1, 0] = matrices[1, 1]
    matrices[2] *= np.geomspace(1, 1e-9, 5)
    matrices[3] = 0
    norms = np.linalg.norm(ops.bjorck(jnp.asarray(matrices), steps), 2, axis=(1, 2))
    assert (norms <= 1 + ROUNDING).all()


CHANNELS = [(3, 3), (2, 5), (5, 2), (1, 1)]
DRAWS = {
    "random": lambda shape: normal(3, *shape),
    "zero": np.zeros,
    "huge": lambda shape: 1e200 * normal(4, *shape),
    "singular": lambda shape: np.ones(shape),
    "far apart": lambda shape: normal(5, *shape) * np.geomspace(1, 1e-8, shape[-1]),
}


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("channels", CHANNELS)
def test_the_convolution_does_not_expand(channels, k, draw):
    """Theorem: for any numbers, converged or not, on images of any size."""
    shape = (2 * k - 1, max(channels), max(channels))
    kernel = bcop_kernel(jnp.asarray(DRAWS[draw](shape)), *channels)
    assert kernel.shape == (k, k, *channels)
    for sides in [(4, 3), (2, 2), (1, 1)]:
        norm = np.linalg.norm(circular_matrix(kernel, *sides), 2)
        assert norm <= 1 + ROUNDING


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("channels", CHANNELS)
def test_the_convolution_is_orthogonal(channels, k):
    """Where the iteration converged, all singular values are 1."""
    matrices = orthogonal(6, 2 * k - 1, max(channels), max(channels))
    matrix = circular_matrix(bcop_kernel(2.5 * matrices, *channels), 4, 5)
    values = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(values, 1, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("name", ["bcop_k1", "bcop_same", "bcop_stride2"])
def test_published_kernels(name, shared):
    """Their iteration starts at random: 1e-3 is what the file promises of a kernel."""
    arrays = golden.load(shared(f"golden/{name}.npz"))
    effective = golden.hwio(arrays["effective_kernel"])
    c_in, c_out = effective.shape[2:]
    kernel = bcop_kernel(jnp.asarray(arrays["param/conv_matrices"]), c_in, c_out)
    assert relative_error(kernel, effective) < 1e-3
    assert relative_error(np.flip(kernel, 0), effective) > 1e-3 or len(kernel) == 1
    x = golden.nhwc(arrays["x"])
    x = np.asarray(ops.space_to_depth(jnp.asarray(x), int(arrays["stride"])))
    due = golden.nhwc(arrays["y"]) - arrays["param/bias"]
    found = ops.circular_convolution(jnp.asarray(x), jnp.asarray(effective))
    assert relative_error(found, due) < golden.FLOAT32
    assert relative_error(naive_circular(x, np.asarray(kernel)), due) < 1e-3


def test_gradients():
    matrices = orthogonal(7, 5, 3, 3) + 0.1 * jnp.asarray(normal(8, 5, 3, 3))
    for channels in [(3, 3), (3, 2)]:
        f = functools.partial(bcop_kernel, c_in=channels[0], c_out=channels[1])
        check_grads(f, (matrices,), order=1, modes=["rev"])


def test_matrices_of_another_shape():
    for shape in [(5, 3, 4), (4, 3, 3), (5, 2, 2)]:
        with pytest.raises(ValueError, match="matrices must be"):
            ops.bcop_kernel(jnp.zeros(shape), 3, 2)
