"""A linear layer as one matrix, and what is proven of it."""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from lipjax.certify.eigenvalues import matrix_norm_bound
from lipjax.certify.layers import LayerBound, Numbers, Shape
from lipjax.certify.rounding import TINY, gamma, norm_bound, up
from lipjax.ops import contract


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["matrix", "bias"],
    meta_fields=["sides"],
)
@dataclasses.dataclass(frozen=True)
class Dense:
    """x -> x P + bias, x all pixels' channels, row by row.

    Attributes:
      matrix: P, of shape [height width channels of the input, the same of the output].
      bias: of shape [channels out], the same for every pixel.
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
            inside=1.0,
        )
        return bound, (*self.sides, len(self.bias))


def _absolute_norm_bound(matrix: np.ndarray) -> float:
    """Bound on the norm of the matrix of absolute values.

    It is the smaller of the Frobenius norm and the root of the largest row sum times
    the largest column sum.
    """
    sizes = np.abs(matrix)
    sums = [
        float(sizes.sum(axis).max(initial=0)) * (1 + gamma(sizes.shape[axis]))
        for axis in (0, 1)
    ]
    return min(up(math.sqrt(up(sums[0] * sums[1]))), norm_bound(matrix)) + TINY
