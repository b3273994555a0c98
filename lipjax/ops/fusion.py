"""A barrier against XLA's fusion on a CPU."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer


def fusion_barrier(x: jax.Array) -> jax.Array:
    """Returns the array unchanged, and has the compiler compute it only once.

    On a CPU, XLA fuses everything except products into each of its users, through
    transpositions and whole layers. Without a barrier each term of a polynomial would
    compute the ends of all layers before it again. XLA drops optimisation barriers
    before it fuses, but keeps branches. Both branches here give the array. The second,
    for arrays that begin with NaN, is slow and hardly ever runs.

    Args:
      x: any array.

    Example:
      >>> fusion_barrier(jnp.arange(3.0))
      Array([0., 1., 2.], dtype=float32)
    """
    if not isinstance(x, Tracer):  # it is not compiled with its users
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
    return x[jnp.arange(x.shape[0])]
