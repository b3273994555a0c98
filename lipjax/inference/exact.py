"""From a model and its variables to the network that certificates speak of."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from lipjax import ops
from lipjax.certify import Activation, Flatten, Linear, Network, SkewConvolution
from lipjax.certify.layers import Layer
from lipjax.certify.network import Head
from lipjax.models import LipConvNet
from lipjax.nn import (
    ChannelMaxPool,
    Householder,
    HouseholderOrder2,
    MaxMin,
    ProjectionPool,
)
from lipjax.nn.soc import scale_estimate

_PAIRS: dict[type, tuple[str, tuple[str, ...]]] = {
    MaxMin: ("maxmin", ()),
    Householder: ("householder", ("theta",)),
    HouseholderOrder2: ("householder2", ("theta0", "theta1", "theta2")),
    ChannelMaxPool: ("max", ()),
    ProjectionPool: ("projection", ("theta",)),
}


def exact_network(model: LipConvNet, variables: Any) -> Network:
    """The network in evaluation as explicit float64 numbers: what is certified.

    Kernels are made skew and divided by their scale, rows of the normalised head by
    their norm, in float64, once: from here on these numbers are the network, exactly.

    Args:
      model: the network.
      variables: {"params": ..., "spectral": ...}, of any precision.

    Returns:
      A `lipjax.certify.Network` with the model's logits, to rounding.

    Example:
      >>> import jax.numpy as jnp
      >>> model = LipConvNet((8, 8, 1), 3, stages=1, width=2, mean=(0.0,), std=(0.5,))
      >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
      >>> network = exact_network(model, variables)
      >>> len(network.layers), network.head.kernel.shape
      (4, (64, 3))
    """
    params, spectral = (_doubles(variables[name]) for name in ("params", "spectral"))
    coefficients = model.exp.eval_coefficients
    layers: list[Layer] = []
    for name, conv, pairs in model.plan():
        kind, angles = _PAIRS[type(pairs)]
        mine = params[name]
        layers.append(
            _convolution(
                mine["conv"], spectral[name]["conv"], coefficients, conv.stride
            )
        )
        layers.append(Activation(kind, tuple(mine["pairs"][a] for a in angles)))
    last, head = _head(model, params["classifier"], spectral.get("classifier"))
    return Network(
        image_shape=model.image_shape,
        mean=np.array(model.mean, np.float64),
        std=np.array(model.std, np.float64),
        layers=(*layers, *last),
        head=head,
    )


def _convolution(params, state, coefficients, stride: int = 1) -> SkewConvolution:
    with jax.enable_x64(True):
        skew = ops.skew_kernel(params["kernel"])
        sigma = scale_estimate(ops.unfoldings(skew), state["kernel_vectors"])
    kernel = np.asarray(skew) / float(sigma)
    return SkewConvolution(kernel, params["bias"], coefficients, stride)


def _head(model: LipConvNet, params, state) -> tuple[list[Layer], Head]:
    """The head, and the layers before it that belong to it."""
    if model.head == "curvature":
        weights = ops.CurvatureWeights(
            *(params[name] for name in ops.CurvatureWeights._fields)
        )
        return [], weights
    if model.head == "normalized":
        norms = np.linalg.norm(params["kernel"], axis=0, keepdims=True)
        kernel = params["kernel"] / np.where(norms > 0, norms, 1)
        return [], Linear(kernel, params["bias"])
    conv = _convolution(params["conv"], state["conv"], model.exp.eval_coefficients)
    # The convolution's outputs are the logits.
    classes = model.num_classes
    return [Flatten(), conv], Linear(np.eye(classes), np.zeros(classes))


def _doubles(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)
