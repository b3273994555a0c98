"""Estimates of the norm of a skew convolution, by power iteration.

A skew kernel A of shape [k, k, c, c] unfolds into four matrices. Up to signs and order,
two of them are the transposes of the other two, so two are enough:

- the square one, (tap column, channel in) x (tap row, channel out), of side c k;
- the tall one, (both taps, channel in) x channel out, c k^2 x c.

A matrix is held here as blocks [b, m, n] that stand side by side, m x (b n): in this
form both unfoldings are the kernel's own numbers, in their order in memory. The rows m
may be several axes, of which `unfoldings` makes one and `unjoined` does not.

Theorem: ||J|| <= k min(||square||, ||tall||) for the Jacobian J of the convolution by A
on an image of any size (Singla & Feizi, Fantastic four, ICLR 2021). A bound of the
right-hand side is `lipjax.certify.unfolding_bound`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    """Returns the square and the tall unfolding of a kernel, as blocks.

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


def unjoined(kernel: Array) -> tuple[Array, Array]:
    """The same matrices as `unfoldings`, whose rows are two and three axes.

    Of a kernel with one tap, both are the same array.

    A GPU's compiler copies an array whose axes are joined, unless they happen to lie in
    that order in its memory.

    Args:
      kernel: kernel of shape [k, k, channels_in, channels_out].

    Returns:
      Arrays of shapes [k, k, c_in, c_out] and [1, k, k, c_in, c_out].

    Example:
      >>> [m.shape for m in unjoined(jnp.zeros((3, 3, 4, 5)))]
      [(3, 3, 4, 5), (1, 3, 3, 4, 5)]
      >>> square, tall = unjoined(jnp.zeros((1, 1, 4, 5)))
      >>> square is tall
      True
    """
    return kernel, kernel if len(kernel) == 1 else kernel[None]


def power_iteration(
    matrix: jax.Array, vectors: SingularVectors, steps: int
) -> SingularVectors:
    r"""Moves unit vectors towards the leading singular vectors.

    .. math:: v \leftarrow A^\top u / \|A^\top u\|, \quad u \leftarrow A v / \|A v\|

    Args:
      matrix: A, in blocks [b, m, n], where m may be several axes. It may be narrower
        than the vectors, in whose dtype products are computed.
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

    def step(_, vectors: SingularVectors) -> SingularVectors:
        u, v = vectors
        v = _unit(_transpose_product(matrix, u), v)
        return _unit(_product(matrix, v), u), v

    if steps == 1:  # no loop, so that the compiler sees what else uses A v
        return step(0, vectors)
    return lax.fori_loop(0, steps, step, vectors)


def power_step(
    matrices: Sequence[jax.Array], vectors: Sequence[SingularVectors]
) -> tuple[tuple[SingularVectors, ...], list[jax.Array]]:
    r"""One step of `power_iteration` for several matrices, and their estimates.

    .. math:: w = A^\top u, \quad z = A w, \quad v \leftarrow w / \|w\|, \quad
        u \leftarrow z / \|z\|, \quad u^\top A v = \|z\| / \|w\|

    No norm stands between the two products, and all norms are one sum: for a GPU a
    number is as much work as a vector.

    Args:
      matrices: as of `power_iteration`.
      vectors: u and v of each.

    Returns:
      The new (u, v) of each matrix, and the estimates of their largest singular values.
      No gradient flows through them.

    Example:
      >>> a = jnp.diag(jnp.array([3.0, 1.0]))[None]
      >>> start = (jnp.ones(2) / 2**0.5, jnp.ones((1, 2)) / 2**0.5)
      >>> ((u, v),), (estimate,) = power_step([a], [start])
      >>> print(f"{estimate:.4f} {singular_value_estimate(a, (u, v)):.4f}")
      2.8636 2.8636
    """
    if len(matrices) > 1 and all(m is matrices[0] and _is_joined(m) for m in matrices):
        longer = _of_one(lax.stop_gradient(matrices[0]), [u for u, _ in vectors])
    else:
        longer = []
        for matrix, (u, _) in zip(lax.stop_gradient(matrices), vectors, strict=True):
            w = _transpose_product(matrix, u)
            longer += [_product(matrix, w), w]
    norms = _norms(longer)
    olds = [old for pair in vectors for old in pair]
    each = zip(longer, norms, olds, strict=True)
    units = [_over(vector, norm, old) for vector, norm, old in each]
    pairs = zip(units[::2], units[1::2], strict=True)
    estimates = [_quotient(z, w) for z, w in zip(norms[::2], norms[1::2], strict=True)]
    return tuple(pairs), estimates


def _of_one(matrix: jax.Array, us: Sequence[jax.Array]) -> list[jax.Array]:
    """The products of `power_step` where all matrices are one of a single block."""
    block, u = _joined(matrix, us[0].dtype)[0], jnp.stack(us)
    w = contract("mn,rm->rn", block, u)
    z = contract("mn,rn->rm", block, w)
    return [row for n in range(len(us)) for row in (z[n], w[n : n + 1])]


def _norms(vectors: Sequence[jax.Array]) -> jax.Array:
    """The norms of some vectors, in one sum."""
    most = max(vector.size for vector in vectors)
    rows = [jnp.pad(v.ravel(), (0, most - v.size)) for v in vectors]
    return jnp.sqrt(jnp.sum(jnp.stack(rows) ** 2, axis=1))


def _quotient(a: jax.Array, b: jax.Array) -> jax.Array:
    """a / b, or 0 where b is 0."""
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)


def singular_value_estimate(matrix: jax.Array, vectors: Any) -> jax.Array:
    """The estimate u A v of the largest singular value, from below.

    Args:
      matrix: A, in blocks [b, m, n], as of `power_iteration`.
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

    The estimate is linear in the kernel. Its gradient R is the outer product of the
    vectors; among skew kernels it is (R - R^T) / 2, transposed as a convolution. It is
    computed from the vectors, without transposing an array of the kernel's size.

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


