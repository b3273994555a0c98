"""The layers of a certified network: what they compute, and what is proven of it.

Every layer has `__call__(x)`, its execution in float64 by plain dot products only, and
`bound(shape) -> (LayerBound, output shape)`. A new kind of layer needs both.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.polynomial import polynomial

from lipjax import ops
from lipjax.certify.convolutions import (
    absolute_norm_bound,
    acting_taps,
    skew_norm_bound,
)
from lipjax.certify.rounding import HUGE, TINY, UNIT, gamma, norm_bound, up
from lipjax.certify.torus import convolution_norm_bound
from lipjax.ops.convolution import product_of_taps

Shape = tuple[int, int, int]  # height, width, channels
Numbers = Any  # an array of float64, of NumPy or JAX


class LayerBound(NamedTuple):
    """Proven bounds of a layer T, and of its execution fl(T) in float64.

    ||T(x) - T(y)|| <= lipschitz ||x - y||, ||T(x)|| <= lipschitz ||x|| + offset and
    ||fl(T)(x) - T(x)|| <= relative ||x|| + absolute. Vectors that fl(T) computes on the
    way have norms of at most inside ||x|| + absolute.
    """

    lipschitz: float
    offset: float
    relative: float
    absolute: float
    inside: float
    norm: float | None = None  # of J, of a skew convolution


class Layer(Protocol):
    """The methods of a layer of a certified network."""

    def __call__(self, x: jax.Array) -> jax.Array: ...

    def bound(self, shape: Shape) -> tuple[LayerBound, Shape]: ...


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["kernel", "bias"],
    meta_fields=["coefficients", "stride"],
)
@dataclasses.dataclass(frozen=True)
class SkewConvolution:
    """x -> p(J) x + bias after space-to-depth, J the convolution by a skew kernel.

    Attributes:
      kernel: skew in every bit, of shape [k, k, c, c].
      bias: of shape [channels out], at most c of them.
      coefficients: of p.
      stride: side of the space-to-depth blocks.
    """

    kernel: Numbers
    bias: Numbers
    coefficients: ops.Coefficients
    stride: int = 1

    def __call__(self, x: jax.Array) -> jax.Array:
        x = ops.with_channels(ops.space_to_depth(x, self.stride), self.kernel.shape[2])
        z = self.coefficients[-1] * x
        for a in self.coefficients[-2::-1]:
            z = a * x + plain_convolution(z, self.kernel)
        bias = jnp.expand_dims(self.bias, tuple(range(z.ndim - 1)))
        return ops.with_channels(z, len(self.bias)) + bias

    def bound(self, shape: Shape) -> tuple[LayerBound, Shape]:
        _check_coefficients(self.coefficients)
        height, width = shape[0] // self.stride, shape[1] // self.stride
        kernel = np.asarray(self.kernel)
        norm = skew_norm_bound(kernel, height, width)
        absolute = absolute_norm_bound(acting_taps(kernel, height, width))
        k, channels = kernel.shape[0], kernel.shape[2]
        # A pixel meets at most min(k, side) taps per side; a_j x and the bias add two.
        error = gamma(min(k, height) * min(k, width) * channels + 2)
        offset = norm_bound(np.asarray(self.bias)) * up(math.sqrt(height * width))
        relative, tiny, inside = self._errors(norm, absolute, error)
        bound = LayerBound(
            lipschitz=ops.polynomial_gain(self.coefficients, norm) + TINY,
            offset=up(offset),
            relative=relative,
            absolute=up(error * offset + tiny + TINY),
            inside=inside,
            norm=norm,
        )
        return bound, (height, width, len(self.bias))

    def _errors(
        self, norm: float, absolute: float, error: float
    ) -> tuple[float, float, float]:
        """The error of Horner's rule, relative ||x|| + tiny, and its largest iterate.

        Each step is a dot product and amplifies earlier errors, those of underflow as
        well. The norm of the exact iterate w_j = sum_{i >= j} a_i J^(i-j) x is bounded
        by the gain of a_j ... a_d, relative to ||x||.
        """
        a = self.coefficients
        relative, tiny = up(error * abs(a[-1])), TINY
        iterate = inside = up(abs(a[-1]) + relative)
        for j in range(len(a) - 2, -1, -1):
            relative = up(norm * relative + error * (abs(a[j]) + absolute * iterate))
            tiny = up((norm + error * absolute) * tiny + TINY)
            iterate = up(_quick_gain(a[j:], norm) + relative)
            inside = max(inside, iterate)
        return relative, tiny, inside


@np.errstate(all="ignore")  # what overflows is refused
def _quick_gain(coefficients: ops.Coefficients, norm: float) -> float:
    """Bound on |p(i theta)|, 0 <= theta <= norm, by its values on a grid.

    Between two points it rises by at most max |p'| times half their distance. The other
    half covers the rounding.
    """
    grid = 1j * np.linspace(0, norm, 1000)
    slope = polynomial.polyval(norm, polynomial.polyder(np.abs(coefficients)))
    found = np.abs(polynomial.polyval(grid, np.asarray(coefficients))).max()
    return up(float(found) + norm / 999 * float(slope))


def _check_coefficients(coefficients: ops.Coefficients) -> None:
    for a in coefficients:
        if a != 0 and not 1 / HUGE <= abs(a) < HUGE:
            raise ValueError(f"a coefficient is not 0 or in [2^-300, 2^300): {a}")


def plain_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution by matrix products: plain dot products on every platform."""
    *batch, height, width, channels = x.shape
    side = max(height, width)
    kernel = acting_taps(kernel, side, side)
    y = product_of_taps(x.reshape(-1, height, width, channels), kernel)
    return y.reshape(*batch, height, width, kernel.shape[-1])


