"""Proven bounds of a head, once per network: its margins' slopes, its rounding."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lipjax.certify.curvature import Curvatures, additive_curvature_bounds
from lipjax.certify.network import Head, Linear
from lipjax.certify.rounding import (
    ELEMENTARY,
    TINY,
    UNIT,
    column_norms_bound,
    gamma,
    norm_bound,
    up,
)
from lipjax.ops import CurvatureWeights


class LogitError(NamedTuple):
    """Bound slope N + offset on the error of each logit at features of norm N."""

    slope: jax.Array  # [C]
    offset: jax.Array  # [C]

    def of_margins(self, classes: jax.Array, norm: jax.Array) -> jax.Array:
        """Bound on the error of the margins l_y - l_t, [n, C]; norm [n] or [n, C]."""
        norm = norm.reshape(len(norm), -1)
        each = self.slope[None] * norm + self.offset[None]
        own = self.slope[classes][:, None] * norm + self.offset[classes][:, None]
        return up(each + own)


class HeadBound(NamedTuple):
    """Proven bounds of a head.

    Attributes:
      slopes: bound on the norm of every margin's gradient, [C, C], of a linear head;
        0 for a curvature head.
      error: of the logits.
      gradient_error: of the norm of each logit's computed gradient.
    """

    slopes: jax.Array
    error: LogitError
    gradient_error: LogitError


def head_bound(head: Head) -> HeadBound:
    """Proves what certificates of a head need.

    Args:
      head: in float64.

    Example:
      >>> bound = head_bound(Linear(np.eye(3), np.zeros(3)))
      >>> bool((bound.slopes >= np.sqrt(2 * (1 - np.eye(3)))).all())
      True
    """
    if isinstance(head, Linear):
        return _linear_bound(head)
    classes = len(head.output_bias)
    return HeadBound(jnp.zeros((classes, classes)), *_curvature_errors(head))


def initial_curvatures(head: Head) -> Curvatures:
    """The quick bounds of `additive_curvature_bounds`; zero for a linear head."""
    if isinstance(head, Linear):
        bounds = np.zeros(2 * head.bias.shape)
    else:
        bounds = additive_curvature_bounds(head)
    return Curvatures(bounds, np.zeros(bounds.shape, bool))


def _linear_bound(head: Linear) -> HeadBound:
    kernel, bias = np.asarray(head.kernel), np.asarray(head.bias)
    size = len(kernel)
    distances = column_norms_bound(kernel[:, :, None] - kernel[:, None, :])
    slope = up(gamma(size + 2) * column_norms_bound(kernel))
    offset = up(gamma(size + 2) * np.abs(bias)) + TINY
    errors = _error(slope, offset), _error(0 * slope, 0 * offset)
    return HeadBound(jnp.asarray(distances), *errors)


def _curvature_errors(weights: CurvatureWeights) -> tuple[LogitError, LogitError]:
    r"""Rounding of the logits and of their gradients, see docs/guarantees.md.

    With kappa = gamma_(D+4) + 2.5 elementary errors, a hidden unit is at most
    ||w_h|| N + |b_h| + 1, and its error is at most kappa times that.
    """
    w1, b1, w2, b2 = (np.asarray(w) for w in weights)
    features, hidden = w1.shape
    slopes = column_norms_bound(w1)
    offsets = up(np.abs(b1) + 1)
    kappa = up(gamma(features + 4) + 3 * ELEMENTARY)
    factor = up((kappa + gamma(hidden + 6)) * (1 + 2 * kappa + gamma(hidden)))
    logits = _error(
        up(factor * (slopes @ np.abs(w2))),
        up(factor * (offsets @ np.abs(w2)) + gamma(hidden + 6) * np.abs(b2)) + TINY,
    )
    # The slope of softplus is 1/4-Lipschitz.
    outer = up(norm_bound(w1) * column_norms_bound(w2))
    fixed = kappa * offsets.max() / 4 + 2 * ELEMENTARY + gamma(hidden + 6)
    gradients = _error(
        up(outer * kappa * slopes.max() / 4),
        up(outer * fixed + 4 * UNIT * outer) + TINY,
    )
    return logits, gradients


def _error(slope: np.ndarray, offset: np.ndarray) -> LogitError:
    return LogitError(jnp.asarray(slope), jnp.asarray(offset))
