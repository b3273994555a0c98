"""Activations that keep the norm of every gradient, and poolings of channels."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from lipjax import ops


class MaxMin(nn.Module):
    """`lipjax.ops.maxmin` as a module without parameters."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return ops.maxmin(x)


class Householder(nn.Module):
    """`lipjax.ops.householder` with c / 2 learned angles, initially pi / 2."""

    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (x.shape[-1] // 2,)
        init = nn.initializers.constant(jnp.pi / 2)
        return ops.householder(x, self.param("theta", init, shape, self.param_dtype))


class HouseholderOrder2(nn.Module):
    """`lipjax.ops.householder2` with 3 c / 2 angles, initially uniform in 0..pi."""

    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (x.shape[-1] // 2,)
        init = nn.initializers.uniform(jnp.pi)
        angles = [
            self.param(f"theta{i}", init, shape, self.param_dtype) for i in range(3)
        ]
        return ops.householder2(x, *angles)


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