PADDINGS = {"zero": "constant", "circular": "wrap"}
"""Of a `Convolution`, by name: the mode of `jax.numpy.pad`."""


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["kernel", "bias"],
    meta_fields=["stride", "padding"],
)
@dataclasses.dataclass(frozen=True)
class Convolution:
    r"""x -> J x + bias after space-to-depth, J the convolution by any kernel.

    .. math:: y_p = \sum_t A_t^\top x_{p+t} + b

    A dense layer is one with a kernel of 1x1 taps, after `Flatten`.

    Attributes:
      kernel: A of shape [rows, columns, channels in, channels out], of any size, also
        an even one; its tap t = 0 is the one at (rows // 2, columns // 2). The channels
        in are those after space-to-depth.
      bias: of shape [channels out].
      stride: side of the space-to-depth blocks.
      padding: "zero" or "circular": pixel p + t modulo the image's size. There a kernel
        may be larger than the image; the taps that meet in a pixel add up.

    Example:
      >>> layer = Convolution(np.ones((1, 2, 1, 1)), np.zeros(1), padding="circular")
      >>> layer(np.array([1.0, 2.0, 4.0]).reshape(1, 3, 1)).ravel().tolist()
      [5.0, 3.0, 6.0]
      >>> bound, shape = layer.bound((1, 3, 1))
      >>> shape, 2 <= bound.lipschitz < 2 + 1e-8
      ((1, 3, 1), True)
    """

    kernel: Numbers
    bias: Numbers
    stride: int = 1
    padding: str = "zero"

    def __call__(self, x: jax.Array) -> jax.Array:
        x = ops.space_to_depth(x, self.stride)
        *batch, height, width, channels = x.shape
        x = x.reshape(-1, height, width, channels)
        by_rows = self.padding == "circular" and len(self.kernel) == height
        y = (self._product_of_rows if by_rows else self._product_of_taps)(x)
        y = y.reshape(*batch, height, width, y.shape[-1])
        return y + jnp.expand_dims(self.bias, tuple(range(y.ndim - 1)))

    def _product_of_taps(self, x: jax.Array) -> jax.Array:
        """J x, tap by tap."""
        rows, columns, channels, out = self.kernel.shape
        margins = [(k // 2, k - 1 - k // 2) for k in (rows, columns)]
        padded = jnp.pad(x, [(0, 0), *margins, (0, 0)], PADDINGS[self.padding])

        def add(y, tap):
            i, j, matrix = tap
            view = lax.dynamic_slice(padded, (0, i, j, 0), x.shape)
            return y + ops.contract("nhwi,io->nhwo", view, matrix), None

        i, j = jnp.divmod(jnp.arange(rows * columns), columns)
        taps = jnp.reshape(self.kernel, (rows * columns, channels, out))
        zero = jnp.zeros((*x.shape[:3], out), jnp.result_type(x, taps))
        return lax.scan(add, zero, (i, j, taps))[0]

    def _product_of_rows(self, x: jax.Array) -> jax.Array:
        """J x by columns of taps: a kernel as high as the image mixes all rows."""
        rows, columns, _, out = self.kernel.shape
        margins = columns // 2, columns - 1 - columns // 2
        padded = jnp.pad(x, [(0, 0), (0, 0), margins, (0, 0)], "wrap")
        row = np.arange(rows)
        tap = (row[:, None] - row + rows // 2) % rows  # from each row to each

        def add(y, column):
            j, taps = column
            view = lax.dynamic_slice(padded, (0, 0, j, 0), x.shape)
            return y + ops.contract("nhwi,hpio->npwo", view, taps[tap]), None

        columns_of_taps = jnp.moveaxis(jnp.asarray(self.kernel), 1, 0)
        zero = jnp.zeros((*x.shape[:3], out), jnp.result_type(x, columns_of_taps))
        return lax.scan(add, zero, (jnp.arange(columns), columns_of_taps))[0]

    def bound(self, shape: Shape) -> tuple[LayerBound, Shape]:
        self._check(shape)
        height, width = shape[0] // self.stride, shape[1] // self.stride
        kernel = np.asarray(self.kernel)
        rows, columns, channels, out = kernel.shape
        if self.padding == "zero":  # the taps that a pixel meets
            kernel = acting_taps(kernel, height, width)
            rows, columns = min(rows, height), min(columns, width)
        error = gamma(rows * columns * channels + 2)
        offset = up(norm_bound(np.asarray(self.bias)) * math.sqrt(height * width))
        bound = LayerBound(
            lipschitz=convolution_norm_bound(kernel, height, width, self.padding),
            offset=offset,
            relative=up(error * absolute_norm_bound(kernel)),
            absolute=up(error * offset + TINY),
            inside=1.0,
        )
        return bound, (height, width, out)

    def _check(self, shape: Shape) -> None:
        sizes, stride = np.shape(self.kernel), self.stride
        if self.padding not in PADDINGS:
            raise ValueError(f"padding must be zero or circular: {self.padding!r}")
        if shape[0] % stride or shape[1] % stride:
            raise ValueError(f"{stride} does not divide {shape[0]}x{shape[1]} pixels")
        inner = shape[2] * stride**2, *np.shape(self.bias)
        if len(sizes) != 4 or not min(sizes) or sizes[2:] != inner:
            raise ValueError(f"kernel {sizes} does not map {inner[0]} channels to the "
                             f"{inner[1:]} of the bias")  # fmt: skip


_ACTIVATIONS = {
    "maxmin": (ops.maxmin, 1, 0.0),
    "householder": (ops.householder, 1, 64 * UNIT),
    "householder2": (ops.householder2, 1, 512 * UNIT),
    "max": (ops.channel_max_pool, 2, 0.0),
    "projection": (ops.projection_pool, 2, 64 * UNIT),
}
"""By kind: the function, the factor by which it reduces the channels, and its relative
rounding error, see docs/guarantees.md."""


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["angles"], meta_fields=["kind"]
)
@dataclasses.dataclass(frozen=True)
class Activation:
    """An activation or a pooling of the channels' halves; 1-Lipschitz for all angles.

    Attributes:
      kind: "maxmin", "householder", "householder2", "max" or "projection".
      angles: of shape [channels / 2] each: 0, 1, 3, 0 or 1 of them.
    """

    kind: str
    angles: tuple[Numbers, ...] = ()

    def __call__(self, x: jax.Array) -> jax.Array:
        return _ACTIVATIONS[self.kind][0](x, *self.angles)

    def bound(self, shape: Shape) -> tuple[LayerBound, Shape]:
        _, divisor, relative = _ACTIVATIONS[self.kind]
        height, width, channels = shape
        return (
            LayerBound(1.0, 0.0, relative, TINY, 1.0),
            (height, width, channels // divisor),
        )


@functools.partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Flatten:
    """Moves all pixels' channels into a single pixel."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:-3], 1, 1, -1)

    def bound(self, shape: Shape) -> tuple[LayerBound, Shape]:
        return LayerBound(1.0, 0.0, 0.0, 0.0, 1.0), (1, 1, math.prod(shape))
