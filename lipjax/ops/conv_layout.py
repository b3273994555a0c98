"""Array layouts in which a chain of skew convolutions is fast."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lipjax.ops.contraction import PRECISION
from lipjax.ops.convolution import (
    check_shapes,
    has_products_in_tiles,
    is_zero,
    lowered,
    platform_convolution,
    skew_kernel,
)
from lipjax.ops.fusion import same
from lipjax.ops.winograd import (
    convolve_single_tiles,
    convolve_tiles,
    from_tiles,
    tiles_shape,
    to_tiles,
)

_TRANSPOSED = 512  # channels at most; else twice the images take less time

Convolution = Callable[[jax.Array, jax.Array], jax.Array]


class ConvLayout(NamedTuple):
    """A layout of images, and the skew convolutions of images in it.

    The layout is linear: images in it can be added and scaled. On most platforms and
    for most shapes it is plain NHWC.

    Attributes:
      enter: maps images [..., h, w, c] to the layout, under the shape [n, h, w, c].
      convolve: maps (images in the layout, skew kernel) to the convolved images.
      leave: maps images in the layout back to NHWC, [n, h, w, c].
      gradient: maps (p, q, skew kernel), p and q in the layout, to the skew part of the
        gradient of <q, p convolved> in the kernel.
      by_products: whether `convolve` is a product of matrices on every platform.
    """

    enter: Callable[[jax.Array], jax.Array]
    convolve: Convolution
    leave: Callable[[jax.Array], jax.Array]
    gradient: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    by_products: bool = False


def conv_layout(x: jax.Array, kernel: jax.Array) -> ConvLayout:
    """The fastest layout for images like `x` and skew kernels like `kernel`.

    Args:
      x: images of shape [..., h, w, c].
      kernel: skew, of shape [k, k, c, c].

    Raises:
      ValueError: as `same_convolution`.

    Example:
      >>> x, kernel = jnp.ones((8, 8, 4)), jnp.zeros((3, 3, 4, 4))
      >>> layout = conv_layout(x, kernel)
      >>> layout.leave(layout.convolve(layout.enter(x), kernel)).shape
      (1, 8, 8, 4)
    """
    check_shapes(x, kernel)
    shape = x.shape[-3:]

    def enter(x: jax.Array) -> jax.Array:
        return x.reshape(-1, *shape)

    if not has_products_in_tiles(enter(x), kernel):
        one_pixel = max(shape[:2]) == 1
        gradient = _gradient_of_pixels if one_pixel else _projected_gradient
        product = one_pixel or len(kernel) == 1
        convolve = lowered if product else _lowered
        of_kernel = functools.partial(gradient, convolve)
        return ConvLayout(enter, convolve, same, of_kernel, product)
    layout = _SINGLE_TILES if shape[0] == shape[1] <= 4 else _TILES
    return ConvLayout(
        lambda x: _on_cpu(layout.enter, enter(x)),
        lambda z, kernel: _skew_convolution(z, kernel, layout.convolve),
        lambda z: _on_cpu(layout.leave, z),
        lambda p, q, kernel: lax.platform_dependent(
            p,
            q,
            kernel,
            cpu=layout.gradient,
            cuda=functools.partial(_projected_gradient, reversed_convolution),
            default=functools.partial(_projected_gradient, platform_convolution),
        ),
    )


def _lowered(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _skew_convolution(x, kernel, lowered)


def _skew_convolution(
    x: jax.Array, kernel: jax.Array, on_cpu: Convolution
) -> jax.Array:
    return lax.platform_dependent(
        x,
        kernel,
        cpu=on_cpu,
        cuda=reversed_convolution,
        default=platform_convolution,
    )


def _differentiated_as_skew(convolve: Convolution) -> Convolution:
    """The convolution by a skew kernel; in reverse it convolves by minus the kernel.

    J dz is written as the transpose of -J, applied to dz: its own transpose is -J.
    """
    convolution = jax.custom_jvp(convolve)

    @functools.partial(convolution.defjvp, symbolic_zeros=True)
    def _(primals, tangents):
        (z, kernel), (dz, dkernel) = primals, tangents
        dy = []
        if not is_zero(dz):
            dy += jax.vjp(lambda g: -convolve(g, kernel), dz)[1](dz)
        if not is_zero(dkernel):
            dy += [convolve(z, dkernel)]
        return convolution(z, kernel), functools.reduce(jnp.add, dy)

    return convolution


def reversed_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution by a skew kernel, by way of its transpose.

    A kernel lies in memory with the axis "channels out" last. A GPU's routine wants
    "channels in" last, which for a skew kernel is the same array up to its sign and the
    order of its taps.
    """
    return lax.conv_general_dilated(
        x,
        -jnp.flip(kernel, (0, 1)),
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWOI", "NHWC"),
        precision=PRECISION,
    )