def _product(matrix: jax.Array, v: jax.Array) -> jax.Array:
    if _is_joined(matrix):
        return product_of_blocks(matrix, v)
    return lax.platform_dependent(matrix, v, cpu=product_of_blocks, default=row_sums)


def _transpose_product(matrix: jax.Array, u: jax.Array) -> jax.Array:
    if _is_joined(matrix):
        return transpose_product_of_blocks(matrix, u)
    return lax.platform_dependent(
        matrix, u, cpu=transpose_product_of_blocks, default=column_sums
    )


def _is_joined(matrix: jax.Array) -> bool:
    return math.prod(matrix.shape[1:-2]) == 1


# With the blocks' axis in front, both products run through memory in its order.
def product_of_blocks(matrix: jax.Array, v: jax.Array) -> jax.Array:
    """A v, as products of the blocks."""
    blocks = _joined(matrix, v.dtype)
    return jnp.sum(contract("bmn,bn->bm", blocks, v), axis=0)


def transpose_product_of_blocks(matrix: jax.Array, u: jax.Array) -> jax.Array:
    """The transpose of A times u, as products of the blocks."""
    blocks = _joined(matrix, u.dtype)
    return contract("bmn,bm->bn", blocks, jnp.broadcast_to(u, blocks.shape[:2]))


def _joined(matrix: jax.Array, dtype: Any) -> jax.Array:
    return matrix.reshape(len(matrix), -1, matrix.shape[-1]).astype(dtype)


# A GPU runs these as fast as it reads the matrix, whatever the order in memory. What is
# summed behind the barriers makes the first sums of both unfoldings alike: one pass.
def row_sums(matrix: jax.Array, v: jax.Array) -> jax.Array:
    """A v, as sums of the terms."""
    factors = v.reshape(len(v), *(1,) * (matrix.ndim - 2), -1)
    of_blocks = jnp.sum(matrix.astype(v.dtype) * factors, axis=-1)
    return jnp.sum(lax.optimization_barrier(of_blocks), axis=0).reshape(-1)


def column_sums(matrix: jax.Array, u: jax.Array) -> jax.Array:
    """The transpose of A times u, as sums of the terms."""
    terms = matrix.astype(u.dtype) * u.reshape(1, *matrix.shape[1:-1], 1)
    of_taps = jnp.sum(terms, axis=(-3, -2) if matrix.ndim > 3 else -2)
    rest = tuple(range(1, of_taps.ndim - 1))
    return jnp.sum(lax.optimization_barrier(of_taps), axis=rest) if rest else of_taps


def random_vectors(
    key: jax.Array, matrix: jax.Array, dtype: Any = None
) -> SingularVectors:
    """Random unit vectors from which to start `power_iteration`.

    Their dtype is the matrix's, unless one is given.
    """
    blocks, *rows, columns = matrix.shape
    left, right = jax.random.split(key)
    u = jax.random.normal(left, (math.prod(rows),), dtype or matrix.dtype)
    v = jax.random.normal(right, (blocks, columns), dtype or matrix.dtype)
    return _unit(u, u), _unit(v, v)


def _unit(vector: jax.Array, otherwise: jax.Array) -> jax.Array:
    """The vector scaled to norm 1, or `otherwise` where it is zero."""
    return _over(vector, jnp.sqrt(jnp.sum(vector**2)), otherwise)


def _over(vector: jax.Array, norm: jax.Array, otherwise: jax.Array) -> jax.Array:
    """The vector over its norm, or `otherwise` where that is zero."""
    return jnp.where(norm > 0, vector / jnp.where(norm > 0, norm, 1), otherwise)
