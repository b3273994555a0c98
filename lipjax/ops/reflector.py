"""Block reflectors: convolutions that do not expand by construction, without iteration.

A reflector I - 2 V (V* V)^-1 V* mirrors the space at the complement of V's columns. Its
eigenvalues are 1 and -1. With V* V + delta I in the middle they become 1 - 2 s / (s +
delta) for the eigenvalues s >= 0 of V* V, all of them in (-1, 1], and the inverse
always exists.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lipjax.ops.circular import (
    apply_symbols,
    kernel_of_symbols,
    kernel_symbols,
    largest_entry_one,
)
from lipjax.ops.contraction import contract
from lipjax.ops.inverse import inverse

RIDGE = 1e-4
"""delta, where V* V has a mean diagonal of 1. A direction of that size loses 2e-4 of
its norm, the smallest ones of random V (s = 0.09) 2e-3. The condition number of the
inverse stays near 1e5, so float32 solves for it; smaller deltas would lose that."""


def reflector_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    r"""A block reflector at every frequency, a circular convolution.

    .. math:: \hat y_\omega = \hat x_\omega - 2 V_\omega (V_\omega^* V_\omega +
              \delta I)^{-1} V_\omega^* \hat x_\omega

    with V the discrete Fourier transform of a kernel scaled to a mean diagonal of V* V
    of 1 (over the frequencies; where taps do not wrap around), and delta = 1e-4.

    Args:
      x: input of shape [..., height, width, c].
      kernel: of shape [rows, columns, c, r], r <= c; of any scale.

    Returns:
      Array of shape [..., height, width, c]. A zero kernel leaves x as it is, and has
      a zero gradient.

    Guarantee: 1-Lipschitz for any kernel, in exact arithmetic.

    References: Lai et al., Enhancing certified robustness via block reflector
    orthogonal layers and logit annealing loss, ICML 2025.

    Example:
      >>> x = jax.random.normal(jax.random.key(0), (2, 4, 4, 6))
      >>> kernel = jax.random.normal(jax.random.key(1), (3, 3, 6, 3))
      >>> y = reflector_convolution(x, kernel)
      >>> f"{jnp.linalg.norm(y) / jnp.linalg.norm(x):.3f}"
      '1.000'
    """
    return apply_symbols(x, reflector_symbols(kernel, *x.shape[-3:-1]))


def reflector_kernel(kernel: jax.Array, height: int, width: int) -> jax.Array:
    """The kernel of the circular convolution that `reflector_convolution` is.

    Args:
      kernel: of shape [rows, columns, c, r], r <= c.
      height: of the images.
      width: of the images.

    Returns:
      Array of shape [height, width, c, c]. Tap t has the offset t - side // 2.

    Example, the reflection at the axis orthogonal to (1, 1):
      >>> reflector_kernel(jnp.ones((1, 1, 2, 1)), 1, 1).round(3)[0, 0]
      Array([[ 0., -1.],
             [-1.,  0.]], dtype=float32)
    """
    return kernel_of_symbols(reflector_symbols(kernel, height, width), width)


def reflector_symbols(kernel: jax.Array, height: int, width: int) -> jax.Array:
    """The matrices of `reflector_convolution`: [height, width // 2 + 1, c, c]."""
    v, inner = _factors(kernel, height, width)
    product = 2 * contract("hwor,hwri->hwio", v, inner)
    identity = jnp.eye(product.shape[-1], dtype=product.dtype)
    return jnp.broadcast_to(identity, product.shape) - product


def _factors(kernel, height: int, width: int) -> tuple[jax.Array, jax.Array]:
    """V [h, w, c, r] and (V* V + delta I)^-1 V* [h, w, r, c]."""
    kernel = largest_entry_one(kernel)
    rank = kernel.shape[-1]
    squared = jnp.sum(kernel**2)
    mean = jnp.where(squared > 0, squared, jnp.ones_like(squared)) / rank
    v = jnp.conj(kernel_symbols(kernel / jnp.sqrt(mean), height, width))
    adjoint = jnp.conj(v).swapaxes(-1, -2)
    gram = contract("hwrc,hwcs->hwrs", adjoint, v)
    ridge = RIDGE * jnp.eye(rank, dtype=gram.dtype)
    return v, contract(
        "hwrs,hwsc->hwrc", inverse(gram + jnp.broadcast_to(ridge, gram.shape)), adjoint
    )
