"""The skew-orthogonal convolution as a Linen module, and the state of its scale."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import dtypes
from flax.traverse_util import flatten_dict, unflatten_dict

from lipjax import ops
from lipjax.ops import Coefficients

SPECTRAL = "spectral"
"""Collection of singular vectors: `NAME_vectors` follows the parameter `NAME`."""

STEPS_AT_CREATION = 50


@dataclasses.dataclass(frozen=True)
class ExpApproximation:
    """How exp(J) is approximated, and how the approximation is differentiated.

    Attributes:
      coefficients: polynomial while training (`train=True`). The default loses up to
        2.7e-2 of a norm, for all ||J|| <= 2; in the runs of BENCHMARKS.md
        networks so trained certified more than with Taylor 5, and trained faster.
      eval_coefficients: polynomial in evaluation. The default has a proven gain of at
        most 1 for every ||J|| <= 3.2, and loses 2.2e-5 of a norm up to 2.2.
      gradient: rule for the kernel's gradient, see `lipjax.ops.skew_exponential`.
      bound: norm of J at which the "low_rank" rule is tuned. Most eigenvalues lie well
        below the norm: at ||J|| = 1.5 to 1.9, where sigma puts it, 1.2 leaves an error
        of 1e-3 to 4e-3 of the kernel's gradient for degrees 5 and 6, of 6e-3 to 1.1e-2
        for degree 4 ("fast": 5e-2 to 7e-2), 2.2 more.

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


