"""The executions of images, their rounding, and radii in closed form."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lipjax.certify.heads import HeadBound
from lipjax.certify.network import Linear, Network, NetworkBound
from lipjax.certify.rounding import LEAST, UNIT, down, norms_bound, up
from lipjax.ops import curvature_jacobian
from lipjax.ops.radii import curvature_radius, margins

SPARE = 1.125
"""Factor on the rounding that is subtracted, so that another execution, with sums in
another order, proves the same radii."""


class Execution(NamedTuple):
    """One execution of n images in float64."""

    prediction: jax.Array  # [n]
    features: jax.Array  # [n, D]
    norm: jax.Array  # [n], bound on the normalised image's norm
    margins: jax.Array  # [n, C]
    slopes: jax.Array  # [n, C], norms of the margins' gradients


class Budget(NamedTuple):
    """Bounds on the rounding at the image and anywhere within `reach` of it."""

    reach: jax.Array  # [n, C], l2 in pixels
    features: jax.Array  # [n, C], error of the features, both points together
    feature_norm: jax.Array  # [n, C], norm of the features
    margin: jax.Array  # [n, C], error of the margin by the head, both points together
    slope: jax.Array  # [n, C], error of the norm of the margin's gradient


@jax.jit
def execute(network: Network, bound: HeadBound, x: jax.Array) -> Execution:
    """Runs the network on images [n, height, width, channels] in [0, 1], float64."""
    normalized = network.normalize(x).reshape(len(x), -1)
    features = network.features(x)
    logits = network.classify(features)
    prediction = jnp.argmax(logits, axis=1)
    if isinstance(network.head, Linear):
        slopes = bound.slopes[prediction]
    else:
        jacobian = curvature_jacobian(network.head, features)
        own = jnp.take_along_axis(jacobian, prediction[:, None, None], axis=1)
        slopes = norms_bound(own - jacobian)
    gaps = margins(logits, prediction)
    return Execution(prediction, features, norms_bound(normalized), gaps, slopes)


def budget(
    network: NetworkBound,
    head: HeadBound,
    run: Execution,
    reach: jax.Array,
    away: jax.Array | float = 0.0,
) -> Budget:
    """Rounding at the image and at any point within `reach` [n, C] of it, together.

    Args:
      network: what is proven of the network.
      head: what is proven of its head.
      run: the execution at the image.
      reach: l2 in pixels.
      away: how much larger the features may be where the head is evaluated.
    """
    norm = up(run.norm[:, None] + network.scale * reach)
    features = up(2 * network.error(norm))
    feature_norm = up(network.norm(norm) + away)
    return Budget(
        reach,
        features,
        feature_norm,
        up(2 * head.error.of_margins(run.prediction, feature_norm)),
        head.gradient_error.of_margins(run.prediction, feature_norm),
    )


def closed_form_distances(
    curvatures: jax.Array, run: Execution, cost: Budget
) -> jax.Array:
    """Proven distances [n, C] in feature space inside which no margin can vanish."""
    gaps = run.margins - up(4 * UNIT * jnp.abs(run.margins) + SPARE * cost.margin)
    slopes = up(run.slopes + SPARE * cost.slope)
    distances = curvature_radius(gaps, slopes, up(curvatures[run.prediction]))
    return jnp.where(gaps > 0, down(distances), 0)


def in_pixels(network: NetworkBound, distances: jax.Array, cost: Budget) -> jax.Array:
    """Proven radii [n, C] in pixels from distances in feature space; NaN proves 0."""
    room = distances - up(SPARE * cost.features)
    radii = jnp.minimum(down(room / network.lipschitz), cost.reach)
    return jnp.where((room > 0) & (radii >= LEAST), radii, 0)


def first_reach(
    network: NetworkBound, curvatures: jax.Array, run: Execution, diameter: float
) -> jax.Array:
    """Radii [n, C] that no certificate of these images is going to exceed.

    Three times the closed form without rounding; at most the images' diameter.
    """
    gaps = jnp.maximum(run.margins, 0)
    distances = curvature_radius(gaps, run.slopes, curvatures[run.prediction])
    return jnp.minimum(up(3 * distances / network.lipschitz), diameter)
