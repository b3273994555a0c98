"""Norms of a skew convolution: estimates by iteration, a bound by decomposition.

A skew kernel A of shape [k, k, c, c] unfolds into four matrices. Skewness makes the
other two the transposes of these up to signs and order, so two are enough:

- the square one, (tap column, channel in) x (tap row, channel out), of side c k;
- the tall one, (both taps, channel in) x channel out, c k^2 x c.

A matrix is held here as blocks [b, m, n] that stand side by side, m x (b n): in this
form both unfoldings are the kernel's own numbers, in their order in memory.

Theorem: ||J|| <= k min(||square||, ||tall||) for the Jacobian J of the convolution by A
on an image of any size (Singla & Feizi, Fantastic four, ICLR 2021).
"""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lipjax.ops.contraction import PRECISION, contract
from lipjax.ops.convolution import transpose_kernel

SingularVectors = tuple[jax.Array, jax.Array]
Array = TypeVar("Array", jax.Array, np.ndarray)


def unfoldings(kernel: Array) -> tuple[Array, Array]:
    """The square and the tall unfolding of a kernel, as blocks.

    Args:
      kernel: kernel of shape [k, k, channels_in, channels_out].

    Returns:
      Arrays of shapes [k, k c_in, c_out] and [1, k^2 c_in, c_out].

    Example:
      >>> [m.shape for m in unfoldings(jnp.zeros((3, 3, 4, 5)))]
      [(3, 12, 5), (1, 36, 5)]
    """
    k, _, c_in, c_out = kernel.shape
    return kernel.reshape(k, k * c_in, c_out), kernel.reshape(1, k * k * c_in, c_out)


def power_iteration(
    matrix: jax.Array, vectors: SingularVectors, steps: int
) -> SingularVectors:
    r"""Moves a pair of unit vectors towards the leading singular vectors.

    .. math:: v \leftarrow A^\top u / \|A^\top u\|, \quad u \leftarrow A v / \|A v\|

    Args:
      matrix: A, in blocks [b, m, n].
      vectors: u of shape [m] and v of shape [b, n].
      steps: how many steps.

    Returns:
      The new (u, v). No gradient flows through them.

    Example:
      >>> a = jnp.diag(jnp.array([3.0, 1.0]))[None]
      >>> start = (jnp.ones(2) / 2**0.5, jnp.ones((1, 2)) / 2**0.5)
      >>> vectors = power_iteration(a, start, steps=20)
      >>> print(f"{singular_value_estimate(a, vectors):.4f}")
      3.0000
    """
    matrix = lax.stop_gradient(matrix)

    def step(_, pair: SingularVectors) -> SingularVectors:
        v = _unit(_transpose_product(matrix, pair[0]), pair[1])
        return _unit(_product(matrix, v), pair[0]), v

    if steps == 1:  # no loop, so that the compiler sees what else uses A v
        return step(0, vectors)
    return lax.fori_loop(0, steps, step, vectors)


def singular_value_estimate(matrix: jax.Array, vectors: Any) -> jax.Array:
    """The estimate u A v of the largest singular value: never above it, no bound.

    Args:
      matrix: A, in blocks [b, m, n].
      vectors: unit vectors u of shape [m] and v of shape [b, n], held fixed.

    Returns:
      A scalar, differentiable in `matrix`.
    """
    u, v = map(lax.stop_gradient, vectors)
    return jnp.vdot(u, _product(matrix, v), precision=PRECISION)


def skew_estimate_gradients(
    vectors: tuple[SingularVectors, SingularVectors],
) -> tuple[jax.Array, jax.Array]:
    r"""Gradients of both unfoldings' estimates among skew kernels.

    The estimate is linear in the kernel, with the product of both vectors as its
    gradient R; among skew kernels, (R - R^T) / 2, transposed as a convolution. Given
    the vectors it takes no transposition of a kernel.

    Args:
      vectors: (u, v) of the square and of the tall unfolding, see `unfoldings`, of
        shapes [k c], [k, c] and [k^2 c], [1, c].

    Returns:
      Two skew arrays of shape [k, k, c, c].

    Example:
      >>> vectors = [(jnp.ones(6), jnp.ones((3, 2))), (jnp.ones(18), jnp.ones((1, 2)))]
      >>> [d.shape for d in skew_estimate_gradients(vectors)]
      [(3, 3, 2, 2), (3, 3, 2, 2)]
    """
    (u, v), (p, q) = vectors
    k, c = v.shape
    return (
        _skew_product(u.reshape(1, k, c, 1), v.reshape(k, 1, 1, c)),
        _skew_product(p.reshape(k, k, c, 1), q.reshape(1, 1, 1, c)),
    )


def _skew_product(a: jax.Array, b: jax.Array) -> jax.Array:
    return (a * b - transpose_kernel(a) * transpose_kernel(b)) / 2


# With the blocks' axis in front, both products run through memory in its order.
def _product(matrix: jax.Array, v: jax.Array) -> jax.Array:
    return jnp.sum(contract("bmn,bn->bm", matrix, v), axis=0)


def _transpose_product(matrix: jax.Array, u: jax.Array) -> jax.Array:
    return contract("bmn,bm->bn", matrix, jnp.broadcast_to(u, matrix.shape[:2]))


def random_vectors(key: jax.Array, matrix: jax.Array) -> SingularVectors:
    """Random unit vectors to start `power_iteration` from."""
    blocks, rows, columns = matrix.shape
    left, right = jax.random.split(key)
    u = jax.random.normal(left, (rows,), matrix.dtype)
    v = jax.random.normal(right, (blocks, columns), matrix.dtype)
    return _unit(u, u), _unit(v, v)


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


def _spectral_norm_bound(blocks: np.ndarray) -> float:
    """Root of a proven upper bound on the largest eigenvalue of A^T A."""
    unit = np.finfo(np.float64).eps / 2
    matrix = np.concatenate(list(blocks), axis=1)
    gram = matrix.T @ matrix
    product = (len(matrix) + 2) * unit * float(np.sum(matrix**2))
    eigenvalue = float(np.linalg.eigvalsh(gram)[-1])
    slack = 100 * len(gram) * unit * (eigenvalue + product)
    return float(np.sqrt(eigenvalue + slack + 2 * product) * (1 + 8 * unit))


def _unit(vector: jax.Array, otherwise: jax.Array) -> jax.Array:
    """The vector scaled to norm 1, or `otherwise` where it is zero."""
    norm = jnp.sqrt(jnp.sum(vector**2))
    return jnp.where(norm > 0, vector / jnp.where(norm > 0, norm, 1), otherwise)
