"""The skew-orthogonal convolution as a Linen module."""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
from flax.linen import dtypes

from lipjax import ops
from lipjax.nn.spectral import differentiable_scale, vectors_of, with_scale
from lipjax.nn.strided import StridedConv, plus_bias
from lipjax.ops import Coefficients


@dataclasses.dataclass(frozen=True)
class ExpApproximation:
    """The approximation of exp(J) by a polynomial, and the rule for its gradient.

    Attributes:
      coefficients: polynomial in training (`train=True`). The default loses at most
        2.7e-2 of a norm for ||J|| <= 2. In BENCHMARKS.md, networks train faster with
        it than with Taylor 5, and certify more.
      eval_coefficients: polynomial in evaluation. The default has a proven gain of at
        most 1 for ||J|| <= 3.2, and loses at most 2.2e-5 of a norm for ||J|| <= 2.2.
      gradient: rule for the kernel's gradient, see `lipjax.ops.skew_exponential`.
      bound: norm of J for which the "low_rank" rule is tuned. Sigma brings ||J|| to
        1.5 to 1.9, but most eigenvalues lie well below. With 1.2 the relative error
        of the kernel's gradient is 1e-3 to 4e-3 for degrees 5 and 6, and 6e-3 to
        1.1e-2 for degree 4 ("fast": 5e-2 to 7e-2). With 2.2 it is larger.

    Example, the published setting:
      >>> published = ExpApproximation(ops.taylor(5), ops.taylor(14), gradient="fast")
    """

    coefficients: Coefficients = ops.chebyshev(4, 2.0)
    eval_coefficients: Coefficients = ops.chebyshev(8, 2.2)
    gradient: str = "fast"
    bound: float = 1.2

    def apply(
        self, x: jax.Array, skew: jax.Array, scale: jax.Array, train: bool
    ) -> jax.Array:
        """Applies the polynomial of training or evaluation, of skew / scale."""
        return ops.skew_exponential(
            x,
            skew,
            coefficients=self.coefficients if train else self.eval_coefficients,
            scale=scale,
            gradient=self.gradient,
            bound=self.bound,
        )


class SkewOrthogonalConv(StridedConv):
    r"""Skew-orthogonal convolution (SOC): x -> p(J) x + b, p close to exp.

    J is the stride-1 convolution with zero padding by the skew kernel
    A = (M - M^T) / (2 sigma). The scale sigma is the smaller of two power-iteration
    estimates, one for each unfolding's norm. It brings ||J|| to 1.1 to 1.9 for k = 3
    and to 1 for k = 1. The theorem behind it gives ||J|| <= k times true sigma over
    estimated sigma.

    The kernel has c = max(c_in s^2, features) channels. Input channels are padded with
    zeros to c, and the last output channels are dropped. A stride s is a
    space-to-depth.

    Attributes:
      features: channels of the output.
      kernel_size: k or (k, k), odd.
      strides: s or (s, s); s divides the image's sides.
      use_bias: whether to add a bias b.
      kernel_init: initializer of M; None: normal, of standard deviation c^-1/2.
      bias_init: initializer of b; None: uniform on [-c^-1/2, c^-1/2].
      exp: the polynomials p of training and evaluation, and the gradient rule.
      dtype: of the computation; parameters and sigma stay in `param_dtype`.
      param_dtype: of the parameters.

    Call: `layer(x, train=False, update_stats=False)`. `train` selects the polynomial.
    `update_stats` takes one step of the power iteration first; the collection
    "spectral" must then be mutable.

    State: singular vectors in the collection "spectral"; 50 steps at creation.

    Shapes: [..., height, width, c_in] -> [..., height / s, width / s, features].

    Raises:
      ValueError: for an even or oblong kernel, unequal strides, or strides that do not
        divide the image's sides.

    Guarantee: Lipschitz with constant `polynomial_gain(p, b)` for any b >= ||J||, in
    exact arithmetic.

    References: Singla & Feizi, ICML 2021; NeurIPS 2022.

    Example:
      >>> layer = SkewOrthogonalConv(8, strides=2, use_bias=False)
      >>> x = jax.random.normal(jax.random.key(0), (1, 4, 4, 2))
      >>> variables = layer.init(jax.random.key(1), x)
      >>> y = layer.apply(variables, x)
      >>> y.shape, f"{(y**2).sum() / (x**2).sum():.3f}"
      ((1, 2, 2, 8), '1.000')
    """

    exp: ExpApproximation = ExpApproximation()

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool = False, update_stats: bool = False
    ) -> jax.Array:
        x = ops.space_to_depth(x, self.stride)
        if self.stride > 1:  # else a GPU would write it once for every coefficient
            x = jax.lax.optimization_barrier(x)
        channels = max(x.shape[-1], self.features)
        kernel, bias = self._parameters(channels)
        skew = ops.fusion_barrier(ops.skew_kernel(kernel))
        if self.dtype is not None:  # the scale is that of the kernel that is applied
            skew = jax.lax.optimization_barrier(skew.astype(self.dtype))
        matrices = ops.unjoined(skew)
        vectors, estimates = vectors_of(self, "kernel", matrices, update_stats)
        if self.exp.gradient == "exact":
            scale = differentiable_scale(matrices, vectors, estimates)
        else:
            skew = jax.lax.stop_gradient(skew)
            skew, scale = with_scale(kernel, skew, vectors, estimates)
        x, skew, bias = dtypes.promote_dtype(x, skew, bias, dtype=self.dtype)
        y = self.exp.apply(ops.with_channels(x, channels), skew, scale, train)
        return plus_bias(ops.with_channels(y, self.features), bias)

    def _parameters(self, channels: int) -> tuple[jax.Array, jax.Array | None]:
        """The kernel and the bias, if there is one."""
        k, limit = self.size, channels**-0.5
        init = self.kernel_init or nn.initializers.normal(limit)
        shape = (k, k, channels, channels)
        return self.param("kernel", init, shape, self.param_dtype), self.bias(limit)
