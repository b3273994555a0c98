"""Stride-1 convolution with zero padding, lowered in the fastest way for its shape."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from lipjax.ops.contraction import PRECISION, contract
from lipjax.ops.fusion import fusion_barrier
from lipjax.ops.winograd import has_tiles, winograd_convolution

_TILE_CHANNELS = 32  # from here on, fewer products outweigh the additional sums
_LARGE = 512  # with more channels, rows are padded before a transposition
_PADDING = 8
_BLOCK = 4  # pixels; larger blocks take more products than they save
_NARROW = 8  # channels at most; with 16, pairs take more time than pixels


def same_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    r"""Convolves (correlates) with stride 1 and zero padding.

    .. math:: y_{p} = \sum_{t} K_{t}^\top x_{p + t}, \quad x = 0 \text{ outside.}

    The lowering depends on the shape and the platform. Up to rounding, all give the
    same numbers:

    - images of 1x1 pixels: the matrix product with the middle tap;
    - on a CPU, many channels: `lipjax.ops.winograd`;
    - on a CPU, images smaller than the kernel: one product over gathered views, since
      XLA's own convolution falls to 1 GFLOP/s;
    - on a CPU otherwise: XLA's convolution with other derivatives, since its own are up
      to 300 times slower inside a loop; up to 8 channels two pixels at once;
    - elsewhere: XLA's convolution.

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


