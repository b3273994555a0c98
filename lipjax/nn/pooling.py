"""Poolings of channels, with their angles."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from lipjax import ops


class ChannelMaxPool(nn.Module):
    """`lipjax.ops.channel_max_pool` as a module without parameters."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return ops.channel_max_pool(x)


class ProjectionPool(nn.Module):
    """`lipjax.ops.projection_pool` with c / 2 learned angles, at first uniform."""

    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (x.shape[-1] // 2,)
        init = nn.initializers.uniform(jnp.pi)
        return ops.projection_pool(
            x, self.param("theta", init, shape, self.param_dtype)
        )
