"""The training loss: cross-entropy, with a penalty on the head's curvature."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def cross_entropy(
    logits: jax.Array, labels: jax.Array, *, temperature: float = 1.0
) -> jax.Array:
    r"""Cross-entropy of each image, in float32 or the logits' higher precision.

    .. math:: \log \sum_t e^{T z_t} - T z_y

    Args:
      logits: z, of shape [n, C].
      labels: y, integers of shape [n].
      temperature: T, multiplies the logits.

    Returns:
      Losses of shape [n].

    Example:
      >>> cross_entropy(jnp.zeros((1, 4)), jnp.array([2])).round(4)  # log 4
      Array([1.3863], dtype=float32)
      >>> cross_entropy(jnp.array([[1.0, 0.0]]), jnp.array([1]), temperature=0.0)
      Array([0.6931472], dtype=float32)
    """
    dtype = logits.dtype if jnp.finfo(logits.dtype).bits > 32 else jnp.float32
    logits = logits.astype(dtype) * temperature
    own = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return jax.nn.logsumexp(logits, axis=1) - own


def penalized_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    penalty: jax.Array,
    *,
    weight: float,
    temperature: float = 1.0,
) -> jax.Array:
    """Mean cross-entropy + weight * penalty: the loss that networks are trained with.

    Args:
      logits: of shape [n, C].
      labels: integers of shape [n].
      penalty: a scalar, as from `LipConvNet.logits_and_penalty`.
      weight: of the penalty.
      temperature: multiplies the logits in the cross-entropy.

    Returns:
      A scalar.

    References: Singla & Feizi, NeurIPS 2022, section 5.

    Example:
      >>> logits, labels = jnp.zeros((2, 4)), jnp.array([2, 0])
      >>> loss = penalized_cross_entropy(logits, labels, jnp.array(3.0), weight=0.5)
      >>> print(f"{loss:.4f}")  # log 4 + 1.5
      2.8863
    """
    losses = cross_entropy(logits, labels, temperature=temperature)
    return jnp.mean(losses) + weight * penalty
