"""What all convolutions share: fields, space-to-depth, and the bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class StridedConv(nn.Module):
    """Base class of convolutions whose stride is a space-to-depth.

    Attributes: `SkewOrthogonalConv` describes them.

    Call: `layer(x, train=False, update_stats=False)`.

    Example, a convolution that copies pixels:
      >>> class Copy(StridedConv):
      ...     @nn.compact
      ...     def __call__(self, x, train=False, update_stats=False):
      ...         return plus_bias(x[..., : self.features], self.bias(1.0))
      >>> y, variables = Copy(2).init_with_output(jax.random.key(0), jnp.ones((1, 3)))
      >>> y.shape, variables["params"]["bias"].shape
      ((1, 2), (2,))
    """

    features: int
    kernel_size: int | Sequence[int] = 3
    strides: int | Sequence[int] = 1
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer | None = None
    bias_init: nn.initializers.Initializer | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @property
    def stride(self) -> int:
        """The s of the strides s or (s, s)."""
        return _square("strides", self.strides)

    @property
    def size(self) -> int:
        """The k of the kernel size k or (k, k)."""
        return _square("kernel_size", self.kernel_size)

    def bias(self, limit: float) -> jax.Array | None:
        """The parameter b, uniform on [-limit, limit] at first; None without one."""
        if not self.use_bias:
            return None
        init = self.bias_init or symmetric_uniform(limit)
        return self.param("bias", init, (self.features,), self.param_dtype)


def plus_bias(y: jax.Array, bias: jax.Array | None) -> jax.Array:
    """y + b, of shape [..., features], or y if there is no bias."""
    if bias is None:
        return y
    return y + jnp.expand_dims(bias, tuple(range(y.ndim - 1)))


def _square(field: str, size: int | Sequence[int]) -> int:
    """The side k of a size k or (k, k).

    Raises:
      ValueError: for any other size; it names the field.
    """
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or sides[0] != sides[1]:
        raise ValueError(f"{field} must be an integer or two equal ones: {size}")
    return sides[0]


def symmetric_uniform(limit: float) -> nn.initializers.Initializer:
    """Initializer of the uniform distribution on [-limit, limit]."""

    def init(key, shape, dtype):
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init
