"""Stride-1 convolution with zero padding, lowered in the way that suits its shape."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from lipjax.ops.contraction import PRECISION, contract
from lipjax.ops.fusion import fusion_barrier
from lipjax.ops.winograd import has_tiles, winograd_convolution

_TILE_CHANNELS = 32  # from which fewer products outweigh the sums around them
_LARGE = 512  # channels above which rows are padded before a transposition
_PADDING = 8


def same_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    r"""Convolves (correlates) with stride 1 and zero padding.

    .. math:: y_{p} = \sum_{t} K_{t}^\top x_{p + t}, \quad x = 0 \text{ outside.}

    The lowering follows the shape: the middle tap's matrix product for 1x1 images; on
    a CPU `lipjax.ops.winograd` for many channels, one product over gathered views for
    images smaller than the kernel, where XLA's own convolution falls to 1 GFLOP/s, and
    otherwise the platform's convolution with derivatives of our own, where XLA's are up
    to 300 times slower inside a loop; the platform's convolution elsewhere. All give
    the same numbers to rounding.

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
    check_shapes(x, kernel)
    flat = x.reshape(-1, *x.shape[-3:])
    if has_products_in_tiles(flat, kernel):
        y = lax.platform_dependent(
            flat, kernel, cpu=winograd_convolution, default=platform_convolution
        )
    else:
        y = lowered(flat, kernel)
    return y.reshape(*x.shape[:-1], kernel.shape[-1])


def check_shapes(x: jax.Array, kernel: jax.Array) -> None:
    """Raises ValueError if k is even, or channels differ."""
    k = kernel.shape[0]
    if kernel.ndim != 4 or k != kernel.shape[1] or k % 2 == 0:
        raise ValueError(f"kernel must be [k, k, in, out] with k odd: {kernel.shape}")
    if x.ndim < 3 or x.shape[-1] != kernel.shape[2]:
        raise ValueError(f"kernel {kernel.shape} does not fit input {x.shape}")


def has_products_in_tiles(x: jax.Array, kernel: jax.Array) -> bool:
    """Whether a CPU convolves images [n, h, w, c] by tiles."""
    fits = len(kernel) == 3 and has_tiles(*x.shape[1:3])
    precise = kernel.dtype in (jnp.float32, jnp.float64)
    return fits and precise and x.shape[-1] >= _TILE_CHANNELS


def lowered(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution of images [n, h, w, c] without tiles."""
    k = kernel.shape[0]
    if max(x.shape[1:3]) == 1:
        kernel = kernel[k // 2 :, k // 2 :][:1, :1]
    if kernel.shape[0] == 1:
        return product_of_views(x, kernel)
    on_cpu = looped_convolution if max(x.shape[1:3]) >= k else product_of_views
    return lax.platform_dependent(x, kernel, cpu=on_cpu, default=platform_convolution)


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
    return _skew_part(kernel)


@jax.custom_jvp
def _skew_part(kernel: jax.Array) -> jax.Array:
    # One axis of taps is split evenly over the cores. Columns of a large matrix whose
    # rows are a power of two apart share a few lines of the cache: hence the padding.
    taps = kernel.reshape(-1, *kernel.shape[2:])
    transposed = taps.swapaxes(1, 2)
    if kernel.shape[2] > _LARGE:
        padded = fusion_barrier(jnp.pad(taps, ((0, 0), (0, 0), (0, _PADDING))))
        transposed = padded.swapaxes(1, 2)[:, : kernel.shape[3]]
    return ((taps - jnp.flip(transposed, 0)) / 2).reshape(kernel.shape)


# It is linear, so its derivative is itself. This one is not padded: of large kernels
# only the exact rule's gradient comes this way.
@_skew_part.defjvp
def _skew_part_jvp(primals, tangents):
    (kernel,), (tangent,) = primals, tangents
    return _skew_part(kernel), (tangent - transpose_kernel(tangent)) / 2
