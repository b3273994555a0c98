"""Convolutions with circular padding as Linen modules, without state.

They share the fields of `SkewOrthogonalConv`, but `exp`. A stride s is a
space-to-depth, and c = max(c_in s^2, features). `train` and `update_stats` change
nothing here.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import dtypes

from lipjax import ops
from lipjax.nn.strided import StridedConv, plus_bias, symmetric_uniform


class BlockConvolutionOrthogonal(StridedConv):
    r"""Block convolution of orthogonal matrices (BCOP), with circular padding.

    The kernel is `lipjax.ops.bcop_kernel` of 2 k - 1 matrices of side c.

    Attributes:
      features: channels of the output.
      kernel_size: k or (k, k), odd. Taps outside a smaller image wrap around.
      strides: s or (s, s); s divides the image's sides.
      use_bias: whether to add a bias b.
      kernel_init: initializer of the matrices, of shape [2 k - 1, c, c]; None: random
        orthogonal ones.
      bias_init: initializer of b; None: uniform on [-c^-1/2, c^-1/2].
      dtype: of the convolution; parameters and kernel stay in `param_dtype`.
      param_dtype: of the parameters.

    Call: `layer(x, train=False, update_stats=False)`; the last two have no effect.

    Shapes: [..., height, width, c_in] -> [..., height / s, width / s, features].

    Raises:
      ValueError: for an even or oblong kernel, unequal strides, or strides that do not
        divide the image's sides.

    Guarantee: 1-Lipschitz for any parameters, in exact arithmetic.

    References: Li et al., NeurIPS 2019.

    Example:
      >>> layer = BlockConvolutionOrthogonal(8, strides=2, use_bias=False)
      >>> x = jax.random.normal(jax.random.key(0), (1, 4, 4, 2))
      >>> y, variables = layer.init_with_output(jax.random.key(1), x)
      >>> y.shape, f"{jnp.linalg.norm(y) / jnp.linalg.norm(x):.3f}"
      ((1, 2, 2, 8), '1.000')
    """

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool = False, update_stats: bool = False
    ) -> jax.Array:
        x = ops.space_to_depth(x, self.stride)
        c_in, k = x.shape[-1], self.size
        if k % 2 == 0:
            raise ValueError(f"kernel_size must be odd: {k}")
        channels = max(c_in, self.features)
        init = self.kernel_init or _orthogonal
        shape = (2 * k - 1, channels, channels)
        matrices = self.param("matrices", init, shape, self.param_dtype)
        bias = self.bias(channels**-0.5)
        kernel = ops.bcop_kernel(matrices, c_in, self.features)
        x, kernel, bias = dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        return plus_bias(ops.circular_convolution(x, kernel), bias)


class CayleyConv(StridedConv):
    r"""Cayley convolution: orthogonal matrices at all frequencies, circular padding.

    See `lipjax.ops.cayley_convolution`. The kernel has c_in s^2 and `features`
    channels; its scale is a parameter alpha.

    Attributes:
      features: channels of the output.
      kernel_size: k or (k, k). The middle of an even one is tap k / 2 - 1. Taps outside
        a smaller image wrap around; the published code drops them.
      strides: s or (s, s); s divides the image's sides.
      use_bias: whether to add a bias b.
      kernel_init: initializer of the kernel; None: uniform up to (c_in s^2 k^2)^-1/2.
      bias_init: initializer of b; None: uniform on [-c^-1/2, c^-1/2].
      dtype: of the output; transforms and matrices have at least float32.
      param_dtype: of the parameters.

    Call: `layer(x, train=False, update_stats=False)`; the last two have no effect.

    Shapes: [..., height, width, c_in] -> [..., height / s, width / s, features].

    Raises:
      ValueError: for an oblong kernel, unequal strides, or strides that do not divide
        the image's sides.

    Guarantee: 1-Lipschitz for any parameters, in exact arithmetic.

    References: Trockman & Kolter, ICLR 2021. There, alpha starts with the norm that the
    kernel has on images of 32x32 pixels; here, with that on the images at hand.

    Example:
      >>> layer = CayleyConv(8, strides=2, use_bias=False)
      >>> x = jax.random.normal(jax.random.key(0), (1, 4, 4, 2))
      >>> y, variables = layer.init_with_output(jax.random.key(1), x)
      >>> y.shape, f"{jnp.linalg.norm(y) / jnp.linalg.norm(x):.3f}"
      ((1, 2, 2, 8), '1.000')
    """

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool = False, update_stats: bool = False
    ) -> jax.Array:
        x = ops.space_to_depth(x, self.stride)
        c_in, k, dtype = x.shape[-1], self.size, self.param_dtype
        init = self.kernel_init or symmetric_uniform((c_in * k**2) ** -0.5)
        kernel = self.param("kernel", init, (k, k, c_in, self.features), dtype)
        alpha = self.param(
            "alpha", lambda _: ops.cayley_norm(kernel, *x.shape[-3:-1]).astype(dtype)
        )
        bias = self.bias(max(c_in, self.features) ** -0.5)
        wide, kernel, alpha = dtypes.promote_dtype(_wide(x), kernel, alpha)
        y = ops.cayley_convolution(wide, kernel, alpha)
        return _plus_bias_as(self, x, y, bias)


class ReflectorConv(StridedConv):
    r"""Block reflectors at all frequencies, with circular padding (BRO).

    See `lipjax.ops.reflector_convolution`. It acts on c channels: input channels are
    padded with zeros to c, and the last output channels are dropped.

    Attributes:
      features: channels of the output.
      kernel_size: k or (k, k). Taps outside a smaller image wrap around.
      strides: s or (s, s); s divides the image's sides.
      use_bias: whether to add a bias b.
      kernel_init: initializer of the kernel, of shape [k, k, c, max(1, c // 2)]; None:
        normal, of standard deviation c^-1/2.
      bias_init: initializer of b; None: uniform on [-c^-1/2, c^-1/2].
      dtype: of the output; transforms and matrices have at least float32.
      param_dtype: of the parameters.

    Call: `layer(x, train=False, update_stats=False)`; the last two have no effect.

    Shapes: [..., height, width, c_in] -> [..., height / s, width / s, features].

    Raises:
      ValueError: for an oblong kernel, unequal strides, or strides that do not divide
        the image's sides.

    Guarantee: 1-Lipschitz for any parameters, in exact arithmetic.

    References: Lai et al., ICML 2025.

    Example:
      >>> layer = ReflectorConv(8, strides=2, use_bias=False)
      >>> x = jax.random.normal(jax.random.key(0), (1, 4, 4, 2))
      >>> y, variables = layer.init_with_output(jax.random.key(1), x)
      >>> y.shape, f"{jnp.linalg.norm(y) / jnp.linalg.norm(x):.2f}"
      ((1, 2, 2, 8), '1.00')
    """

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool = False, update_stats: bool = False
    ) -> jax.Array:
        x = ops.space_to_depth(x, self.stride)
        channels, k = max(x.shape[-1], self.features), self.size
        init = self.kernel_init or nn.initializers.normal(channels**-0.5)
        shape = (k, k, channels, max(1, channels // 2))
        kernel = self.param("kernel", init, shape, self.param_dtype)
        bias = self.bias(channels**-0.5)
        wide, kernel = dtypes.promote_dtype(_wide(x), kernel)
        symbols = ops.reflector_symbols(kernel, *x.shape[-3:-1])
        y = ops.apply_symbols(wide, symbols[..., : x.shape[-1], : self.features])
        return _plus_bias_as(self, x, y, bias)


def _orthogonal(key: jax.Array, shape: tuple[int, int, int], dtype) -> jax.Array:
    """Random orthogonal matrices, of shape [n, c, c]."""
    init = nn.initializers.orthogonal()
    keys = jax.random.split(key, shape[0])
    # One after the other: batches of LAPACK's calls can wait for each other for ever,
    # see `lipjax.ops.inverse`.
    return jax.lax.map(lambda key: init(key, shape[1:], dtype), keys)


def _wide(x: jax.Array) -> jax.Array:
    """x in a dtype that has Fourier transforms."""
    return x if x.dtype in (jnp.float32, jnp.float64) else x.astype(jnp.float32)


def _plus_bias_as(module: StridedConv, x, y, bias) -> jax.Array:
    """y + b in the dtype that x and the parameters, or the module, ask for."""
    due = dtypes.canonicalize_dtype(x, y if bias is None else bias, dtype=module.dtype)
    y, bias = dtypes.promote_dtype(y, bias, dtype=due)
    return plus_bias(y, bias)
