"""Predictions and their radii, in exact arithmetic."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax

from lipjax import certify, ops
from lipjax.inference.exact import exact_network
from lipjax.models import LipConvNet
from lipjax.ops import Radii


class Constants(NamedTuple):
    """The constants in the certificates of all images of a model."""

    lipschitz: float  # of the features in the pixels
    pairs: jax.Array  # [C, C], of the head


def lipschitz_bound(model: LipConvNet, variables: Any) -> float:
    r"""Proven Lipschitz constant of the features in the pixels, l2.

    .. math:: L = \frac{1}{\min \text{std}} \prod_{\text{layers}}
              \max_{0 \le \theta \le B} |p(i \theta)|, \quad B \ge \|J\|

    with p the evaluation polynomial and B proven at each layer's image size, see
    `lipjax.certify.skew_norm_bound`. All else in the network is 1-Lipschitz.

    Args:
      model: the network.
      variables: {"params": ..., "spectral": ...}.

    Returns:
      L, a float; of the logits if the head is the orthogonal one.

    Raises:
      ValueError: if a weight is not finite, or as `lipjax.exact_network`.

    Guarantee: a bound for `lipjax.exact_network(model, variables)`, the bound's own
    rounding included.

    Example:
      >>> import jax.numpy as jnp
      >>> model = LipConvNet((8, 8, 1), 3, stages=1, width=2, mean=(0.0,), std=(0.5,))
      >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
      >>> print(f"{lipschitz_bound(model, variables):.4f}")
      2.0000
    """
    return certify.network_bound(exact_network(model, variables)).lipschitz


def certificate_constants(model: LipConvNet, variables: Any) -> Constants:
    """The constants in the certificates of all images; compute them once per model.

    Returns:
      The features' `lipschitz_bound` and the head's constants of each pair of classes.
    """
    pairs = jax.jit(functools.partial(model.apply, method="pair_constants"))
    return Constants(lipschitz_bound(model, variables), pairs(variables))


def predict_with_radius(
    model: LipConvNet,
    variables: Any,
    x: jax.Array,
    *,
    labels: jax.Array | None = None,
    constants: Constants | None = None,
) -> Radii:
    r"""Predictions, radii and the runner-up that binds, for one batch.

    .. math:: r = \frac1L \min_{t \ne y} r_t

    over **all** other classes t, with L the features' Lipschitz constant and r_t the
    head's radius in feature space. A tie has radius 0.

    Args:
      model: the network.
      variables: {"params": ..., "spectral": ...}.
      x: images in [0, 1], of shape [n, height, width, channels].
      labels: of shape [n]; with them, a wrong prediction has radius 0.
      constants: from `certificate_constants`; None: computed here, on every call,
        which `jax.jit` cannot do.

    Returns:
      `Radii(prediction, radius, runner_up)`, each of shape [n]; radii in l2, in pixels
      of [0, 1].

    Raises:
      ValueError: if the images do not have the model's shape.

    Guarantee: in exact arithmetic, no image closer than the radius gets another
    prediction. The rounding of this computation, in the precision of the variables, is
    not counted. `lipjax.certify.Certifier` proves radii, rounding included.

    References: Singla & Feizi, NeurIPS 2022.

    Example:
      >>> model = LipConvNet((8, 8, 1), 3, stages=1, width=2, mean=(0.0,), std=(0.5,))
      >>> x = jax.random.uniform(jax.random.key(0), (2, 8, 8, 1))
      >>> variables = model.init(jax.random.key(1), x)
      >>> predict_with_radius(model, variables, x).radius.shape
      (2,)
    """
    if constants is None:
        constants = certificate_constants(model, variables)
    return _predict(model, variables, x, labels, constants)


@functools.partial(jax.jit, static_argnums=0)
def _predict(model, variables, x, labels, constants) -> Radii:
    prediction, in_features = model.apply(
        variables, x, constants.pairs, method="predict"
    )
    in_pixels = in_features / constants.lipschitz
    return ops.binding_radius(in_pixels, prediction, labels)
