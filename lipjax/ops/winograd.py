r"""Convolution by a 3x3 kernel with a quarter of the products (Toom, Cook, Winograd).

Two polynomials are multiplied by n products of their values at n points, followed by a
linear map from values to coefficients. The transpose of this scheme is a filter: it
computes m outputs of 3 taps from m + 2 numbers x by n = m + 2 products,

.. math:: y = A \, [(G k) \odot (B x)]

along one axis, and likewise along both: 36 products for 4x4 outputs instead of 144.
Images of 2x2 pixels, surrounded by zeros, need 9 instead of 16.

In float32 the rounding errors are about three times those of the plain convolution.
Certificates are not computed this way: `lipjax.certify` uses plain products.

References: Winograd, Arithmetic complexity of computations, 1980; Lavin & Gray, CVPR
2016. The points, each with its reciprocal, are chosen for small rounding errors.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lipjax.ops.contraction import PRECISION, contract

_POINTS = (0, Fraction(2, 3), Fraction(-2, 3), Fraction(3, 2), Fraction(-3, 2))


class Filter(NamedTuple):
    """The matrices of m outputs of a filter with 3 taps by n products.

    Attributes:
      outputs: A, of shape [m, n].
      kernel: G, of shape [n, 3].
      inputs: B, of shape [n, m + 2].
    """

    outputs: np.ndarray
    kernel: np.ndarray
    inputs: np.ndarray


# (x0, x1) -> (a x0 + b x1, c x0 + a x1), with zeros on both sides, by the products
# a (x0 + x1), (b - a) x1 and (c - a) x0.
TWO = Filter(
    outputs=np.array([[1.0, 1, 0], [1, 0, 1]]),
    kernel=np.array([[0.0, 1, 0], [0, -1, 1], [1, -1, 0]]),
    inputs=np.array([[0.0, 1, 1, 0], [0, 0, 1, 0], [0, 1, 0, 0]]),
)


def toom_cook(points: Sequence[Fraction | int]) -> Filter:
    """The filter with 3 taps from the values at n - 1 points and at infinity.

    Args:
      points: n - 1 different numbers; the filter has m = n - 2 outputs.

    Returns:
      The matrices, computed in rational arithmetic and rounded once.

    Example:
      >>> f = toom_cook([0, 1, -1])
      >>> x, k = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 10.0, 100.0])
      >>> f.outputs @ ((f.kernel @ k) * (f.inputs @ x))
      array([321., 432.])
    """
    points = [Fraction(p) for p in points]
    n = len(points) + 1
    others = [[q for q in points if q != p] for p in points]
    scales = [
        _polynomial_at(_with_roots(o), p) for o, p in zip(others, points, strict=True)
    ]
    outputs = [[p**i for p in points] + [int(i == n - 3)] for i in range(n - 2)]
    kernel = [[p**i / s for i in range(3)] for p, s in zip(points, scales, strict=True)]
    inputs = [[*_with_roots(o), 0] for o in others]
    return Filter(
        np.array(outputs, np.float64),
        np.array([*kernel, [0, 0, 1]], np.float64),
        np.array([*inputs, _with_roots(points)], np.float64),
    )


def _with_roots(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients, lowest first, of the monic polynomial with these roots."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        scaled = [root * a for a in coefficients] + [Fraction(0)]
        coefficients = [a - b for a, b in zip(shifted, scaled, strict=True)]
    return coefficients


def _polynomial_at(coefficients: Sequence[Fraction], point: Fraction) -> Fraction:
    return sum((a * point**i for i, a in enumerate(coefficients)), Fraction(0))


FOUR = toom_cook(_POINTS)


def has_tiles(height: int, width: int) -> bool:
    """Whether images of these sides can be cut into tiles."""
    return height == width == 2 or height % 4 == width % 4 == 0


def to_tiles(x: jax.Array) -> jax.Array:
    """Sorts pixels by their place in a tile: [n, h, w, c] -> [m, m, n, h/m, w/m, c].

    Args:
      x: images with `has_tiles`; m is 2 for 2x2 images, else 4.

    Returns:
      The same numbers, so ordered that a convolution adds whole planes.
    """
    m, _, n, down, across, channels = tiles_shape(x.shape)
    x = x.reshape(n, down, m, across, m, channels)
    return x.transpose(2, 4, 0, 1, 3, 5)


def tiles_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of the tiles of images [n, h, w, c]."""
    n, height, width, channels = shape
    m = 2 if height == 2 else 4
    return m, m, n, height // m, width // m, channels


def from_tiles(tiles: jax.Array) -> jax.Array:
    """The images that `to_tiles` cut."""
    m, _, n, down, across, channels = tiles.shape
    x = tiles.transpose(2, 3, 0, 4, 1, 5)
    return x.reshape(n, down * m, across * m, channels)


