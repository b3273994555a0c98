"""Stride-1 convolution with zero padding, lowered in the way that suits its shape."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from lipjax.ops.contraction import PRECISION, contract

_LARGEST_SIDE_FOR_PRODUCTS = 4


def same_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    r"""Convolves (correlates) with stride 1 and zero padding.

    .. math:: y_{p} = \sum_{t} K_{t}^\top x_{p + t}, \quad x = 0 \text{ outside.}

    The lowering follows the shape alone: one matrix product for 1x1 images and 1x1
    kernels; on a CPU, a product per tap over the pixels which that tap really meets
    for images of up to 4x4 pixels, where XLA's own convolution falls below 1 GFLOP/s;
    the platform's convolution otherwise. All give the same numbers to rounding.

    Args:
      x: input of shape [..., height, width, channels_in].
      kernel: kernel of shape [k, k, channels_in, channels_out], k odd.

    Returns:
      Array of shape [..., height, width, channels_out].

    Raises:
      ValueError: if k is even, or the channels of `x` and `kernel` differ.

    Example:
      >>> import jax.numpy as jnp
      >>> same_convolution(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)))[0, :, :, 0]
      Array([[4., 6., 4.],
             [6., 9., 6.],
             [4., 6., 4.]], dtype=float32)
    """
    k = kernel.shape[0]
    if kernel.ndim != 4 or k != kernel.shape[1] or k % 2 == 0:
        raise ValueError(f"kernel must be [k, k, in, out] with k odd: {kernel.shape}")
    if x.ndim < 3 or x.shape[-1] != kernel.shape[2]:
        raise ValueError(f"kernel {kernel.shape} does not fit input {x.shape}")
    batch, spatial = x.shape[:-3], x.shape[-3:-1]
    y = _lowered(x.reshape(-1, *x.shape[-3:]), kernel)
    return y.reshape(*batch, *spatial, kernel.shape[-1])


def _lowered(x: jax.Array, kernel: jax.Array) -> jax.Array:
    side = max(x.shape[1:3])
    if kernel.shape[0] == 1 or side == 1:
        return products_of_views(x, kernel)
    if side > _LARGEST_SIDE_FOR_PRODUCTS:
        return platform_convolution(x, kernel)
    return lax.platform_dependent(
        x, kernel, cpu=products_of_views, default=platform_convolution
    )


def platform_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution as one XLA operation, x of shape [n, height, width, channels]."""
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=PRECISION,
    )


def products_of_views(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution as one matrix product per tap, over the pixels the tap meets."""
    height, width = x.shape[1:3]
    half = kernel.shape[0] // 2
    y = jnp.zeros((*x.shape[:-1], kernel.shape[-1]), x.dtype)
    for i in range(-min(half, height - 1), min(half, height - 1) + 1):
        for j in range(-min(half, width - 1), min(half, width - 1) + 1):
            (rows_in, rows_out), (cols_in, cols_out) = _meet(height, i), _meet(width, j)
            view = x[:, slice(*rows_in), slice(*cols_in)]
            tap = contract("nhwi,io->nhwo", view, kernel[half + i, half + j])
            margins = [
                (a, n - b) for (a, b), n in ((rows_out, height), (cols_out, width))
            ]
            y = y + jnp.pad(tap, ((0, 0), *margins, (0, 0)))
    return y


def _meet(size: int, shift: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Ranges of pixels read and written by a tap at `shift` on an axis."""
    low, high = max(shift, 0), size + min(shift, 0)
    return (low, high), (low - shift, high - shift)


def transpose_kernel(kernel: jax.Array) -> jax.Array:
    r"""Kernel of the adjoint convolution: both axes flipped, in and out swapped.

    Args:
      kernel: kernel of shape [k, k, a, b].

    Returns:
      Array of shape [k, k, b, a] whose convolution is the transpose of `kernel`'s.
    """
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)


def skew_kernel(kernel: jax.Array) -> jax.Array:
    r"""Kernel whose stride-1 convolution with zero padding has a skew Jacobian.

    .. math:: A = \tfrac12 (M - M^\top)

    Exactly skew in floating point: the two halves are rounded alike.

    Args:
      kernel: any kernel M of shape [k, k, c, c], k odd.

    Returns:
      Array A of the same shape with transpose_kernel(A) = -A.

    Raises:
      ValueError: if the two channel counts differ.

    References: Singla & Feizi, Skew Orthogonal Convolutions, ICML 2021, section 4.

    Example:
      >>> import jax
      >>> a = skew_kernel(jax.random.normal(jax.random.key(0), (3, 3, 4, 4)))
      >>> bool((transpose_kernel(a) == -a).all())
      True
    """
    if kernel.shape[2] != kernel.shape[3]:
        raise ValueError(
            f"a skew kernel needs as many channels in as out: {kernel.shape}"
        )
    return (kernel - transpose_kernel(kernel)) / 2
