"""Certificates of images: proven radii against every other class."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lipjax.certify.heads import HeadBound
from lipjax.certify.network import Linear, Network, NetworkBound
from lipjax.certify.rounding import UNIT, down, norms_bound, up
from lipjax.ops import curvature_jacobian
from lipjax.ops.radii import closed_form, margins

SPARE = 1.125
"""Factor on the rounding that is taken off, so that another execution, whose sums run
in another order, proves the same radii."""


class Execution(NamedTuple):
    """What one execution in float64 finds of n images."""

    prediction: jax.Array  # [n]
    features: jax.Array  # [n, D]
    norm: jax.Array  # [n], bound on the normalised image's norm
    margins: jax.Array  # [n, C]
    slopes: jax.Array  # [n, C], norms of the margins' gradients


class Budget(NamedTuple):
    """What rounding may cost, at the image and anywhere within `reach` of it."""

    reach: jax.Array  # [n, C], l2 in pixels
    features: jax.Array  # [n, C], in the norm of the features, both points together
    feature_norm: jax.Array  # [n, C], bound on it
    margin: jax.Array  # [n, C], of the head alone, both points together
    slope: jax.Array  # [n, C], of the margin's gradient


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
      away: by how much features may be larger still where the head is evaluated.
    """
    norm = up(run.norm[:, None] + network.scale * reach)
    features = up(2 * network.error(norm))
    feature_norm = up(network.norm(norm) + away)
    return Budget(
        reach,
        features,
        feature_norm,
        up(2 * head.error.of_pairs(run.prediction, feature_norm)),
        head.gradient_error.of_pairs(run.prediction, feature_norm),
    )


def closed_form_in_features(head: HeadBound, run: Execution, cost: Budget) -> jax.Array:
    """Proven distances [n, C] in feature space inside which no margin can vanish."""
    gaps = run.margins - up(4 * UNIT * jnp.abs(run.margins) + SPARE * cost.margin)
    slopes = up(run.slopes + SPARE * cost.slope)
    distances = closed_form(gaps, slopes, up(head.curvatures[run.prediction]))
    return jnp.where(gaps > 0, down(distances), 0)


def in_pixels(network: NetworkBound, distances: jax.Array, cost: Budget) -> jax.Array:
    """Proven radii [n, C] in pixels from distances in feature space; NaN proves 0."""
    room = distances - up(SPARE * cost.features)
    radii = jnp.minimum(down(room / network.lipschitz), cost.reach)
    return jnp.where(room > 0, radii, 0)


def first_reach(
    network: NetworkBound, head: HeadBound, run: Execution, diameter: float
) -> jax.Array:
    """Radii [n, C] beyond which no certificate of these images is going to come.

    Three times the closed form without rounding; at most the images' diameter.
    """
    curvatures = head.curvatures[run.prediction]
    distances = closed_form(jnp.maximum(run.margins, 0), run.slopes, curvatures)
    return jnp.minimum(up(3 * distances / network.lipschitz), diameter)
