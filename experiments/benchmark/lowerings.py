"""Single convolutions and their gradients in the kernel, by each lowering."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from lipjax.ops import same_convolution
from lipjax.ops.convolution import (
    looped_convolution,
    platform_convolution,
    product_of_blocks,
)
from lipjax.ops.winograd import has_tiles, winograd_convolution

from . import multiply_adds
from .timing import Runnable

Convolution = Callable[[jax.Array, jax.Array], jax.Array]
Shape = tuple[int, int, int]
"""Images, side, channels."""


LOWERINGS: dict[str, Convolution] = {
    "XLA": platform_convolution,
    "looped": looped_convolution,
    "blocks": product_of_blocks,
    "winograd": winograd_convolution,
    "same_convolution": same_convolution,
}
"""By the name of the column; `same_convolution` chooses one of the others by shape."""

_TAPS = 3


def suits(name: str, shape: Shape) -> bool:
    """Whether a lowering applies to images of this shape."""
    return name != "winograd" or has_tiles(shape[1], shape[1])


def forward(shape: Shape, name: str, looped: bool = True) -> Runnable:
    """Convolutions in float32, each applied to the result of the one before.

    They run in a loop, as in a polynomial, or one a call: on a CPU XLA lowers the two
    differently.
    """
    x, kernel, _ = _arrays(shape)
    return _runnable(shape, LOWERINGS[name], (x, kernel), looped)


def kernel_gradient(shape: Shape, name: str, looped: bool = True) -> Runnable:
    """Gradients of a convolution in the kernel."""
    x, kernel, cotangent = _arrays(shape)

    def once(kernel: jax.Array, x: jax.Array, cotangent: jax.Array) -> jax.Array:
        _, pull = jax.vjp(lambda k: LOWERINGS[name](x, k), kernel)
        return pull(cotangent)[0]

    return _runnable(shape, once, (kernel, x, cotangent), looped)


def _runnable(shape: Shape, once, arrays, looped: bool) -> Runnable:
    """Runs `once` repeatedly; in a loop its result becomes its first argument."""
    first, *others = arrays
    call = jax.jit(once)

    @jax.jit
    def loop(count, first, *others):
        def body(_, carry):
            # All arguments, or XLA would move a constant result out of the loop.
            first, *rest = lax.optimization_barrier(carry)
            return (once(first, *rest), *rest)

        return lax.fori_loop(0, count, body, (first, *others))[0]

    def run(count: int) -> None:
        if looped:
            jax.block_until_ready(loop(jnp.int32(count), first, *others))
        for _ in range(0 if looped else count):
            jax.block_until_ready(call(first, *others))

    images, side, channels = shape
    kernel = (_TAPS, _TAPS, channels, channels)
    return Runnable(run, images, images * multiply_adds.convolution(side, side, kernel))


def _arrays(shape: Shape) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Images, a kernel that keeps their size on average, and a cotangent."""
    images, side, channels = shape
    keys = jax.random.split(jax.random.key(0), 3)
    x, cotangent = (
        jax.random.normal(key, (images, side, side, channels), jnp.float32)
        for key in keys[:2]
    )
    kernel = (_TAPS, _TAPS, channels, channels)
    scale = (_TAPS**2 * channels) ** -0.5
    return x, scale * jax.random.normal(keys[2], kernel, jnp.float32), cotangent