def convolve_tiles(tiles: jax.Array, kernel: jax.Array) -> jax.Array:
    """The stride-1 convolution with zero padding of images in tiles, up to rounding.

    Args:
      tiles: of shape [m, m, n, h / m, w / m, channels_in], see `to_tiles`.
      kernel: of shape [3, 3, channels_in, channels_out].

    Returns:
      Tiles of shape [m, m, n, h / m, w / m, channels_out].

    Example:
      >>> x, kernel = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1))
      >>> y = from_tiles(convolve_tiles(to_tiles(x), kernel))
      >>> print(y[0, :, :, 0].round(4))
      [[4. 6. 6. 4.]
       [6. 9. 9. 6.]
       [6. 9. 9. 6.]
       [4. 6. 6. 4.]]
    """
    scheme = _scheme(len(tiles))
    products = lax.dot_general(
        _transformed_inputs(scheme, tiles),
        _transformed_kernel(scheme.kernel, kernel),
        (((2,), (1,)), ((0,), (0,))),
        precision=PRECISION,
    )
    both = _along_both_axes(scheme.outputs, products.reshape(len(products), -1))
    return both.reshape(*tiles.shape[:-1], kernel.shape[-1])


def winograd_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution by tiles of images [n, h, w, c] with `has_tiles`."""
    return from_tiles(convolve_tiles(to_tiles(x), kernel))


def convolve_single_tiles(tiles: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution by a skew kernel of images that are one tile each.

    Small images come with large kernels, and products with these are faster from the
    left, if the kernel's rows are contiguous. For a skew kernel they are, since its
    convolution is minus the transposed one.

    Args:
      tiles: of shape [m, m, c, n], m = 2 or 4.
      kernel: skew, of shape [3, 3, c, c].

    Returns:
      Array shaped like `tiles`.
    """
    scheme = _scheme(len(tiles))
    inner = scheme.inputs[:, 1:-1]  # around the tile are zeros
    inputs = _along_both_axes(inner, tiles.reshape(len(tiles) ** 2, -1))
    adjoint = _transformed_kernel(scheme.kernel[:, ::-1], kernel)
    products = lax.dot_general(
        adjoint,
        inputs.reshape(len(adjoint), *tiles.shape[2:]),
        (((2,), (1,)), ((0,), (0,))),
        precision=PRECISION,
    )
    both = _along_both_axes(scheme.outputs, products.reshape(len(products), -1))
    return -both.reshape(tiles.shape)


def _scheme(m: int) -> Filter:
    return TWO if m == 2 else FOUR


def _along_both_axes(matrix: np.ndarray, planes: jax.Array) -> jax.Array:
    """Applies a matrix along both axes of pixels: [n^2, k] -> [m^2, k]."""
    both = np.kron(matrix, matrix).astype(planes.dtype)
    return contract("qp,pk->qk", both, planes)


def _transformed_kernel(matrix: np.ndarray, kernel: jax.Array) -> jax.Array:
    """(G k) along both axes: [3, 3, i, o] -> [n^2, i, o]."""
    flat = _along_both_axes(matrix, kernel.reshape(9, -1))
    return flat.reshape(len(flat), *kernel.shape[2:])


def _transformed_inputs(scheme: Filter, tiles: jax.Array) -> jax.Array:
    """(B x) along both axes: [m, m, n, h / m, w / m, c] -> [n^2, tiles, c]."""
    m, channels = len(tiles), tiles.shape[-1]
    rows = [_moved(tiles[-1], 2, 1), *tiles, _moved(tiles[0], 2, -1)]
    summed = _combined(scheme.inputs, rows, axis=0)
    columns = [summed[:, j] for j in range(m)]
    columns = [_moved(columns[-1], 3, 1), *columns, _moved(columns[0], 3, -1)]
    both = _combined(scheme.inputs, columns, axis=1)
    return both.reshape(len(scheme.inputs) ** 2, -1, channels)


def _moved(plane: jax.Array, axis: int, step: int) -> jax.Array:
    """Shifts a plane along an axis by 1 or -1, and fills with zeros."""
    zero = jnp.zeros_like(lax.slice_in_dim(plane, 0, 1, axis=axis))
    size = plane.shape[axis]
    if step > 0:
        kept = lax.slice_in_dim(plane, 0, size - 1, axis=axis)
        return jnp.concatenate([zero, kept], axis)
    kept = lax.slice_in_dim(plane, 1, size, axis=axis)
    return jnp.concatenate([kept, zero], axis)


def _combined(matrix: np.ndarray, parts: list[jax.Array], axis: int) -> jax.Array:
    """The sums of the parts, weighted by each row of a matrix, stacked."""
    return jnp.stack([_sum(row, parts) for row in matrix], axis)


def _sum(weights: np.ndarray, parts: list[jax.Array]) -> jax.Array:
    terms = [
        part if weight == 1 else jnp.asarray(weight, part.dtype) * part
        for weight, part in zip(weights, parts, strict=True)
        if weight != 0
    ]
    return functools.reduce(jnp.add, terms)
