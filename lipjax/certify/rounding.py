"""What IEEE double precision can do to a number: the error analysis' vocabulary.

Numbers of this file are bounds that are themselves computed in floating point: sums and
products of positive numbers, far fewer than 4000 operations each, so that `up` covers
their own rounding.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

UNIT = 2.0**-53
"""Largest relative error of one rounded operation."""

TINY = 2.0**-500
"""Covers underflow, flushed or gradual, in one operation on a whole array: products
lose at most 2^-1022 each, a root of a sum of squares at most 2^-510."""

ELEMENTARY = 8 * UNIT
"""Assumed relative error of sin, cos, atan2, exp and log1p: 4 units in the last
place."""

FINAL = 2.0**-40
"""Relative error, with room to spare, of a bound's own arithmetic."""


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
    """The result of a bound's arithmetic, enlarged beyond that arithmetic's error."""
    return value * (1 + FINAL)


def down(value):
    """The result of a positive bound's arithmetic, made smaller by the same."""
    return value * (1 - FINAL)


def norm_bound(array: np.ndarray) -> float:
    """Upper bound on the l2 norm of all entries.

    Example:
      >>> 5 <= norm_bound(np.array([3.0, 4.0])) < 5 + 1e-11
      True
    """
    array = np.asarray(array, np.float64)
    return up(float(np.linalg.norm(array.ravel())) * (1 + gamma(array.size + 2))) + TINY


def norms_bound(vectors: jax.Array) -> jax.Array:
    """Upper bounds on the l2 norms along the last axis, in JAX."""
    longest = 1 + gamma(vectors.shape[-1] + 8)
    return up(jnp.linalg.norm(vectors, axis=-1) * longest) + TINY
