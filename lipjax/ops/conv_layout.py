"""The order of pixels in which a series of skew convolutions is fast."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lipjax.ops.convolution import (
    check_shapes,
    has_products_in_tiles,
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

Convolution = Callable[[jax.Array, jax.Array], jax.Array]


class ConvLayout(NamedTuple):
    """An order of an image's numbers in which skew convolutions follow each other.

    Sums of images may be taken in it. On most platforms and for most shapes it is the
    usual one.

    Attributes:
      enter: images [..., h, w, c] to [n, h, w, c], whose numbers are in this order.
      convolve: (those, skew kernel) to the convolved ones.
      leave: back to images [n, h, w, c].
      gradient: (p, q, skew kernel) to the skew part of the kernel's gradient of
        <q, p convolved>.
    """

    enter: Callable[[jax.Array], jax.Array]
    convolve: Convolution
    leave: Callable[[jax.Array], jax.Array]
    gradient: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def conv_layout(x: jax.Array, kernel: jax.Array) -> ConvLayout:
    """The order in which such images are best convolved by such skew kernels.

    Raises:
      ValueError: as `same_convolution`.
    """
    check_shapes(x, kernel)
    shape = x.shape[-3:]

    def enter(x: jax.Array) -> jax.Array:
        return x.reshape(-1, *shape)

    if not has_products_in_tiles(enter(x), kernel):
        one_pixel = max(shape[:2]) == 1
        gradient = _gradient_of_pixels if one_pixel else _projected_gradient
        return ConvLayout(enter, lowered, same, functools.partial(gradient, lowered))
    order = _SINGLE_TILES if shape[0] == shape[1] <= 4 else _TILES
    return ConvLayout(
        lambda x: _on_cpu(order.enter, enter(x)),
        lambda z, kernel: lax.platform_dependent(
            z, kernel, cpu=order.convolve, default=platform_convolution
        ),
        lambda z: _on_cpu(order.leave, z),
        lambda p, q, kernel: lax.platform_dependent(
            p,
            q,
            kernel,
            cpu=order.gradient,
            default=functools.partial(_projected_gradient, platform_convolution),
        ),
    )


# The gradient W(p, q) of <q, p convolved> has the transpose W(q, p), so that its skew
# part is (W(p, q) - W(q, p)) / 2.
def _projected_gradient(
    convolve: Convolution, p: jax.Array, q: jax.Array, kernel: jax.Array
) -> jax.Array:
    """The skew part, by a transposition."""
    return skew_kernel(_gradient(convolve, p, q, kernel))


def _doubled_gradient(
    convolve: Convolution,
    p: jax.Array,
    q: jax.Array,
    kernel: jax.Array,
    axis: int = 0,
) -> jax.Array:
    """The skew part as a sum over twice the images: for small ones, large kernels."""
    twice = jnp.concatenate([p, -q], axis), jnp.concatenate([q, p], axis)
    return _gradient(convolve, twice[0], twice[1] / 2, kernel)


def _gradient_of_pixels(
    convolve: Convolution, p: jax.Array, q: jax.Array, kernel: jax.Array
) -> jax.Array:
    """Of images of one pixel; twice a batch would move images between devices."""
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


# Tiles are kept under the images' shape, so that all platforms agree on it.
def _in_tiles(z: jax.Array, kernel: jax.Array) -> jax.Array:
    return convolve_tiles(z.reshape(tiles_shape(z.shape)), kernel).reshape(z.shape)


_TILES = ConvLayout(
    lambda x: to_tiles(x).reshape(x.shape),
    _in_tiles,
    lambda z: from_tiles(z.reshape(tiles_shape(z.shape))).reshape(z.shape),
    functools.partial(_projected_gradient, _in_tiles),
)


# One tile each: [h, w, c, n], under the shape [n, h, w, c], too.
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
    return _doubled_gradient(convolve_single_tiles, *tiles, kernel, axis=-1)


_SINGLE_TILES = ConvLayout(
    lambda x: x.transpose(1, 2, 3, 0).reshape(x.shape),
    _in_single_tiles,
    _leave_single_tiles,
    _gradient_in_single_tiles,
)
