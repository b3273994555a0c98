"""Convolution with circular padding: taps, and one matrix per frequency."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from lipjax.ops.contraction import contract
from lipjax.ops.convolution import check_shapes, same_convolution

Phases = NDArray[np.complex128]


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

    with t = 0 at tap (k - 1) // 2 of each axis, and the frequencies of `rfft2`: those
    that are left out have the conjugate matrices. Taps outside the image wrap around.

    Args:
      kernel: real, of shape [rows, columns, a, b].
      height: of the images.
      width: of the images.

    Returns:
      Array of shape [height, width // 2 + 1, a, b]: complex, but real if both sides
      are at most 2.

    Example, a shift by half the width:
      >>> kernel_symbols(jnp.array([0.0, 0, 1]).reshape(1, 3, 1, 1), 1, 2).ravel()
      Array([ 1., -1.], dtype=float32)
    """
    offsets = (np.arange(k) - (k - 1) // 2 for k in kernel.shape[:2])
    return _symbols_at(kernel, (height, width), offsets)


def symbols_of_kernel(kernel: jax.Array) -> jax.Array:
    """The matrices of a kernel as large as the image: see `kernel_of_symbols`.

    Example:
      >>> kernel = jnp.arange(6.0).reshape(2, 3, 1, 1)
      >>> kernel_of_symbols(symbols_of_kernel(kernel), 3).round().astype(int).ravel()
      Array([0, 1, 2, 3, 4, 5], dtype=int32)
    """
    height, width = kernel.shape[:2]
    return _symbols_at(kernel, (height, width), map(_offsets, (height, width)))


def kernel_of_symbols(symbols: jax.Array, width: int) -> jax.Array:
    """The kernel, as large as the image, with the given matrices.

    Args:
      symbols: of shape [height, width // 2 + 1, a, b], as of `kernel_symbols`.
      width: of the images.

    Returns:
      Real array of shape [height, width, a, b]. Tap t has the offset t - side // 2.

    Example:
      >>> symbols = kernel_symbols(jnp.ones((1, 1, 1, 1)), 2, 2)
      >>> kernel_of_symbols(symbols, 2)[..., 0, 0].astype(int)
      Array([[0, 0],
             [0, 1]], dtype=int32)
    """
    height = len(symbols)
    rows = _phases(height, _offsets(height), height).conj() / height
    columns = _phases(width, _offsets(width)).conj() * _shares(width)[:, None]
    symbols = jax.lax.complex(symbols.real, symbols.imag)
    dtype = symbols.dtype
    kernel = contract("uvab,ut->tvab", symbols, rows.astype(dtype))
    return contract("tvab,vs->tsab", kernel, columns.astype(dtype)).real


def apply_symbols(x: jax.Array, symbols: jax.Array) -> jax.Array:
    r"""Applies one matrix per frequency to images.

    .. math:: y = F^{-1} (S_\omega^\top (F x)_\omega)_\omega

    F is the discrete Fourier transform, by real matrix products along one axis after
    the other: images have few pixels, and products are what accelerators do best.

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
    height, width, channels = x.shape[-3:]
    images = x.reshape(-1, height, width, channels)
    product = functools.partial(contract, "uvna,uvab->uvnb")
    if _is_real(height, width):
        matrix = _real_transform(height, width).astype(x.dtype)
        z = product(contract("uvhw,nhwc->uvnc", matrix, images), symbols.real)
        y = contract("uvhw,uvnc->nhwc", matrix / (height * width), z)
        return y.reshape(*x.shape[:-1], y.shape[-1])
    real, imaginary = _transform(images)
    of_real, of_imaginary = symbols.real, symbols.imag
    y = _transform_back(
        product(real, of_real) - product(imaginary, of_imaginary),
        product(real, of_imaginary) + product(imaginary, of_real),
        width,
    )
    return y.reshape(*x.shape[:-1], y.shape[-1])


def _real_transform(height: int, width: int) -> np.ndarray:
    """The transform of images with sides of at most 2, [u, v, h, w], all real."""
    rows, columns = (_phases(n, np.arange(n)).real for n in (height, width))
    return np.einsum("uh,vw->uvhw", rows, columns)


def _transform(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Real and imaginary part, [height, width // 2 + 1, n, c], of [n, h, w, c]."""
    height, width = x.shape[1:3]
    columns = _phases(width, -np.arange(width))
    half = len(columns)
    matrix = np.concatenate([columns.real, columns.imag])
    x = contract("vw,nhwc->vhnc", matrix.astype(x.dtype), x)
    x = jnp.concatenate([x[:half], x[half:]], axis=1)  # [v, real and imaginary h, n, c]
    matrix = _rotation(_phases(height, -np.arange(height), height)).astype(x.dtype)
    x = contract("uh,vhnc->uvnc", matrix, x)
    return x[:height], x[height:]


def _transform_back(real: jax.Array, imaginary: jax.Array, width: int) -> jax.Array:
    """The images [n, height, width, c] of the parts that `_transform` gives."""
    height = len(real)
    x = jnp.concatenate([real, imaginary])
    matrix = _rotation(_phases(height, np.arange(height), height).T / height)
    x = contract("hu,uvnc->hvnc", matrix.astype(x.dtype), x)
    x = jnp.concatenate([x[:height], x[height:]], axis=1)
    columns = _phases(width, np.arange(width)) * _shares(width)[:, None]
    matrix = np.concatenate([columns.real, -columns.imag]).astype(x.dtype)
    return contract("vw,hvnc->nhwc", matrix, x)


def _symbols_at(
    kernel: jax.Array, sides: tuple[int, int], offsets: Iterable[np.ndarray]
) -> jax.Array:
    """The symbols of a kernel whose taps have the given offsets, by real products."""
    height, width = sides
    vertical, horizontal = offsets
    rows, columns = _phases(height, vertical, height), _phases(width, horizontal)
    if _is_real(*sides):
        spread = contract("ut,tsab->usab", rows.real.astype(kernel.dtype), kernel)
        return contract("vs,usab->uvab", columns.real.astype(kernel.dtype), spread)
    spread = [contract("ut,tsab->usab", part, kernel) for part in _parts(rows, kernel)]
    (rr, ri), (ir, ii) = (
        [contract("vs,usab->uvab", part, half) for part in _parts(columns, kernel)]
        for half in spread
    )
    return jax.lax.complex(rr - ii, ri + ir)


def _is_real(height: int, width: int) -> bool:
    """Whether all frequencies are their own opposite."""
    return max(height, width) <= 2


def _parts(phases: Phases, like: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    return phases.real.astype(like.dtype), phases.imag.astype(like.dtype)


def _rotation(phases: Phases) -> np.ndarray:
    """Multiplication by complex numbers, of stacked real and imaginary parts."""
    return np.block([[phases.real, -phases.imag], [phases.imag, phases.real]])


def _phases(side: int, offsets: np.ndarray, frequencies: int | None = None) -> Phases:
    """e^(2 pi i u t / side), frequencies u (those of `rfft` if None) by offsets t."""
    frequencies = side // 2 + 1 if frequencies is None else frequencies
    turns = np.outer(np.arange(frequencies), offsets) % side
    return np.exp(2j * np.pi * (turns / side))


def _offsets(side: int) -> np.ndarray:
    """Offsets of the taps of a kernel as large as the image."""
    return np.arange(side) - side // 2


def _shares(width: int) -> np.ndarray:
    """Weights of the frequencies of `rfft`, which stand for their conjugates too."""
    alone = 2 * np.arange(width // 2 + 1) % width == 0
    return np.where(alone, 1, 2) / width


def largest_entry_one(kernel: jax.Array) -> jax.Array:
    """A kernel divided by its largest entry in size, so that its norm cannot overflow.

    For functions that do not depend on the kernel's scale: it counts as a constant in
    their gradients. A zero kernel stays zero.
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(kernel)))
    return kernel / jnp.where(largest > 0, largest, jnp.ones_like(largest))
