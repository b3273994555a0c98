"""Convolution with circular padding: taps, and one matrix per frequency."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from lipjax.ops.contraction import contract
from lipjax.ops.convolution import check_shapes, same_convolution

_ROWS, _SIDES = (0, 1), (-3, -2)  # axes of the sides, in a kernel and in an image


def circular_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    r"""Convolves (correlates) with stride 1 on a torus.

    .. math:: y_{p} = \sum_{t} K_{t}^\top x_{(p + t) \bmod (h, w)}

    with t = 0 at the middle tap. A kernel may be larger than the image: its taps then
    wrap around more than once.

    Args:
      x: input of shape [..., height, width, channels_in].
      kernel: kernel of shape [k, k, channels_in, channels_out], k odd.

    Returns:
      Array of shape [..., height, width, channels_out].

    Raises:
      ValueError: if k is even, or the channels of `x` and `kernel` differ.

    Example:
      >>> x = jnp.arange(3.0).reshape(1, 1, 3, 1)
      >>> circular_convolution(x, jnp.ones((3, 3, 1, 1))).ravel()
      Array([9., 9., 9.], dtype=float32)
    """
    check_shapes(x, kernel)
    if max(x.shape[-3:-1]) == 1:
        kernel = kernel.sum((0, 1), keepdims=True)
    half = kernel.shape[0] // 2
    if half == 0:
        return same_convolution(x, kernel)
    margins = [(0, 0)] * (x.ndim - 3) + [(half, half)] * 2 + [(0, 0)]
    y = same_convolution(jnp.pad(x, margins, mode="wrap"), kernel)
    return y[..., half:-half, half:-half, :]


def kernel_symbols(kernel: jax.Array, height: int, width: int) -> jax.Array:
    r"""The circular convolution by a kernel as one matrix per frequency.

    .. math:: S_\omega = \sum_t e^{i \langle \omega, t \rangle} K_t, \quad
              \hat y_\omega = S_\omega^\top \hat x_\omega

    with t = 0 at tap (k - 1) // 2 of each axis, and the frequencies of `rfft2`. Taps
    that lie further apart than the image's sides are added up.

    Args:
      kernel: real, of shape [rows, columns, a, b].
      height: of the images.
      width: of the images.

    Returns:
      Complex array of shape [height, width // 2 + 1, a, b].

    Example, a shift by half the width:
      >>> kernel_symbols(jnp.array([0.0, 0, 1]).reshape(1, 3, 1, 1), 1, 2).real.ravel()
      Array([ 1., -1.], dtype=float32)
    """
    rows, columns = (
        (np.arange(taps) - (taps - 1) // 2) % side
        for taps, side in zip(kernel.shape[:2], (height, width), strict=True)
    )
    grid = jnp.zeros((height, width, *kernel.shape[2:]), kernel.dtype)
    grid = grid.at[rows[:, None], columns[None, :]].add(kernel)
    return jnp.conj(jnp.fft.rfft2(grid, axes=_ROWS))


def kernel_of_symbols(symbols: jax.Array, width: int) -> jax.Array:
    """The kernel, as large as the image, with the given matrices.

    Args:
      symbols: of shape [height, width // 2 + 1, a, b], as of `kernel_symbols`.
      width: of the images.

    Returns:
      Real array of shape [height, width, a, b]. Tap t has the offset t - side // 2.

    Example:
      >>> symbols = kernel_symbols(jnp.ones((1, 1, 1, 1)), 2, 2)
      >>> kernel_of_symbols(symbols, 2)[..., 0, 0]
      Array([[0., 0.],
             [0., 1.]], dtype=float32)
    """
    height = symbols.shape[0]
    taps = jnp.fft.irfft2(symbols, s=(height, width), axes=_ROWS)
    rows, columns = ((side // 2 - np.arange(side)) % side for side in (height, width))
    return taps[rows[:, None], columns[None, :]]


def image_frequencies(x: jax.Array) -> jax.Array:
    """`rfft2` of images [..., height, width, c]: [..., height, width // 2 + 1, c]."""
    return jnp.fft.rfft2(x, axes=_SIDES)


def image_of_frequencies(frequencies: jax.Array, width: int) -> jax.Array:
    """The images of the given width that `image_frequencies` maps to these."""
    sides = (frequencies.shape[-3], width)
    return jnp.fft.irfft2(frequencies, s=sides, axes=_SIDES)


def apply_symbols(x: jax.Array, symbols: jax.Array) -> jax.Array:
    """Applies one matrix per frequency to images.

    Args:
      x: images of shape [..., height, width, a].
      symbols: of shape [height, width // 2 + 1, a, b], as of `kernel_symbols`.

    Returns:
      Array of shape [..., height, width, b].

    Example:
      >>> symbols = kernel_symbols(jnp.full((1, 1, 1, 1), 2.0), 1, 2)
      >>> apply_symbols(jnp.array([[[1.0], [3.0]]]), symbols).ravel()
      Array([2., 6.], dtype=float32)
    """
    y = contract("...hwa,hwab->...hwb", image_frequencies(x), symbols)
    return image_of_frequencies(y, x.shape[-2])


def largest_entry_one(kernel: jax.Array) -> jax.Array:
    """A kernel divided by its largest entry in size, so that its norm cannot overflow.

    For functions that do not depend on the kernel's scale: it counts as a constant in
    their gradients. A zero kernel stays zero.
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(kernel)))
    return kernel / jnp.where(largest > 0, largest, jnp.ones_like(largest))