def same_taps(side: int, taps: int) -> int:
    """Counts the products of one axis of `same_convolution`, padding left out.

    Args:
      side: pixels along the axis.
      taps: k, the taps along the axis.

    Returns:
      The number of (output pixel, tap) of which the tap meets a pixel.

    Example:
      >>> [same_taps(side, 3) for side in (1, 2, 4)]
      [1, 4, 10]
    """
    return sum(max(side - abs(tap - taps // 2), 0) for tap in range(taps))


def check_shapes(x: jax.Array, kernel: jax.Array) -> None:
    """Raises ValueError if k is even, or channels differ."""
    k = kernel.shape[0]
    if kernel.ndim != 4 or k != kernel.shape[1] or k % 2 == 0:
        raise ValueError(f"kernel must be [k, k, in, out] with k odd: {kernel.shape}")
    if x.ndim < 3 or x.shape[-1] != kernel.shape[2]:
        raise ValueError(f"kernel {kernel.shape} does not fit input {x.shape}")


def has_products_in_tiles(x: jax.Array, kernel: jax.Array) -> bool:
    """Whether a CPU convolves images [n, h, w, c] in tiles."""
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


def convolution_of_pairs(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """XLA's convolution, of every other pixel to that pixel and its right neighbour.

    On a CPU, XLA's convolution to few channels takes long for its products. This one
    gives twice as many. With three taps a quarter of its products are with zeros: the
    pair sees four pixels across, each of the two only three.
    """
    n, height, width, _ = x.shape
    k, out = kernel.shape[0], kernel.shape[-1]
    bands = jax.vmap(functools.partial(_band, b=2))(kernel)
    margin = k // 2, k // 2
    pairs = lax.conv_general_dilated(
        x,
        bands.reshape(*bands.shape[:3], 2 * out),
        window_strides=(1, 2),
        padding=(margin, margin),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=PRECISION,
    )
    return pairs.reshape(n, height, width, out)


def _of_pixels_or_pairs(x: jax.Array, kernel: jax.Array) -> jax.Array:
    narrow = kernel.shape[-1] <= _NARROW and x.shape[2] % 2 == 0
    return (convolution_of_pairs if narrow else platform_convolution)(x, kernel)


@jax.custom_jvp
def looped_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """XLA's convolution, with derivatives that stay fast inside loops.

    Automatic differentiation gives convolutions with permuted axes. On a CPU, XLA's
    fast routine takes one order of axes, and XLA permutes them only outside loops and
    branches. In a training loop it would use a naive convolution.
    """
    return _of_pixels_or_pairs(x, kernel)


@functools.partial(looped_convolution.defjvp, symbolic_zeros=True)
def _looped_jvp(primals, tangents):
    (x, kernel), (dx, dkernel) = primals, tangents
    y = _of_pixels_or_pairs(x, kernel)
    dy = [] if is_zero(dx) else [_by_adjoint(dx, kernel, y)]
    dy += [] if is_zero(dkernel) else [product_of_blocks(x, dkernel)]
    return y, functools.reduce(jnp.add, dy, jnp.zeros_like(y))


def _by_adjoint(dx: jax.Array, kernel: jax.Array, y: jax.Array) -> jax.Array:
    """The convolution as the transpose of its adjoint's, whose reverse is fast.

    Args:
      dx: to be convolved.
      kernel: of the convolution.
      y: any result of it, for its shape.
    """
    adjoint = transpose_kernel(kernel)
    transpose = jax.linear_transpose(lambda g: _of_pixels_or_pairs(g, adjoint), y)
    return transpose(dx)[0]


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


def product_of_blocks(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution as one matrix product per row of taps.

    A block of neighbouring pixels is one row of the left matrix, and the right one is a
    band of taps. On a CPU the gradient in a narrow kernel, [c, pixels] times
    [pixels, c], is one and a half to three times as fast by these wider matrices.
    """
    n, height, width, channels = x.shape
    k, out = kernel.shape[0], kernel.shape[-1]
    b = math.gcd(width, _BLOCK)
    margin = k // 2, k // 2
    rows = jnp.pad(x, ((0, 0), margin, margin, (0, 0)))
    blocks = jnp.stack(
        [rows[:, :, start : start + b + k - 1] for start in range(0, width, b)], 2
    )  # [n, height + k - 1, width / b, b + k - 1, channels]
    products = [
        contract(
            "pi,io->po",
            blocks[:, row : row + height].reshape(-1, (b + k - 1) * channels),
            _band(taps, b).reshape(-1, b * out),
        )
        for row, taps in enumerate(kernel)
    ]
    return functools.reduce(jnp.add, products).reshape(n, height, width, out)


def _band(taps: jax.Array, b: int) -> jax.Array:
    """Taps [k, in, out] from b + k - 1 pixels to b: [b + k - 1, in, b, out]."""
    columns = [jnp.pad(taps, ((q, b - 1 - q), (0, 0), (0, 0))) for q in range(b)]
    return jnp.stack(columns, 2)


def product_of_views(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution as one matrix product, after gathering every tap's view of x."""
    gathered = jnp.concatenate(_views(x, kernel.shape[0]), axis=-1)
    return contract("nhwi,io->nhwo", gathered, kernel.reshape(-1, kernel.shape[-1]))


def is_zero(tangent: object) -> bool:
    """Whether a tangent is known to be zero, for a rule with `symbolic_zeros`."""
    return isinstance(tangent, jax.custom_derivatives.SymbolicZero)


def _views(x: jax.Array, k: int) -> list[jax.Array]:
    """The input of each of the k x k taps: x, shifted, zero outside."""
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    return [
        padded[:, i : i + height, j : j + width] for i in range(k) for j in range(k)
    ]


def transpose_kernel(kernel: jax.Array) -> jax.Array:
    r"""Kernel of the adjoint convolution: taps flipped, in and out swapped.

    Args:
      kernel: kernel of shape [k, k, a, b].

    Returns:
      Array of shape [k, k, b, a] whose convolution is the transpose of `kernel`'s.
    """
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)


def skew_kernel(kernel: jax.Array) -> jax.Array:
    r"""Kernel whose stride-1 convolution with zero padding has a skew Jacobian.

    .. math:: A = \tfrac12 (M - M^\top)

    The result is skew in every bit, since both sides are rounded alike.

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
    # One axis of taps is split evenly over the cores. Padding keeps the rows of a large
    # matrix from lying a power of two apart, where a column shares a few cache lines.
    taps = kernel.reshape(-1, *kernel.shape[2:])
    transposed = _transposed(taps)
    if kernel.shape[2] > _LARGE:
        transposed = lax.platform_dependent(
            taps, cpu=_transposed_by_padding, default=_transposed
        )
    return ((taps - transposed) / 2).reshape(kernel.shape)


# A GPU transposes and subtracts in one pass if nothing stands between.
def _transposed(taps: jax.Array) -> jax.Array:
    return jnp.flip(taps, 0).swapaxes(1, 2)


def _transposed_by_padding(taps: jax.Array) -> jax.Array:
    padded = fusion_barrier(jnp.pad(taps, ((0, 0), (0, 0), (0, _PADDING))))
    return jnp.flip(padded.swapaxes(1, 2)[:, : taps.shape[2]], 0)


# The map is linear, so it is its own derivative. It is not padded here: only the exact
# rule's gradient of a large kernel comes this way.
@_skew_part.defjvp
def _skew_part_jvp(primals, tangents):
    (kernel,), (tangent,) = primals, tangents
    return _skew_part(kernel), (tangent - transpose_kernel(tangent)) / 2
