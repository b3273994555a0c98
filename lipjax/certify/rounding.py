"""The rounding of IEEE double precision: the constants of the error analysis.

An execution may keep subnormal numbers, or replace any of them by zero wherever it
meets one. While all numbers are smaller than `HUGE`, that and gradual underflow change
a number that a layer computes, a dot product for example, by less than 2^-690, and the
root of a sum of two squares by less than 2^-510. `TINY` covers it for 2^60 numbers
together. It is an error like any other: later layers may amplify it.

Bounds are themselves computed in floating point. They are sums and products of positive
numbers, of far fewer than 4000 operations each, so `up` covers their own rounding.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

UNIT = 2.0**-53
"""Largest relative error of one rounded operation."""

TINY = 2.0**-480
"""Covers underflow, flushed or gradual, in one step of a layer on a whole array."""

HUGE = 2.0**300
"""All weights, and the norms of all vectors of an execution, are proven to be smaller:
products and sums of them, and their squares, stay far from overflow."""

LEAST = 2.0**-100
"""Smaller radii are reported as 0."""

ELEMENTARY = 8 * UNIT
"""Assumed relative error of sin, cos, atan2, exp and log1p: 4 units in the last
place."""

FINAL = 2.0**-40
"""Relative error of a bound's own arithmetic, with room to spare."""


def gamma(terms: int) -> float:
    """Relative error of a dot product of `terms` terms, summed in any order.

    .. math:: |fl(w \\cdot x) - w \\cdot x| \\le \\gamma_n |w| \\cdot |x|, \\quad
              \\gamma_n = \\frac{n u}{1 - n u}

    References: Higham, Accuracy and stability of numerical algorithms, section 3.1.

    Example:
      >>> 1000 < gamma(1000) / UNIT < 1000.00001
      True
    """
    return up(terms * UNIT / (1 - terms * UNIT))


def up(value):
    """A bound, enlarged by more than the error of its own arithmetic."""
    return value * (1 + FINAL)


def down(value):
    """A positive lower bound, reduced by more than the error of its own arithmetic."""
    return value * (1 - FINAL)


def norm_bound(array: np.ndarray) -> float:
    """Upper bound on the l2 norm of all entries.

    Example:
      >>> 5 <= norm_bound(np.array([3.0, 4.0])) < 5 + 1e-11
      True
    """
    array = np.asarray(array, np.float64)
    return up(float(np.linalg.norm(array.ravel())) * (1 + gamma(array.size + 2))) + TINY


def column_norms_bound(matrix: np.ndarray) -> np.ndarray:
    """Upper bounds on the l2 norms of a matrix' columns."""
    norms = np.linalg.norm(matrix, axis=0)
    return up(norms * (1 + gamma(len(matrix) + 8))) + TINY


def norms_bound(vectors: jax.Array) -> jax.Array:
    """Upper bounds on the l2 norms along the last axis, for arrays of JAX."""
    longest = 1 + gamma(vectors.shape[-1] + 8)
    return up(jnp.linalg.norm(vectors, axis=-1) * longest) + TINY
