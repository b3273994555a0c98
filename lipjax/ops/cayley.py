"""Orthogonal convolution by the Cayley transform of one matrix per frequency."""

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


def cayley_convolution(x: jax.Array, kernel: jax.Array, alpha: jax.Array) -> jax.Array:
    r"""The circular convolution by `cayley_kernel`, in the frequency domain.

    .. math:: \hat y_\omega = Q_\omega \hat x_\omega, \quad
              Q_\omega = \operatorname{cayley}(\alpha W_\omega / \|W\|)

    with W_omega the transposed matrices of `kernel_symbols` and the norm over the
    frequencies of `rfft2`, about half of all. A W = [U; V] with at least as many rows
    as columns becomes

    .. math:: \operatorname{cayley}(W) = \begin{bmatrix} (I + A)^{-1} (I - A) \\
              -2 V (I + A)^{-1} \end{bmatrix}, \quad A = U - U^* + V^* V

    which has orthonormal columns; other ones are transposed before and after.

    Args:
      x: input of shape [..., height, width, channels_in].
      kernel: of shape [rows, columns, channels_in, channels_out], of any scale.
      alpha: the norm to which W is scaled, of shape [].

    Returns:
      Array of shape [..., height, width, channels_out].

    Guarantee: orthogonal if the channels are equal, and else with orthonormal rows or
    columns, for any kernel and alpha, in exact arithmetic.

    References: Trockman & Kolter, ICLR 2021, sections 3 and 4.

    Example:
      >>> x = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
      >>> kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 5))
      >>> y = cayley_convolution(x, kernel, jnp.array(9.0))
      >>> y.shape, f"{jnp.linalg.norm(y) / jnp.linalg.norm(x):.4f}"
      ((2, 4, 4, 5), '1.0000')
    """
    return apply_symbols(x, _symbols(kernel, alpha, *x.shape[-3:-1]))


def cayley_kernel(
    kernel: jax.Array, alpha: jax.Array, height: int, width: int
) -> jax.Array:
    """The kernel of the circular convolution that `cayley_convolution` is.

    Args:
      kernel: of shape [rows, columns, channels_in, channels_out].
      alpha: of shape [].
      height: of the images.
      width: of the images.

    Returns:
      Array of shape [height, width, channels_in, channels_out]. Tap t has the offset
      t - side // 2.

    Example:
      >>> cayley_kernel(jnp.zeros((1, 1, 1, 1)), jnp.ones(()), 1, 3).ravel()
      Array([0., 1., 0.], dtype=float32)
    """
    return kernel_of_symbols(_symbols(kernel, alpha, height, width), width)


def cayley_norm(kernel: jax.Array, height: int, width: int) -> jax.Array:
    """The alpha for which `cayley_convolution` leaves a kernel's scale as it is.

    Args:
      kernel: of shape [rows, columns, channels_in, channels_out].
      height: of the images.
      width: of the images.

    Returns:
      The l2 norm of the matrices at the frequencies of `rfft2`, of shape []. Its
      gradient is finite at zero.

    Example, two of the frequencies of 1x3 pixels:
      >>> cayley_norm(jnp.ones((1, 1, 1, 1)), 1, 3)
      Array(1.4142135, dtype=float32)
    """
    return _norm(kernel_symbols(kernel, height, width))


def _symbols(kernel, alpha, height: int, width: int) -> jax.Array:
    """Q, transposed: [height, width // 2 + 1, channels_in, channels_out]."""
    symbols = kernel_symbols(largest_entry_one(kernel), height, width)
    norm = _norm(symbols)
    factor = alpha / jnp.where(norm > 0, norm, jnp.ones_like(norm))
    matrices = (symbols * factor.astype(symbols.dtype)).swapaxes(-1, -2)
    return _cayley(matrices).swapaxes(-1, -2)


def _norm(symbols: jax.Array) -> jax.Array:
    squared = jnp.sum(symbols.real**2 + symbols.imag**2)
    positive = jnp.where(squared > 0, squared, jnp.ones_like(squared))
    return jnp.where(squared > 0, jnp.sqrt(positive), jnp.zeros_like(squared))


def _cayley(matrices: jax.Array) -> jax.Array:
    """The Cayley transform of complex matrices [..., m, n]."""
    rows, columns = matrices.shape[-2:]
    if columns > rows:
        return _cayley(matrices.swapaxes(-1, -2)).swapaxes(-1, -2)
    u, v = matrices[..., :columns, :], matrices[..., columns:, :]
    skew = u - jnp.conj(u).swapaxes(-1, -2)
    a = skew + contract("...ki,...kj->...ij", jnp.conj(v), v)
    identity = jnp.broadcast_to(jnp.eye(columns, dtype=a.dtype), a.shape)
    inverted = inverse(identity + a)
    below = -2 * contract("...ki,...ij->...kj", v, inverted)
    return jnp.concatenate([2 * inverted - identity, below], axis=-2)
