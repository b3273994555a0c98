"""A linear layer as one matrix: what its numbers alone prove of it."""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from lipjax.certify.eigenvalues import largest_eigenvalue_bound
from lipjax.certify.layers import LayerBound, Numbers, Shape
from lipjax.certify.rounding import TINY, gamma, norm_bound, up
from lipjax.ops import contract

_TOLERANCE = 1e-6
"""Of a squared norm. The eigenvalues of P^T P lie within 1e-4 of each other where P is
orthogonal but for a polynomial: telling the largest by 1e-10 takes Lanczos' iteration
hundreds of products, by this, which is the rounding of a dozen float32 numbers, 40."""


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["matrix", "bias"],
    meta_fields=["sides"],
)
@dataclasses.dataclass(frozen=True)
class Dense:
    """x -> x P + bias, of all pixels' channels at once, row by row.

    Attributes:
      matrix: P, of shape [height width channels of the input, the same of the output].
      bias: of shape [channels out]; every pixel gets it.
      sides: height and width of the output.

    Example:
      >>> layer = Dense(np.array([[3.0, 0.0], [0.0, 2.0]]), np.zeros(1), (1, 2))
      >>> bound, shape = layer.bound((2, 1, 1))
      >>> shape, 3 <= bound.lipschitz < 3 + 1e-5
      ((1, 2, 1), True)
    """

    matrix: Numbers
    bias: Numbers
    sides: tuple[int, int]

    def __call__(self, x: jax.Array) -> jax.Array:
        flat = x.reshape(-1, math.prod(x.shape[-3:]))
        y = contract("ni,io->no", flat, self.matrix)
        y = y.reshape(*x.shape[:-3], *self.sides, len(self.bias))
        return y + jnp.expand_dims(self.bias, tuple(range(y.ndim - 1)))

    def bound(self, shape: Shape) -> tuple[LayerBound, Shape]:
        matrix = np.asarray(self.matrix, np.float64)
        norm, absolute = matrix_norm_bound(matrix), _absolute_norm_bound(matrix)
        # An output is a dot product with a column, and the bias.
        error = gamma(len(matrix) + 1)
        offset = norm_bound(np.asarray(self.bias)) * up(
            math.sqrt(math.prod(self.sides))
        )
        bound = LayerBound(
            lipschitz=norm,
            offset=up(offset),
            relative=up(error * absolute),
            absolute=up(error * offset) + TINY,
            evidence={"norm": norm, "absolute_norm": absolute},
        )
        return bound, (*self.sides, len(self.bias))


def matrix_norm_bound(matrix: np.ndarray) -> float:
    r"""Proven bound on the largest singular value of any matrix.

    .. math:: \|P\|^2 = \lambda_{\max}(P^\top P)

    of the smaller of P^T P and P P^T, whose rounded entries are wrong by at most
    gamma_n |P^T| |P|, so that their matrix is by at most gamma_n ||P||_F^2. Costs m^2 n
    products and a few Cholesky factorisations of side m <= n, and the memory of five
    more matrices of that side.

    Args:
      matrix: of shape [rows, columns].

    Returns:
      A float not below the norm, above it by about 5e-7 relative.

    Raises:
      ValueError: if an entry is not finite.

    Guarantee: see `largest_eigenvalue_bound`.

    Example:
      >>> 2 <= matrix_norm_bound(np.array([[2.0], [0.0], [0.0]])) < 2 + 1e-5
      True
    """
    matrix = np.asarray(matrix, np.float64)
    if not np.isfinite(matrix).all():
        raise ValueError("a matrix has an entry that is not finite")
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    gram = tall.T @ tall
    gram = (gram + gram.T) / 2
    error = up(gamma(len(tall) + 2) * norm_bound(matrix) ** 2) + TINY
    return up(math.sqrt(largest_eigenvalue_bound(gram, error, tolerance=_TOLERANCE)))


def _absolute_norm_bound(matrix: np.ndarray) -> float:
    """Bound on the norm of the matrix of absolute values.

    The root of the largest row sum times the largest column sum, or Frobenius' norm.
    """
    sizes = np.abs(matrix)
    sums = [
        float(sizes.sum(axis).max(initial=0)) * (1 + gamma(sizes.shape[axis]))
        for axis in (0, 1)
    ]
    return min(up(math.sqrt(up(sums[0] * sums[1]))), norm_bound(matrix)) + TINY
