"""Inverses of many small matrices that need no pivots."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from lipjax.ops.contraction import contract


@jax.custom_vjp
def inverse(matrices: jax.Array) -> jax.Array:
    r"""The inverses of matrices whose Hermitian part is positive definite.

    .. math:: \bar A = -A^{-*} \bar B A^{-*}, \quad B = A^{-1}

    On a CPU by Gauss-Jordan elimination without pivots, in plain array operations:
    calls of LAPACK for batches of matrices wait for each other for ever when XLA runs
    several at a time (jaxlib 0.10). Elsewhere by `jax.numpy.linalg.inv`.

    Args:
      matrices: real or complex, of shape [..., n, n], with a positive definite
        Hermitian part: then no pivot is zero.

    Returns:
      Array of the same shape.

    References: Golub & Van Loan, Matrix computations, section 4.2: elimination without
    pivots, for matrices with a positive definite symmetric part.

    Example:
      >>> inverse(jnp.array([[2.0, 0.0], [1.0, 4.0]]))
      Array([[ 0.5  ,  0.   ],
             [-0.125,  0.25 ]], dtype=float32)
    """
    if matrices.shape[-1] == 1:
        return 1 / matrices
    return lax.platform_dependent(matrices, cpu=_eliminated, default=jnp.linalg.inv)


def _forward(matrices):
    found = inverse(matrices)
    return found, found


def _backward(found, cotangent):
    # JAX's convention: the cotangent is the conjugate of the gradient.
    transposed = found.swapaxes(-1, -2)
    product = contract("...ij,...jk->...ik", transposed, cotangent)
    return (-contract("...ij,...jk->...ik", product, transposed),)


inverse.defvjp(_forward, _backward)


def _eliminated(matrices: jax.Array) -> jax.Array:
    """By Gauss-Jordan elimination in place: a rank-1 update for each pivot."""
    size = matrices.shape[-1]

    def eliminate(k, a):
        here = jnp.arange(size) == k
        across = jnp.broadcast_to(here, (*a.shape[:-2], 1, size))
        down = across.swapaxes(-1, -2)
        column = lax.dynamic_index_in_dim(a, k, axis=-1, keepdims=True)
        row = lax.dynamic_index_in_dim(a, k, axis=-2, keepdims=True)
        pivot = lax.dynamic_index_in_dim(row, k, axis=-1, keepdims=True)
        row = jnp.where(across, 1, row) / pivot
        a = jnp.where(across, down.astype(a.dtype), a)
        return a - (column - down.astype(a.dtype)) * row

    return lax.fori_loop(0, size, eliminate, matrices)
