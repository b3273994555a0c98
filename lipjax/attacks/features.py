"""Features moved by an attack, to train heads with."""

from __future__ import annotations

import jax
from jax import lax

from lipjax.attacks.losses import Logits
from lipjax.attacks.pgd import pgd


def adversarial_features(
    logits: Logits,
    features: jax.Array,
    labels: jax.Array,
    radius: jax.Array | float,
    *,
    steps: int = 5,
) -> jax.Array:
    r"""Features moved to where a head's cross-entropy is larger, to train it there.

    .. math:: z + \operatorname{stop}(\delta), \quad
              \delta \approx \arg\max_{\|\delta\| \le r} \text{loss}(h(z + \delta), y)

    The search is `pgd` from the features themselves, without random draws. Gradients
    pass to the features as if delta were constant; none passes through the search.

    Args:
      logits: the head h, as a function that `jax.jit` can trace.
      features: z, of shape [n, D], in the head's precision.
      labels: y, integers of shape [n].
      radius: r, l2, in the units of the features: a radius in pixels times 1 / min std
        where the trunk first divides by std, and is 1-Lipschitz after it.
      steps: gradients.

    Returns:
      Features of shape [n, D], at most r from the given ones up to rounding.

    References: Singla & Feizi, NeurIPS 2022, section 5; Madry et al., 2018.

    Example:
      >>> import jax.numpy as jnp
      >>> z, y = jnp.zeros((1, 2)), jnp.array([0])
      >>> [f"{v:.2f}" for v in adversarial_features(lambda z: z, z, y, 1.0)[0]]
      ['-0.71', '0.71']
    """
    fixed = lax.stop_gradient(features)
    moved = pgd(logits, fixed, labels, radius, None, steps=steps, box=False)
    return features + lax.stop_gradient(moved - fixed)
