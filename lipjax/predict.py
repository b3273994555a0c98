"""Predictions with the radius inside which they cannot change."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import numpy as np

from lipjax import certify, ops
from lipjax.certify import Radii
from lipjax.models import LipConvNet
from lipjax.nn.soc import scale_estimate, with_followed


class Constants(NamedTuple):
    """What certificates of a model need besides the image."""

    lipschitz: float  # of the features in the pixels
    pairs: jax.Array  # [C, C], of the head


def lipschitz_bound(model: LipConvNet, variables: Any) -> float:
    r"""Proven Lipschitz constant of the features in the pixels, l2.

    .. math:: L = \frac{1}{\min \text{std}} \prod_{\text{layers}}
              \max_{0 \le \theta \le B} |p(i \theta)|, \quad
              B = k \sigma_{\text{true}} / \sigma_{\text{estimate}} \ge \|J\|

    with p the evaluation polynomial. All else in the network is 1-Lipschitz.

    Args:
      model: the network.
      variables: {"params": ..., "spectral": ...}.

    Returns:
      L, a float.

    Guarantee: a bound in exact arithmetic for the kernels that this function divides by
    their scale in their own precision, the rounding of the bound included; the rounding
    of the network's own execution is not counted.

    Example:
      >>> import jax.numpy as jnp
      >>> model = LipConvNet((8, 8, 1), 3, stages=1, width=2, mean=(0.0,), std=(0.5,))
      >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
      >>> print(f"{lipschitz_bound(model, variables):.4f}")
      2.0000
    """
    gains = [
        layer_gain(kernel, vectors, model.series.eval_coefficients)
        for _, (kernel, vectors) in with_followed(variables)
        if np.ndim(kernel) == 4
    ]
    return math.prod(gains, start=1 / min(model.std)) * (1 + 4e-16 * (len(gains) + 1))


def layer_gain(kernel: Any, vectors: Any, coefficients: ops.Coefficients) -> float:
    """Proven gain of one skew-orthogonal convolution at any image size.

    Args:
      kernel: the parameter M, of shape [k, k, c, c].
      vectors: the layer's entry in the collection "spectral".
      coefficients: the polynomial.

    Returns:
      An upper bound on the largest singular value of p(J), in exact arithmetic.
    """
    skew = ops.skew_kernel(kernel)
    sigma = scale_estimate(ops.unfoldings(skew), vectors)
    return ops.polynomial_gain(coefficients, ops.unfolding_bound(skew / sigma))


def certificate_constants(model: LipConvNet, variables: Any) -> Constants:
    """What the certificates of all images have in common: compute it once per model.

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

    over **all** other classes t; a tie certifies 0.

    Args:
      model: the network.
      variables: {"params": ..., "spectral": ...}.
      x: images in [0, 1], of shape [n, height, width, channels].
      labels: of shape [n]; with them, a wrong prediction has radius 0.
      constants: from `certificate_constants`, computed here if not given: give
        them to call this more than once, or under `jax.jit`.

    Returns:
      `Radii(prediction, radius, runner_up)`, each of shape [n]; radii in l2, in pixels
      of [0, 1].

    Raises:
      ValueError: if the images have not the model's shape.

    Guarantee: no perturbation shorter than the radius changes the prediction, if the
    network is executed in exact arithmetic. The rounding of floating point is not
    counted.

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
    return certify.binding_radius(in_pixels, prediction, labels)