# W(q, p) is the transpose of the gradient W(p, q) of <q, p convolved>. Hence the skew
# part of W(p, q) is (W(p, q) - W(q, p)) / 2.
def _projected_gradient(
    convolve: Convolution, p: jax.Array, q: jax.Array, kernel: jax.Array
) -> jax.Array:
    """The skew part, by transposing the gradient."""
    return skew_kernel(_gradient(convolve, p, q, kernel))


def _doubled_gradient(
    convolve: Convolution,
    p: jax.Array,
    q: jax.Array,
    kernel: jax.Array,
    axis: int = 0,
) -> jax.Array:
    """The skew part as a sum over twice the images, for small images, large kernels."""
    twice = jnp.concatenate([p, -q], axis), jnp.concatenate([q, p], axis)
    return _gradient(convolve, twice[0], twice[1] / 2, kernel)


def _gradient_of_pixels(
    convolve: Convolution, p: jax.Array, q: jax.Array, kernel: jax.Array
) -> jax.Array:
    """The skew part for images of one pixel.

    Off the CPU, doubling a batch would move images between devices.
    """
    return lax.platform_dependent(
        p,
        q,
        kernel,
        cpu=functools.partial(_doubled_gradient, convolve),
        default=functools.partial(_projected_gradient, convolve),
    )


def _gradient(
    convolve: Convolution, p: jax.Array, q: jax.Array, kernel: jax.Array
) -> jax.Array:
    (found,) = jax.vjp(functools.partial(convolve, p), kernel)[1](q)
    return found


def _on_cpu(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    return lax.platform_dependent(x, cpu=function, default=same)


# Tiles keep the images' shape, so that it is the same on all platforms.
def _in_tiles(z: jax.Array, kernel: jax.Array) -> jax.Array:
    return convolve_tiles(z.reshape(tiles_shape(z.shape)), kernel).reshape(z.shape)


_TILES = ConvLayout(
    lambda x: to_tiles(x).reshape(x.shape),
    _differentiated_as_skew(_in_tiles),
    lambda z: from_tiles(z.reshape(tiles_shape(z.shape))).reshape(z.shape),
    functools.partial(_projected_gradient, _in_tiles),
)


# Images of one tile each: [h, w, c, n], again under the shape [n, h, w, c].
def _single_tiles(z: jax.Array) -> jax.Array:
    n, height, width, channels = z.shape
    return z.reshape(height, width, channels, n)


def _in_single_tiles(z: jax.Array, kernel: jax.Array) -> jax.Array:
    return convolve_single_tiles(_single_tiles(z), kernel).reshape(z.shape)


def _leave_single_tiles(z: jax.Array) -> jax.Array:
    return _single_tiles(z).transpose(3, 0, 1, 2)


def _gradient_in_single_tiles(
    p: jax.Array, q: jax.Array, kernel: jax.Array
) -> jax.Array:
    tiles = _single_tiles(p), _single_tiles(q)
    if kernel.shape[-1] > _TRANSPOSED:
        return _doubled_gradient(convolve_single_tiles, *tiles, kernel, axis=-1)
    return _projected_gradient(convolve_single_tiles, *tiles, kernel)


_SINGLE_TILES = ConvLayout(
    lambda x: x.transpose(1, 2, 3, 0).reshape(x.shape),
    _differentiated_as_skew(_in_single_tiles),
    _leave_single_tiles,
    _gradient_in_single_tiles,
)
