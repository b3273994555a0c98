"""Inverses without pivots, against those of NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from helpers.dense import EPS, normal
from lipjax.ops.inverse import inverse


def matrices(n, kind):
    """Of a positive definite Hermitian part, with condition numbers below 1e3."""
    a = normal(0, 5, n, n) + (1j * normal(1, 5, n, n) if kind == "complex" else 0)
    adjoint = np.conj(a).swapaxes(-1, -2)
    return 0.1 * np.eye(n) + a @ adjoint / n + (a - adjoint) / 2


@pytest.mark.parametrize("kind", ["real", "complex"])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_inverses(n, kind):
    a = matrices(n, kind)
    found = jax.jit(inverse)(jnp.asarray(a))
    # Errors grow with the condition number.
    np.testing.assert_allclose(found, np.linalg.inv(a), rtol=0, atol=1e6 * EPS)
    single = inverse(jnp.asarray(a[0], np.result_type(a.dtype, np.float16)))
    assert single.shape == (n, n)


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_gradients(kind):
    check_grads(inverse, (jnp.asarray(matrices(3, kind)),), order=1, modes=["rev"])
