"""The curvature head h(z) = softplus(z W1 + b1) W2 + b2 and estimates of its curvature.

The second derivative of softplus lies in [0, 1/4]. Hence the Hessian of the margin
g = h_y - h_t, with d = column y minus column t of W2, lies between -m I and M I, where

    m = 1/4 lambda_max(W1 diag(max(-d, 0)) W1^T),  M likewise with max(d, 0).

All curvatures of this file are estimates of m: by an eigenvalue routine, which rounds,
or from below, by power iteration. Bounds are in `lipjax.certify`.

References: Singla & Feizi, NeurIPS 2022, section 5.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lipjax.ops.contraction import contract

SOFTPLUS_CURVATURE = 0.25


class CurvatureWeights(NamedTuple):
    """Weights of a head with D features, H hidden units and C classes."""

    hidden_kernel: jax.Array  # [D, H]
    hidden_bias: jax.Array  # [H]
    output_kernel: jax.Array  # [H, C]
    output_bias: jax.Array  # [C]


def curvature_logits(weights: CurvatureWeights, features: jax.Array) -> jax.Array:
    """Logits h(z) of shape [n, C] at features of shape [n, D]."""
    hidden = jax.nn.softplus(_preactivation(weights, features))
    logits = contract("nh,hc->nc", hidden, weights.output_kernel)
    return logits + weights.output_bias[None]


def curvature_jacobian(weights: CurvatureWeights, features: jax.Array) -> jax.Array:
    """Gradients of all logits, of shape [n, C, D], at features of shape [n, D]."""
    slope = jax.nn.sigmoid(_preactivation(weights, features))
    return contract(
        "dh,nh,hc->ncd", weights.hidden_kernel, slope, weights.output_kernel
    )


def curvature_estimates(
    hidden_kernel: jax.Array, scales: jax.Array, start: jax.Array, steps: int = 2
) -> jax.Array:
    r"""Estimates several curvatures from below, by power iteration.

    .. math:: \tfrac14 \lambda_{\max}(W_1 \operatorname{diag}(s) W_1^\top)

    Args:
      hidden_kernel: W1 of shape [D, H].
      scales: non-negative weights s of shape [p, H], one problem a row.
      start: vector of shape [D] from which all power iterations start.
      steps: of the power iteration.

    Returns:
      Estimates of shape [p], differentiable in `hidden_kernel` and `scales` with the
      vectors held fixed.

    References: Singla & Feizi, NeurIPS 2022, section 5; 2 steps suffice in training.

    Example:
      >>> curvature_estimates(jnp.eye(2), jnp.array([[4.0, 0.0]]), jnp.ones(2))
      Array([1.], dtype=float32)
    """
    frozen, weights = map(lax.stop_gradient, (hidden_kernel, scales))

    def step(_, v: jax.Array) -> jax.Array:
        hidden = contract("dh,pd->ph", frozen, v) * weights
        v = contract("dh,ph->pd", frozen, hidden)
        norm = jnp.linalg.norm(v, axis=-1, keepdims=True)
        return jnp.where(norm > 0, v / jnp.where(norm > 0, norm, 1), 0)

    v = jnp.broadcast_to(lax.stop_gradient(start), (len(scales), len(start)))
    v = lax.fori_loop(0, steps, step, v)
    hidden = contract("dh,pd->ph", hidden_kernel, v)
    return SOFTPLUS_CURVATURE * contract("ph,ph,ph->p", scales, hidden, hidden)


def curvature_penalty(
    weights: CurvatureWeights,
    logits: jax.Array,
    labels: jax.Array,
    start: jax.Array,
    *,
    others: int = 9,
) -> jax.Array:
    """Estimates the mean curvature max(m, M) of the margins to the runners-up.

    Args:
      weights: the head.
      logits: of shape [n, C].
      labels: of shape [n].
      start: leading left singular vector of W1, of shape [D].
      others: how many runners-up count.

    Returns:
      A scalar: an estimate to train with, not a bound.

    References: Singla & Feizi, NeurIPS 2022, section 5.
    """
    classes = logits.shape[-1]
    own = jax.nn.one_hot(labels, classes, dtype=bool)
    ranked = jnp.where(own, -jnp.inf, lax.stop_gradient(logits))
    runners = lax.top_k(ranked, min(others, classes - 1))[1]
    if classes * (classes - 1) <= 2 * runners.size:  # fewer pairs than the samples need
        table = pair_curvature_estimates(weights, start)
        curvature = jnp.maximum(table, table.T)[labels[:, None], runners]
    else:
        first, second = jnp.broadcast_to(labels[:, None], runners.shape), runners
        forth = _of_pairs(weights, first.ravel(), second.ravel(), start, 2)
        back = _of_pairs(weights, second.ravel(), first.ravel(), start, 2)
        curvature = jnp.maximum(forth, back)
    return jnp.mean(curvature)


def pair_curvature_estimates(
    weights: CurvatureWeights, start: jax.Array, steps: int = 2
) -> jax.Array:
    """Estimates the curvature m of every pair of classes from below.

    Args:
      weights: the head.
      start: leading left singular vector of W1, of shape [D].
      steps: of the power iteration.

    Returns:
      m of shape [C, C]: row y, column t belongs to h_y - h_t. M is its transpose.
    """
    classes = jnp.arange(weights.output_kernel.shape[1])
    first, second = jnp.meshgrid(classes, classes, indexing="ij")
    m = _of_pairs(weights, second.ravel(), first.ravel(), start, steps)
    return m.reshape(first.shape)


def pair_curvatures(weights: CurvatureWeights) -> jax.Array:
    """Estimates of the curvature m of every pair of classes, exact up to rounding.

    The eigenvalue routine is trusted, so none of them is a bound: see
    `lipjax.certify.pair_curvature_bound`.

    Args:
      weights: a head with D features, H hidden units and C classes.

    Returns:
      m of shape [C, C]: row y, column t belongs to h_y - h_t. M is its transpose.
      C^2 eigenvalue problems of side min(D, H): seconds for 10 classes and side 512.

    Example:
      >>> w = CurvatureWeights(jnp.eye(2), jnp.zeros(2), jnp.eye(2), jnp.zeros(2))
      >>> pair_curvatures(w)
      Array([[0.  , 0.25],
             [0.25, 0.  ]], dtype=float32)
    """
    columns = weights.output_kernel.T
    return lax.map(
        lambda y: lax.map(
            lambda t: _curvature(
                weights.hidden_kernel, jax.nn.relu(columns[t] - columns[y])
            ),
            jnp.arange(len(columns)),
        ),
        jnp.arange(len(columns)),
    )


def _curvature(hidden_kernel: jax.Array, scale: jax.Array) -> jax.Array:
    """1/4 lambda_max(W1 diag(scale) W1^T) by an eigenvalue routine."""
    scaled = hidden_kernel * jnp.sqrt(scale)[None]
    features, hidden = scaled.shape
    subscripts = "dh,eh->de" if features <= hidden else "dh,dk->hk"
    gram = contract(subscripts, scaled, scaled)
    return SOFTPLUS_CURVATURE * jnp.maximum(jnp.linalg.eigvalsh(gram)[-1], 0)


def _of_pairs(
    weights: CurvatureWeights,
    first: jax.Array,
    second: jax.Array,
    start: jax.Array,
    steps: int,
) -> jax.Array:
    """Estimates of M for the margins of classes `first` over `second`, both [p]."""
    columns = weights.output_kernel.T
    scales = jax.nn.relu(columns[first] - columns[second])
    return curvature_estimates(weights.hidden_kernel, scales, start, steps)


def _preactivation(weights: CurvatureWeights, features: jax.Array) -> jax.Array:
    product = contract("nd,dh->nh", features, weights.hidden_kernel)
    return product + weights.hidden_bias[None]
