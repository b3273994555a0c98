"""A polynomial of a skew convolution, with three rules for the kernel's gradient."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lipjax.ops.contraction import PRECISION
from lipjax.ops.conv_layout import ConvLayout, conv_layout
from lipjax.ops.convolution import is_zero
from lipjax.ops.fusion import fusion_barrier
from lipjax.ops.polynomial import Coefficients

GRADIENTS = ("exact", "fast", "low_rank")


def skew_exponential(
    x: jax.Array,
    kernel: jax.Array,
    *,
    coefficients: Coefficients,
    scale: jax.Array | float = 1.0,
    gradient: str = "exact",
    bound: float = 2.0,
) -> jax.Array:
    r"""Applies a polynomial of J, close to exp(J), J the convolution by kernel / scale.

    .. math:: y = p(J) x = \sum_{k \le d} a_k J^k x

    The gradient with respect to the kernel is

    .. math:: \sum_{i + j < d} a_{i+j+1} \, W(J^j x, (-J)^i g)

    where W is the weight gradient of one convolution and g the cotangent. The rules:

    - ``"exact"``: forward and reverse, and second derivatives; d weight gradients and
      d saved activations.
    - ``"fast"``: replaces a_{i+j+1} by a_{i+1} a_{j+1} / a_1, so that one weight
      gradient and one saved activation do. Relative error of the kernel's gradient for
      Taylor degree 5: about 0.6% at ||J|| = 0.5, 3% at 1, 9% at 2. Reverse only.
    - ``"low_rank"``: the best approximation of rank 2 of the Hankel matrix
      a_{i+j+1} bound^{i+j}: two weight gradients and two saved activations. For Taylor
      degree 5: about 1e-5 at ||J|| = 0.5 and 1e-4 at 1 with `bound` = ||J||, 1.2e-2 at
      2 with `bound` = 2 and 7e-3 with `bound` = 1.2 (most eigenvalues lie well below
      the norm). Reverse only.

    The input's gradient, p(-J) g, is exact under every rule.

    Args:
      x: input of shape [..., height, width, channels].
      kernel: of shape [k, k, channels, channels], k odd, and skew, see `skew_kernel`:
        lowerings rely on it. "fast" and "low_rank" give the skew part of its gradient.
        "exact" may add a part that is not skew, which depends on the platform and does
        not reach the parameters of a skew kernel.
      coefficients: a_0 ... a_d, d >= 1: see `taylor`, `chebyshev`.
      scale: divides the kernel. On a CPU it is applied to the images instead, which is
        cheaper where it matters: large kernels come with small images. A GPU's
        convolution, unlike its product of matrices, adds the next term by itself only
        if nothing is left to divide.
      gradient: the rule for the kernel's gradient; the value does not depend on it.
      bound: norm of J for which "low_rank" is tuned; the other rules ignore it.

    Returns:
      Array shaped like `x`.

    Raises:
      ValueError: for an unknown rule, fewer than two coefficients, a bound that is not
        positive with "low_rank", a_1 = 0 with "fast", an even k, or channel counts that
        differ.

    Guarantee: Lipschitz in x with constant `polynomial_gain(coefficients, b)` for every
    b >= ||J||, in exact arithmetic.

    References: Singla & Feizi, ICML 2021, section 3 (the Taylor polynomial); Singla &
    Feizi, NeurIPS 2022, section 4 ("fast").

    Example:
      >>> import jax
      >>> from lipjax.ops import skew_kernel, taylor
      >>> x = jax.random.normal(jax.random.key(0), (8, 8, 4))
      >>> a = skew_kernel(jax.random.normal(jax.random.key(1), (3, 3, 4, 4))) / 8
      >>> y = skew_exponential(x, a, coefficients=taylor(12))
      >>> print(f"{jnp.linalg.norm(y) / jnp.linalg.norm(x):.5f}")
      1.00000
    """
    if len(coefficients) < 2:
        raise ValueError(f"at least two coefficients are needed: {coefficients}")
    if kernel.shape[-1] != x.shape[-1]:
        raise ValueError(f"kernel {kernel.shape} does not fit input {x.shape}")
    layout = conv_layout(x, kernel)
    scale = jnp.asarray(scale, jnp.float32 if _is_narrow(x.dtype) else x.dtype)
    z = fusion_barrier(layout.enter(x))
    y: Any
    if gradient == "exact":
        scaled, _ = _scaling_the_kernel(kernel, 1 / scale)
        operator = functools.partial(
            _term, layout, kernel=kernel, scale=scale, scaled=scaled
        )
        y, _ = _horner(z, operator, coefficients)
    elif gradient == "fast":
        y = _factored(z, kernel, scale, layout, coefficients, _fast(coefficients))
    elif gradient == "low_rank":
        factors = _low_rank(coefficients, bound)
        y = _factored(z, kernel, scale, layout, coefficients, factors)
    else:
        raise ValueError(f"unknown gradient {gradient!r}: choose from {GRADIENTS}")
    return fusion_barrier(layout.leave(y)).reshape(x.shape)


def _is_narrow(dtype: Any) -> bool:
    return jnp.finfo(dtype).bits < 32


Operator = Callable[[jax.Array], jax.Array]
_Scaled = tuple[jax.Array, jax.Array]


def _operator(
    layout: ConvLayout, kernel: jax.Array, scale: jax.Array, sign: float = 1.0
) -> Operator:
    """J or, for the sign -1, its transpose."""
    if layout.by_products:
        kernel, factor = _scaling_images(kernel, 1 / scale)
    else:
        kernel, factor = lax.platform_dependent(
            kernel, 1 / scale, cpu=_scaling_images, default=_scaling_the_kernel
        )
    return lambda z: (sign * factor) * layout.convolve(z, kernel)


def _scaling_images(kernel: jax.Array, inverse: jax.Array) -> _Scaled:
    """The kernel, and the factor by which it is left to multiply its images."""
    return kernel, inverse.astype(kernel.dtype)


def _scaling_the_kernel(kernel: jax.Array, inverse: jax.Array) -> _Scaled:
    """The scaled kernel, and the factor 1."""
    scaled = (kernel.astype(inverse.dtype) * inverse).astype(kernel.dtype)
    return scaled, jnp.ones((), kernel.dtype)


# J x, differentiated as the convolution by `scaled` = kernel / scale: only x is kept.
@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _term(layout, x, kernel, scale, scaled):
    return _operator(layout, kernel, scale)(x)


@functools.partial(_term.defjvp, symbolic_zeros=True)
def _term_jvp(layout, primals, tangents):
    x, kernel, scale, scaled = primals
    dx, _, _, dscaled = tangents
    y = _term(layout, x, kernel, scale, scaled)
    dy = []
    if not is_zero(dx):
        dy += [jax.jvp(_operator(layout, kernel, scale), (x,), (dx,))[1]]
    if not is_zero(dscaled):
        by_kernel = functools.partial(layout.convolve, x)
        dy += [jax.jvp(by_kernel, (scaled,), (dscaled,))[1]]
    return y, functools.reduce(jnp.add, dy)


def _horner(
    x: jax.Array, operator: Operator, coefficients: Coefficients
) -> tuple[jax.Array, jax.Array]:
    """The polynomial p(J) x, and sum_k a_(k+1) J^k x from before the last step."""
    *lower, a, last = coefficients
    before = last * x
    z = a * x + last * operator(x)
    for a in reversed(lower):
        before, z = z, a * x + operator(z)
    return z, before


# A rule that is a sum of products, c_ij = sum_r s_r q_r[i] q_r[j], needs only the
# weighted sums of powers  P_r = sum_j q_r[j] J^j x  and  Q_r = sum_i q_r[i] (-J)^i g.
# Since J = A / s, the gradient in A is the one in J over s, and the one in s is
# -<A, gradient in A> / s.
Factors = tuple[tuple[float, Coefficients], ...]


def _fast(coefficients: Coefficients) -> Factors:
    if coefficients[1] == 0:
        raise ValueError("the fast gradient needs a_1 != 0")
    return ((1 / coefficients[1], coefficients[1:]),)


@functools.cache
def _low_rank(coefficients: Coefficients, bound: float) -> Factors:
    """Two leading eigenvectors of the Hankel matrix a_{i+j+1} bound^(i+j), unscaled."""
    if not bound > 0:
        raise ValueError(f"the bound must be positive: {bound}")
    d = len(coefficients) - 1
    padded = np.concatenate([coefficients[1:], np.zeros(d)])
    scale = float(bound) ** np.arange(d)
    hankel = padded[np.add.outer(np.arange(d), np.arange(d))] * np.outer(scale, scale)
    values, vectors = np.linalg.eigh(hankel)
    leading = np.argsort(-np.abs(values))[:2]
    return tuple(
        (float(values[r]), tuple(map(float, vectors[:, r] / scale))) for r in leading
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _factored(x, kernel, scale, layout, coefficients, factors):
    return _horner(x, _operator(layout, kernel, scale), coefficients)[0]


def _factored_fwd(x, kernel, scale, layout, coefficients, factors):
    operator = _operator(layout, kernel, scale)
    y, *sums = _sums(x, operator, coefficients, factors)
    by_images = _is_fast(coefficients, factors) and 2 * x.size < kernel.size
    return y, (kernel, scale, sums, (x, y) if by_images else None)


def _is_fast(coefficients: Coefficients, factors: Factors) -> bool:
    return factors[0][1] == coefficients[1:]


def _factored_bwd(layout, coefficients, factors, saved, g):
    kernel, scale, sums, images = saved
    operator = _operator(layout, kernel, scale, sign=-1.0)
    gx, *duals = _sums(g, operator, coefficients, factors)

    def of_kernel(factor: jax.Array, p: jax.Array, q: jax.Array) -> jax.Array:
        factor = factor.astype(q.dtype)
        if q.size < kernel.size:
            return layout.gradient(p, factor * q, kernel)
        return factor * layout.gradient(p, q, kernel)

    gradients = [
        of_kernel(weight / scale, p, q)
        for (weight, _), p, q in zip(factors, sums, duals, strict=True)
    ]
    gradient = functools.reduce(jnp.add, gradients)
    if images is None:
        product = _inner(kernel, gradient, scale.dtype)
    else:  # <A, gradient> = <q, J p>, and J p = p(J) x - a_0 x
        # a GPU's update of the weights is one pass only if no transposition is in it
        gradient = lax.optimization_barrier(gradient)
        x, y = (each.astype(scale.dtype) for each in images)
        product = factors[0][0] * _inner(duals[0], y - coefficients[0] * x, scale.dtype)
    return gx, gradient, -product / scale


def _inner(a: jax.Array, b: jax.Array, dtype: Any) -> jax.Array:
    a, b = a.astype(dtype), b.astype(dtype)
    return jnp.vdot(a, b, precision=PRECISION)


_factored.defvjp(_factored_fwd, _factored_bwd)


def _sums(
    x: jax.Array, operator: Operator, coefficients: Coefficients, factors: Factors
) -> list[jax.Array]:
    """p(J) x and the sum of powers of each factor."""
    weights = tuple(q for _, q in factors)
    if _is_fast(coefficients, factors):
        return list(_horner(x, operator, coefficients))
    return _power_sums(x, operator, (coefficients, *weights))


def _power_sums(
    x: jax.Array, operator: Operator, weights: tuple[Coefficients, ...]
) -> list[jax.Array]:
    """The sums  sum_k w[k] J^k x  for several sequences of weights w."""
    sums = [w[0] * x for w in weights]
    power = x
    for k in range(1, max(map(len, weights))):
        power = operator(power)
        sums = [
            s + w[k] * power if k < len(w) else s
            for s, w in zip(sums, weights, strict=True)
        ]
    return sums
