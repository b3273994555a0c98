"""Stride-1 convolution with zero padding, lowered in the way that suits its shape."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
from jax import lax

from lipjax.ops.contraction import PRECISION, contract

_LARGEST_OPERATOR = 2**22  # entries; beyond, its assembly costs more than it saves


def same_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    r"""Convolves (correlates) with stride 1 and zero padding.

    .. math:: y_{p} = \sum_{t} K_{t}^\top x_{p + t}, \quad x = 0 \text{ outside.}

    The lowering follows the shape: the middle tap's matrix product for 1x1 images; on
    a CPU, for other images smaller than the kernel, where XLA's own convolution falls
    to 1 GFLOP/s, one product by the dense operator, or over gathered views where that
    operator is large; the platform's convolution otherwise, with derivatives of our own
    on a CPU, where XLA's own are up to 300 times slower inside a loop. All give the
    same numbers to rounding.

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
    k, side = kernel.shape[0], max(x.shape[1:3])
    if side == 1:
        kernel = kernel[k // 2 :, k // 2 :][:1, :1]
    if kernel.shape[0] == 1:
        return product_of_views(x, kernel)
    on_cpu = looped_convolution if side >= k else _small_image_lowering(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=on_cpu, default=platform_convolution)


def _small_image_lowering(x: jax.Array, kernel: jax.Array):
    pixels = x.shape[1] * x.shape[2]
    entries = pixels**2 * kernel.shape[2] * kernel.shape[3]
    return product_by_operator if entries <= _LARGEST_OPERATOR else product_of_views


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


@jax.custom_jvp
def looped_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The platform's convolution, with derivatives that stay fast inside loops.

    On a CPU, XLA brings a convolution into the order of axes that its fast routine
    takes only outside loops and branches; in a training loop the convolutions that
    automatic differentiation asks for, whose axes are permuted, are naive ones.
    """
    return platform_convolution(x, kernel)


@functools.partial(looped_convolution.defjvp, symbolic_zeros=True)
def _looped_jvp(primals, tangents):
    (x, kernel), (dx, dkernel) = primals, tangents
    y = platform_convolution(x, kernel)
    dy = [] if _is_zero(dx) else [_by_adjoint(dx, transpose_kernel(kernel))]
    dy += [] if _is_zero(dkernel) else [product_of_taps(x, dkernel)]
    return y, functools.reduce(jnp.add, dy, jnp.zeros_like(y))


def _by_adjoint(x: jax.Array, adjoint: jax.Array) -> jax.Array:
    """The convolution by the adjoint's kernel; its transpose has the axes in order."""
    return lax.conv_general_dilated(
        x,
        jnp.flip(adjoint, (0, 1)),
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWOI", "NHWC"),
        precision=PRECISION,
    )


def product_of_taps(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution as a sum of one matrix product per tap."""
    k = kernel.shape[0]
    products = [
        contract("nhwi,io->nhwo", view, tap)
        for view, tap in zip(
            _views(x, k), kernel.reshape(k * k, *kernel.shape[2:]), strict=True
        )
    ]
    return functools.reduce(jnp.add, products)


def product_of_views(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution as one matrix product, after gathering every tap's view of x."""
    gathered = jnp.concatenate(_views(x, kernel.shape[0]), axis=-1)
    return contract("nhwi,io->nhwo", gathered, kernel.reshape(-1, kernel.shape[-1]))


def _is_zero(tangent: object) -> bool:
    return isinstance(tangent, jax.custom_derivatives.SymbolicZero)


def product_by_operator(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution as one matrix product by its dense operator."""
    n, height, width, _ = x.shape
    k, half = kernel.shape[0], kernel.shape[0] // 2
    zero = jnp.zeros_like(kernel[0, 0])
    pixels = list(itertools.product(range(height), range(width)))

    def block(source: tuple[int, int], target: tuple[int, int]) -> jax.Array:
        row, column = (s - t + half for s, t in zip(source, target, strict=True))
        inside = 0 <= row < k and 0 <= column < k
        return kernel[row, column] if inside else zero

    rows = [jnp.concatenate([block(s, t) for t in pixels], axis=1) for s in pixels]
    operator = jnp.concatenate(rows, axis=0)
    y = contract("ni,io->no", x.reshape(n, -1), operator)
    return y.reshape(n, height, width, -1)


def _views(x: jax.Array, k: int) -> list[jax.Array]:
    """What each of the k x k taps sees: x, shifted, zero outside."""
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    return [
        padded[:, i : i + height, j : j + width] for i in range(k) for j in range(k)
    ]


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
