"""A stop for XLA's fusion on a CPU."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer


def fusion_barrier(x: jax.Array) -> jax.Array:
    """The array itself, which the compiler computes once, however often it is used.

    On a CPU, XLA fuses whatever is not a product into each of its users, through
    transpositions and whole layers: the terms of a series would each compute the tails
    of all layers before them again. It drops optimisation barriers before it fuses, but
    a branch it keeps. Both branches give the array; the second is not for running.

    Example:
      >>> fusion_barrier(jnp.arange(3.0))
      Array([0., 1., 2.], dtype=float32)
    """
    if not isinstance(x, Tracer):  # nothing to be compiled with it
        return x
    return lax.platform_dependent(x, cpu=_by_a_branch, default=same)


def _by_a_branch(x: jax.Array) -> jax.Array:
    first = lax.stop_gradient(x).reshape(-1)[:1]
    is_number = jnp.all(first == first)
    return lax.cond(is_number, same, _same_by_a_gather, x)


def same(x: jax.Array) -> jax.Array:
    """The array."""
    return x


def _same_by_a_gather(x: jax.Array) -> jax.Array:
    return x[jnp.arange(len(x))]
