"""Norms of a skew convolution: estimates by iteration, a bound by decomposition.

A skew kernel A of shape [k, k, c, c] unfolds into four matrices. Skewness makes the
other two the transposes of these up to signs and order, so two are enough:

- the square one, (channel out, tap row) x (channel in, tap column), of side c k;
- the wide one, channel out x (channel in, both taps), c x c k^2.

Theorem: ||J|| <= k min(||square||, ||wide||) for the Jacobian J of the convolution by A
on an image of any size (Singla & Feizi, Fantastic four, ICLR 2021).
"""

from __future__ import annotations

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lipjax.ops.contraction import contract

SingularVectors = tuple[jax.Array, jax.Array]
Array = TypeVar("Array", jax.Array, np.ndarray)


def unfoldings(kernel: Array) -> tuple[Array, Array]:
    """The square and the wide unfolding of a kernel.

    Args:
      kernel: kernel of shape [k, k, channels_in, channels_out].

    Returns:
      Matrices of shapes [c_out k, c_in k] and [c_out, c_in k^2], with rows and columns
      in the orders (out, row), (in, column) and (in, row, column).

    Example:
      >>> [m.shape for m in unfoldings(jnp.zeros((3, 3, 4, 4)))]
      [(12, 12), (4, 36)]
    """
    k, _, c_in, c_out = kernel.shape
    square = kernel.transpose(3, 0, 2, 1).reshape(c_out * k, c_in * k)
    wide = kernel.transpose(3, 2, 0, 1).reshape(c_out, c_in * k * k)
    return square, wide


def power_iteration(
    matrix: jax.Array, vectors: SingularVectors, steps: int
) -> SingularVectors:
    r"""Moves a pair of unit vectors towards the leading singular vectors.

    .. math:: u \leftarrow A v / \|A v\|, \quad v \leftarrow A^\top u / \|A^\top u\|

    Args:
      matrix: A of shape [m, n].
      vectors: u of shape [m] and v of shape [n].
      steps: how many steps.

    Returns:
      The new (u, v). No gradient flows through them.

    Example:
      >>> a = jnp.diag(jnp.array([3.0, 1.0]))
      >>> start = (jnp.ones(2) / 2**0.5, jnp.ones(2) / 2**0.5)
      >>> vectors = power_iteration(a, start, steps=20)
      >>> print(f"{singular_value_estimate(a, vectors):.4f}")
      3.0000
    """
    matrix = lax.stop_gradient(matrix)

    def step(_, pair: SingularVectors) -> SingularVectors:
        u = _unit(contract("mn,n->m", matrix, pair[1]), pair[0])
        return u, _unit(contract("mn,m->n", matrix, u), pair[1])

    return lax.fori_loop(0, steps, step, vectors)


def singular_value_estimate(matrix: jax.Array, vectors: SingularVectors) -> jax.Array:
    """The estimate u A v of the largest singular value: never above it, no bound.

    Args:
      matrix: A of shape [m, n].
      vectors: unit vectors u of shape [m] and v of shape [n], held fixed.

    Returns:
      A scalar, differentiable in `matrix`.
    """
    u, v = map(lax.stop_gradient, vectors)
    return contract("m,mn,n->", u, matrix, v)


def random_vectors(key: jax.Array, matrix: jax.Array) -> SingularVectors:
    """Random unit vectors to start `power_iteration` from."""
    rows, columns = matrix.shape
    uv = jax.random.normal(key, (rows + columns,), matrix.dtype)
    u, v = uv[:rows], uv[rows:]
    return u / jnp.linalg.norm(u), v / jnp.linalg.norm(v)


def unfolding_bound(kernel: np.ndarray | jax.Array) -> float:
    r"""Proven bound k sigma on the norm of the convolution by a skew kernel.

    sigma is the smaller norm of the two unfoldings, each the root of the largest
    eigenvalue of its Gram matrix, computed in float64 and enlarged by the worst
    rounding of product and eigenvalue routine.

    Args:
      kernel: skew kernel of shape [k, k, c, c].

    Returns:
      A float not below ||J|| for every image size.

    Raises:
      ValueError: if an entry is not finite.

    Guarantee: a bound for a kernel that is exactly skew, assuming IEEE float64 and a
    symmetric eigenvalue routine with backward error at most 100 n u ||G||.

    References: Singla & Feizi, Fantastic four, ICLR 2021, theorem 1.

    Example:
      >>> rotation = jnp.array([[0.0, 1.0], [-1.0, 0.0]]).reshape(1, 1, 2, 2)
      >>> 1 <= unfolding_bound(rotation) < 1 + 1e-12
      True
    """
    kernel = np.asarray(kernel, np.float64)
    if not np.isfinite(kernel).all():
        raise ValueError("the kernel has an entry that is not finite")
    # Scaled by a power of two, exactly, so that squares neither under- nor overflow.
    exponent = int(np.frexp(np.abs(kernel).max(initial=0))[1])
    scaled = np.ldexp(kernel, -exponent)
    bound = kernel.shape[0] * min(map(_spectral_norm_bound, unfoldings(scaled)))
    return float(np.ldexp(bound, exponent))


def _spectral_norm_bound(matrix: np.ndarray) -> float:
    """Root of a proven upper bound on the largest eigenvalue of A A^T."""
    unit = np.finfo(np.float64).eps / 2
    gram = matrix @ matrix.T
    product = (matrix.shape[1] + 2) * unit * float(np.sum(matrix**2))
    eigenvalue = float(np.linalg.eigvalsh(gram)[-1])
    slack = 100 * len(gram) * unit * (eigenvalue + product)
    return float(np.sqrt(eigenvalue + slack + 2 * product) * (1 + 8 * unit))


def _unit(vector: jax.Array, otherwise: jax.Array) -> jax.Array:
    """The vector scaled to norm 1, or `otherwise` where it is zero."""
    norm = jnp.linalg.norm(vector)
    return jnp.where(norm > 0, vector / jnp.where(norm > 0, norm, 1), otherwise)
