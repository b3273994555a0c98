r"""The dual certificate of a curvature head: a proven distance, near the true one.

For g = h_y - h_t, -m I <= Hessian, z the features and 0 <= eta < 1/m, the function
1/2 ||delta||^2 + eta g(z + delta) is (1 - eta m)-strongly convex. Hence, with the
residual rho = delta + eta grad g(z + delta) at **any** delta,

.. math:: \operatorname{dist}(z, \{g \le 0\})^2 \ge \|\delta\|^2
          + 2 \eta g(z + \delta) - \frac{\|\rho\|^2}{1 - \eta m}

So a search in float32 may be as rough as it likes: the point it finds is proven
afterwards.

Source: Singla & Feizi, ICML 2020, theorem 2 (the dual); the correction by the residual
follows from strong convexity.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lipjax.certify.rounding import FINAL, UNIT, down, gamma, norms_bound, up
from lipjax.ops import CurvatureWeights, contract

LARGEST_SHARE = 0.97
"""The largest eta that is tried, as a share of 1/m."""


class Items(NamedTuple):
    """One problem per row: features, the predicted and the other class, curvatures."""

    features: jax.Array  # [n, D]
    classes: jax.Array  # [n], y
    others: jax.Array  # [n], t
    below: jax.Array  # [n], m
    above: jax.Array  # [n], M: sets the length of the search's steps


class Point(NamedTuple):
    """A point to evaluate the bound at: any eta >= 0 and any delta are valid."""

    eta: jax.Array  # [n]
    delta: jax.Array  # [n, D]


def margin_and_gradient(
    weights: CurvatureWeights, items: Items, delta: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The margin g [n] and its gradient [n, D] at features + delta."""
    columns = weights.output_kernel.T
    d = columns[items.classes] - columns[items.others]
    bias = weights.output_bias
    t = contract("nd,dh->nh", items.features + delta, weights.hidden_kernel)
    t = t + weights.hidden_bias[None]
    g = contract("nh,nh->n", jax.nn.softplus(t), d)
    gradient = contract("nh,dh->nd", d / (1 + jnp.exp(-t)), weights.hidden_kernel)
    return g + (bias[items.classes] - bias[items.others]), gradient


def dual_radius(
    weights: CurvatureWeights,
    items: Items,
    point: Point,
    margin_error: jax.Array,
    gradient_error: jax.Array,
) -> jax.Array:
    """Proven distances inside which the margins stay positive, despite their errors.

    Args:
      weights: of the head, float64.
      items: n problems.
      point: eta and delta of each.
      margin_error: bounds on the margins' errors, of shape [n].
      gradient_error: bounds on the errors of the gradients' norms, of shape [n].

    Returns:
      Of shape [n]; 0 where eta is not below 1/m, or the point proves nothing.
    """
    eta, delta = point
    g, gradient = margin_and_gradient(weights, items, delta)
    convexity = 1 - up(eta * items.below) - 4 * UNIT
    residual = norms_bound(delta + eta[:, None] * gradient)
    length = norms_bound(delta)
    residual = up(residual + eta * gradient_error) + 4 * UNIT * length
    gain = 2 * eta * (g - margin_error)
    loss = residual**2 / jnp.where(convexity > 0, convexity, 1)
    shortest = jnp.sum(delta**2, axis=1) * (1 - gamma(delta.shape[1] + 8))
    terms = shortest + 2 * eta * (jnp.abs(g) + margin_error) + loss
    squared = shortest + gain - loss - FINAL * terms
    proven = (convexity > 0) & (eta >= 0) & (squared > 0)
    return jnp.where(proven, down(jnp.sqrt(jnp.where(proven, squared, 1))), 0)


def search(
    weights: CurvatureWeights, items: Items, *, rounds: int = 12, steps: int = 5
) -> Point:
    """Searches for eta and delta that give a large `dual_radius`, in float32.

    For a given eta it takes gradient steps in delta. The margin there falls as eta
    grows, and eta follows its zero by false position. The best point seen is kept.

    Args:
      weights: of the head.
      items: n problems, with a positive margin at delta = 0.
      rounds: values of eta.
      steps: gradient steps for each.

    Returns:
      The points, eta and delta exact in float32.
    """
    weights, items = jax.tree.map(_single, (weights, items))
    zero = jnp.zeros_like(items.features)
    g, gradient = margin_and_gradient(weights, items, zero)
    m = jnp.maximum(items.below, 1e-30)
    slope = jnp.sum(gradient**2, axis=1)
    root = jnp.sqrt(slope + 2 * m * g)
    # At delta = 0 and this eta the dual is the closed form: no search ends below it.
    eta = 2 * g / jnp.maximum((jnp.sqrt(slope) + root) * root, 1e-30)
    cap = LARGEST_SHARE / m
    eta = jnp.minimum(eta, cap)
    start = _Search(
        eta=eta,
        delta=zero,
        low=(0 * g, g),
        high=(cap, 0 * g),
        bracketed=jnp.zeros(g.shape, bool),
        best=Point(eta, zero),
        value=-1 + 0 * g,
    )
    advance = functools.partial(_round, weights, items, steps)
    return lax.fori_loop(0, rounds, lambda _, s: advance(s), start).best


class _Search(NamedTuple):
    eta: jax.Array
    delta: jax.Array
    low: tuple[jax.Array, jax.Array]  # an eta, and its margin, which is positive
    high: tuple[jax.Array, jax.Array]  # a larger eta; its margin, if it is bracketed
    bracketed: jax.Array
    best: Point
    value: jax.Array  # of the best


def _round(weights, items: Items, steps: int, s: _Search) -> _Search:
    eta, cap = s.eta, LARGEST_SHARE / jnp.maximum(items.below, 1e-30)
    rate = (2 / (2 + eta * (items.above - items.below)))[:, None]

    def descend(_, delta):
        _, gradient = margin_and_gradient(weights, items, delta)
        return delta - rate * (delta + eta[:, None] * gradient)

    delta = lax.fori_loop(0, steps, descend, s.delta)
    g, gradient = margin_and_gradient(weights, items, delta)
    residual = jnp.sum((delta + eta[:, None] * gradient) ** 2, axis=1)
    value = jnp.sum(delta**2, axis=1) + 2 * eta * g
    value = value - residual / (1 - eta * items.below)
    low, high = _pick(g > 0, ((eta, g), s.high), (s.low, (eta, g)))
    bracketed = s.bracketed | ~(g > 0)
    share = low[1] / jnp.maximum(low[1] - high[1], 1e-30)
    inside = low[0] + jnp.clip(share, 0.1, 0.9) * (high[0] - low[0])
    following = jnp.where(bracketed, inside, jnp.minimum(2 * eta, cap))
    point, value = _pick(value > s.value, (Point(eta, delta), value), (s.best, s.value))
    return _Search(following, delta, low, high, bracketed, point, value)


def _pick(condition, yes, no):
    def pick(a, b):
        return jnp.where(condition.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(pick, yes, no)


def _single(leaf: jax.Array) -> jax.Array:
    return leaf.astype(jnp.float32) if leaf.dtype == jnp.float64 else leaf
