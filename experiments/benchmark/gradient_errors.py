"""Errors of the gradient rules against automatic differentiation, in float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from lipjax import ops
from lipjax.ops import Coefficients

SHAPES = ((16, 16), (8, 32), (4, 64))
POLYNOMIALS: dict[str, Coefficients] = {
    "Taylor 5": ops.taylor(5),
    "Chebyshev 4, 2.0": ops.chebyshev(4, 2.0),
    "Chebyshev 6, 2.2": ops.chebyshev(6, 2.2),
}
RULES: dict[str, dict[str, Any]] = {
    "fast": {"gradient": "fast"},
    "low_rank, bound 1.2": {"gradient": "low_rank", "bound": 1.2},
    "low_rank, bound 2.2": {"gradient": "low_rank", "bound": 2.2},
}
_BATCH = 8


def errors() -> Iterator[dict[str, Any]]:
    """Yields a row per shape and polynomial, with the error of every rule.

    The error is the relative l2 error of the skew part of the gradient in the skew
    kernel. The kernel is random and divided by the smaller norm of its unfoldings, so
    that ||J|| is 1.5 to 1.9.
    """
    for side, channels in SHAPES:
        for name, coefficients in POLYNOMIALS.items():
            found = {"image": f"{side}x{side}", "channels": channels}
            yield found | {"polynomial": name} | _row(side, channels, coefficients)


def _row(side: int, channels: int, coefficients: Coefficients) -> dict[str, float]:
    with jax.enable_x64(True):
        arrays = _arrays(side, channels)
        exact = _gradient(arrays, coefficients, {"gradient": "exact"})
        return {
            name: float(
                jnp.linalg.norm(_gradient(arrays, coefficients, rule) - exact)
                / jnp.linalg.norm(exact)
            )
            for name, rule in RULES.items()
        }


def _gradient(arrays, coefficients: Coefficients, rule: dict[str, Any]) -> jax.Array:
    x, kernel, cotangent = arrays

    def value(kernel: jax.Array) -> jax.Array:
        y = ops.skew_exponential(x, kernel, coefficients=coefficients, **rule)
        return jnp.vdot(cotangent, y)

    return ops.skew_kernel(jax.jit(jax.grad(value))(kernel)).ravel()


def _arrays(side: int, channels: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    keys = jax.random.split(jax.random.key(0), 3)
    x, cotangent = (
        jax.random.normal(key, (_BATCH, side, side, channels), jnp.float64)
        for key in keys[:2]
    )
    shape = (3, 3, channels, channels)
    skew = ops.skew_kernel(jax.random.normal(keys[2], shape, jnp.float64))
    norms = [
        jnp.linalg.norm(jnp.concatenate(list(blocks), axis=1), 2)
        for blocks in ops.unfoldings(skew)
    ]
    return x, skew / jnp.minimum(*norms), cotangent
