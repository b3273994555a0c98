"""Training losses: cross-entropy and its relatives that ask for a margin.

Logits z have shape [n, C], labels y are integers of shape [n], and every loss is in
float32 or the logits' higher precision. A pixel's distance moves the margin z_y - z_t
by at most L d_yt, L the features' Lipschitz constant and d_yt the distance of the
logits' gradients: `slopes`, [C, C]. An offset of r pixels is thus r L in logits times
the distance of the classes.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    temperature: float = 1.0,
    offset: float | jax.Array = 0.0,
) -> jax.Array:
    r"""Cross-entropy of each image, after the label's logit has lost an offset.

    .. math:: \log \sum_t e^{T v_t} - T v_y, \quad v = z - \xi e_y

    Args:
      logits: z, of shape [n, C].
      labels: y, integers of shape [n].
      temperature: T, multiplies the logits.
      offset: xi, in logits: the margin that the loss asks for beyond that of
        cross-entropy.

    Returns:
      Losses of shape [n].

    References: Tsuzuku et al., Lipschitz-margin training, NeurIPS 2018; Prach &
    Lampert, ECCV 2022, for the offset.

    Example:
      >>> cross_entropy(jnp.zeros((1, 4)), jnp.array([2])).round(4)  # log 4
      Array([1.3863], dtype=float32)
      >>> cross_entropy(jnp.array([[1.0, 0.0]]), jnp.array([1]), temperature=0.0)
      Array([0.6931472], dtype=float32)
      >>> cross_entropy(jnp.array([[0.0, 1.0]]), jnp.array([1]), offset=1.0)
      Array([0.6931472], dtype=float32)
    """
    logits = _single(logits)
    lowered = logits - offset * _one_hot(labels, logits)
    return _cross_entropy(lowered * temperature, labels)


def annealed_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    temperature: float = 1.0,
    offset: float | jax.Array = 0.0,
    power: float = 5.0,
    weight: float = 0.25,
) -> jax.Array:
    r"""Logit annealing (LA): cross-entropy that cares less about what it has.

    .. math:: \frac{\alpha}{T} (1 - p)^\beta (-\log p), \quad
              p = \mathrm{softmax}(T (z - \xi e_y))_y

    Args:
      logits: z, of shape [n, C].
      labels: y, integers of shape [n].
      temperature: T, multiplies the logits.
      offset: xi, in logits.
      power: beta; 0 gives the cross-entropy, times weight / T.
      weight: alpha.

    Returns:
      Losses of shape [n].

    References: Lai et al., BRONet, 2025.

    Example:
      >>> logits, labels = jnp.zeros((1, 2)), jnp.array([1])
      >>> loss = annealed_cross_entropy(logits, labels)
      >>> print(f"{loss[0]:.6f}")  # log 2 / 4 / 2^5
      0.005415
    """
    entropy = cross_entropy(logits, labels, temperature=temperature, offset=offset)
    return weight / temperature * (-jnp.expm1(-entropy)) ** power * entropy


def emma(
    logits: jax.Array,
    labels: jax.Array,
    slopes: jax.Array,
    *,
    radius: float | jax.Array,
    temperature: float = 1.0,
) -> jax.Array:
    r"""Efficient margin maximisation (EMMA): a margin asked of every other class.

    .. math:: \mathrm{CE}(v, y), \quad v_t = z_t - z_y + s_t \epsilon L d_{yt}, \quad
              s_t = \min(1, \max(0.01, (z_y - z_t) / (\epsilon L d_{yt})))

    The shares s carry no gradient: a class that is ahead, or near, is pushed by
    little, and one that is far behind by all of the radius.

    Args:
      logits: z, of shape [n, C].
      labels: y, integers of shape [n].
      slopes: L d, of shape [C, C]; its gradient counts.
      radius: epsilon, in pixels.
      temperature: multiplies v.

    Returns:
      Losses of shape [n].

    References: Hu et al., A recipe for improved certifiable robustness, ICLR 2024.

    Example:
      >>> slopes = 2 * (1 - jnp.eye(2))
      >>> logits, label = jnp.array([[2.0, 0.0]]), jnp.array([0])
      >>> emma(logits, label, slopes, radius=1.0).round(4)  # all of the margin is due
      Array([0.6931], dtype=float32)
    """
    logits = _single(logits)
    behind = logits - jnp.take_along_axis(logits, labels[:, None], axis=1)
    due = radius * slopes.astype(logits.dtype)[labels]
    share = jnp.clip(-behind / jnp.maximum(due, 1e-8), 0.01, 1.0)
    moved = behind + jax.lax.stop_gradient(share) * due
    return _cross_entropy(moved * temperature, labels)


def certified_radius(
    logits: jax.Array, labels: jax.Array, slopes: jax.Array
) -> jax.Array:
    r"""Radius of each image under a linear head, 0 if it is wrong, without rounding.

    .. math:: \max(0, \min_{t \ne y} (z_y - z_t) / (L d_{yt}))

    Its mean, times a weight, can be subtracted from a loss ("certificate
    regularisation").

    Args:
      logits: z, of shape [n, C].
      labels: y, integers of shape [n].
      slopes: L d, of shape [C, C].

    Returns:
      Radii of shape [n], in pixels.

    References: Singla, Singla & Feizi, ICLR 2022, section 4.

    Example:
      >>> slopes = 2 * (1 - jnp.eye(3))
      >>> logits = jnp.array([[3.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
      >>> certified_radius(logits, jnp.array([0, 0]), slopes)
      Array([1., 0.], dtype=float32)
    """
    logits = _single(logits)
    ahead = jnp.take_along_axis(logits, labels[:, None], axis=1) - logits
    own = _one_hot(labels, logits) > 0
    slopes = jnp.where(own, 1, slopes.astype(logits.dtype)[labels])
    nearest = jnp.min(jnp.where(own, jnp.inf, ahead / slopes), axis=1)
    return jax.nn.relu(nearest)


def _single(logits: jax.Array) -> jax.Array:
    wide = jnp.finfo(logits.dtype).bits > 32
    return logits if wide else logits.astype(jnp.float32)


def _one_hot(labels: jax.Array, logits: jax.Array) -> jax.Array:
    return jax.nn.one_hot(labels, logits.shape[1], dtype=logits.dtype)


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    own = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return jax.nn.logsumexp(logits, axis=1) - own
