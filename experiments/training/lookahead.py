"""Lookahead: slow weights that follow the trained ones at intervals."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

SHARE = 0.5
"""Of the way from the slow weights to the fast ones, at each synchronisation."""


class Lookahead(NamedTuple):
    """The optimiser's state: the weights that it trains, and its own state."""

    fast: Any
    inner: Any


def lookahead(
    fast: optax.GradientTransformation, period: int
) -> optax.GradientTransformation:
    """An optimiser of slow weights: what a state calls its parameters.

    Gradients are to be taken at `trained` weights, on which `fast` takes a step.
    After `period` of them, both sorts of weights become their mean.

    Args:
      fast: the optimiser of the fast weights.
      period: steps between synchronisations; 0: `fast` itself.

    References: Zhang et al., Lookahead optimizer: k steps forward, 1 step back, 2019.

    Example:
      >>> tx = lookahead(optax.sgd(1.0), period=2)
      >>> slow = jnp.array(0.0)
      >>> state = tx.init(slow)
      >>> for _ in range(2):
      ...     update, state = tx.update(jnp.array(-1.0), state, slow)
      ...     slow = optax.apply_updates(slow, update)
      ...     print(f"{slow} {trained(state, slow)}")
      0.0 1.0
      1.0 1.0
    """
    if not period:
        return fast
    pairs = optax.lookahead(fast, period, SHARE)

    def init(params) -> Lookahead:
        copy = jax.tree.map(jnp.copy, params)  # steps are given both, to use up
        return Lookahead(copy, pairs.init(optax.LookaheadParams(copy, params)))

    def update(updates, state: Lookahead, params):
        pair = optax.LookaheadParams(state.fast, params)
        found: Any
        found, inner = pairs.update(updates, state.inner, pair)
        return found.slow, Lookahead(optax.apply_updates(state.fast, found.fast), inner)

    return optax.GradientTransformation(init, update)  # pyright: ignore


def trained(opt_state: Any, params: Any) -> Any:
    """The weights at which gradients are taken: the fast ones if there are any."""
    return opt_state.fast if isinstance(opt_state, Lookahead) else params