class SkewOrthogonalConv(nn.Module):
    r"""Skew-orthogonal convolution (SOC): x -> p(J) x + b, p close to exp.

    J is the stride-1 convolution with zero padding by the skew kernel
    A = (M - M^T) / (2 sigma). Here sigma, the smaller of two power-iteration estimates
    of A's unfoldings, brings ||J|| to 1.1 to 1.9 for k = 3 and to 1 for k = 1; the
    theorem behind it gives ||J|| <= k times true sigma over estimated sigma.

    Input and output channels differ from the kernel's c = max(c_in stride^2, features)
    by zero padding and by dropping the last ones; a stride is a space-to-depth.

    Attributes:
      features: channels of the output.
      kernel_size: k, odd.
      stride: s, divides the image's sides.
      exp: the polynomials p of training and evaluation, and the gradient rule.
      dtype: of the computation; parameters and sigma stay in `param_dtype`.
      param_dtype: of the parameters.

    State: singular vectors in the collection "spectral". A call that may change this
    collection first takes one step of the power iteration; other calls never do. At
    creation 50 steps are taken.

    Shapes: [..., height, width, c_in] -> [..., height / s, width / s, features].

    Guarantee: Lipschitz with constant `polynomial_gain(p, b)` for any b >= ||J||, in
    exact arithmetic.

    References: Singla & Feizi, ICML 2021; NeurIPS 2022.

    Example:
      >>> layer = SkewOrthogonalConv(8, stride=2)
      >>> x = jax.random.normal(jax.random.key(0), (1, 4, 4, 2))
      >>> variables = layer.init(jax.random.key(1), x)
      >>> y = layer.apply(variables, x) - variables["params"]["bias"]
      >>> y.shape, f"{jnp.linalg.norm(y) / jnp.linalg.norm(x):.3f}"
      ((1, 2, 2, 8), '1.000')
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    exp: ExpApproximation = ExpApproximation()
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = ops.space_to_depth(x, self.stride)
        channels = max(x.shape[-1], self.features)
        kernel = self.param(
            "kernel",
            nn.initializers.normal(channels**-0.5),
            (self.kernel_size, self.kernel_size, channels, channels),
            self.param_dtype,
        )
        bias = self.param(
            "bias",
            symmetric_uniform(channels**-0.5),
            (self.features,),
            self.param_dtype,
        )
        skew = ops.fusion_barrier(ops.skew_kernel(kernel))
        vectors = self._vectors(skew)
        if self.exp.gradient == "exact":
            scale = scale_estimate(ops.unfoldings(skew), vectors)
        else:
            skew, scale = _with_scale(kernel, jax.lax.stop_gradient(skew), vectors)
        x, skew, bias = dtypes.promote_dtype(x, skew, bias, dtype=self.dtype)
        y = self.exp.apply(ops.with_channels(x, channels), skew, scale, train)
        bias = jnp.expand_dims(bias, tuple(range(y.ndim - 1)))
        return ops.with_channels(y, self.features) + bias

    def _vectors(self, skew: jax.Array):
        matrices = ops.unfoldings(skew)
        state = self.variable(
            SPECTRAL,
            "kernel_vectors",
            lambda: initial_vectors(self.make_rng("params"), matrices),
        )
        if self.is_mutable_collection(SPECTRAL) and not self.is_initializing():
            state.value = iterate(matrices, state.value, 1)
        return state.value


def scale_estimate(matrices, vectors) -> jax.Array:
    """The smaller singular value estimate of the unfoldings, 1 for a zero kernel."""
    return _scale_by(_estimates(matrices, vectors))


def _estimates(matrices, vectors) -> list[jax.Array]:
    pairs = zip(matrices, vectors, strict=True)
    return [ops.singular_value_estimate(m, v) for m, v in pairs]


def _scale_by(estimates) -> jax.Array:
    sigma = jnp.min(jnp.stack(estimates))
    return jnp.where(sigma == 0, jnp.ones_like(sigma), sigma)


@jax.custom_vjp
def _with_scale(kernel, skew, vectors):
    """A kernel's skew part and its scale, for rules whose gradients are skew.

    Taking the skew part is an orthogonal projection, so that such a gradient is the
    kernel's as it stands, and no kernel is transposed on the way back.
    """
    return skew, scale_estimate(ops.unfoldings(skew), vectors)


def _with_scale_fwd(kernel, skew, vectors):
    estimates = _estimates(ops.unfoldings(skew), vectors)
    return (skew, _scale_by(estimates)), (estimates, vectors)


def _with_scale_bwd(saved, gradients):
    (estimates, vectors), (gradient, of_scale) = saved, gradients
    (weights,) = jax.vjp(_scale_by, estimates)[1](of_scale)
    parts = zip(weights, ops.skew_estimate_gradients(vectors), strict=True)
    return gradient + sum(weight * part for weight, part in parts), None, None


_with_scale.defvjp(_with_scale_fwd, _with_scale_bwd)


def initial_vectors(key, matrices):
    """Singular vectors of each matrix after the steps due at creation."""
    keys = jax.random.split(key, len(matrices))
    start = [ops.random_vectors(k, m) for k, m in zip(keys, matrices, strict=True)]
    return iterate(matrices, start, STEPS_AT_CREATION)


def iterate(matrices, vectors, steps: int):
    """Steps of the power iteration on each matrix."""
    pairs = zip(matrices, vectors, strict=True)
    return tuple(ops.power_iteration(m, v, steps) for m, v in pairs)


def refresh_spectral(variables, steps: int = 50):
    """Takes power-iteration steps on all the state that a model keeps.

    Args:
      variables: of a module of this library, {"params": ..., "spectral": ...}.
      steps: how many steps.

    Returns:
      The new collection "spectral".

    Example:
      >>> layer = SkewOrthogonalConv(2)
      >>> variables = layer.init(jax.random.key(0), jnp.zeros((1, 4, 4, 2)))
      >>> variables["spectral"] = refresh_spectral(variables)
    """
    followed = with_followed(variables)
    new = {p: iterate(_matrices(kernel), v, steps) for p, (kernel, v) in followed}
    return unflatten_dict(new)


def with_followed(variables) -> Iterator[tuple[tuple[str, ...], tuple[Any, Any]]]:
    """Path in the state, the parameter it follows and its singular vectors."""
    params: Any = flatten_dict(variables["params"])
    state: Any = flatten_dict(variables[SPECTRAL])
    for path, vectors in state.items():
        name = path[-1].removesuffix("_vectors")
        yield path, (params[*path[:-1], name], vectors)


def _matrices(kernel):
    """The matrices whose singular vectors belong to a parameter."""
    if kernel.ndim == 2:
        return (kernel[None],)
    return ops.unfoldings(ops.skew_kernel(kernel))


def symmetric_uniform(limit: float):
    """Initialiser of the uniform distribution on [-limit, limit]."""

    def init(key, shape, dtype):
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init
