"""The loss of a batch, by name: what a network is trained for."""

from __future__ import annotations

from collections.abc import Callable

import jax

from lipjax import losses

from ..configs import Config

Objective = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]


def make_objective(config: Config, lipschitz: float) -> Objective:
    """Makes `(logits, labels, pairs, progress) -> losses` of shape [n].

    The config's offsets and radii are in pixels.

    Args:
      config: the settings.
      lipschitz: constant of the features, per pixel.

    Returns:
      A function of logits [n, C], labels [n], the distances of the logits' gradients
      [C, C], which the cross-entropies do not use, and the share of the run that is
      over.
    """
    temperature, offset = config.temperature, config.offset * lipschitz

    def objective(logits, labels, pairs, progress):
        slopes = lipschitz * pairs
        if config.loss == "emma":
            radius = config.offset * emma_share(progress)
            found = losses.emma(
                logits, labels, slopes, radius=radius, temperature=temperature
            )
        else:
            annealed = config.loss == "annealed"
            loss = losses.annealed_cross_entropy if annealed else losses.cross_entropy
            found = loss(logits, labels, temperature=temperature, offset=offset)
        if config.certificate_weight:
            radii = losses.certified_radius(logits, labels, slopes)
            found -= config.certificate_weight * radii
        return found

    return objective


def emma_share(progress: jax.Array | float) -> jax.Array | float:
    """The share of EMMA's largest radius: from a thirtieth to all of it half way.

    References: Hu et al., ICLR 2024, whose largest radius is 108/255.

    Example:
      >>> import numpy as np
      >>> emma_share(np.array([0.0, 0.25, 0.5, 1.0])).round(3).tolist()
      [0.033, 0.517, 1.0, 1.0]
    """
    return (1 + 29 * (2 * progress).clip(0, 1)) / 30  # pyright: ignore
