"""Networks with the weights of models of lipjax."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .exponential import ExpApproximation
from .network import LipConvNet

if TYPE_CHECKING:
    import lipjax


def from_lipjax(model: lipjax.LipConvNet, variables: Mapping[str, Any]) -> LipConvNet:
    """The same network in PyTorch, its weights and singular vectors equal bit for bit.

    Args:
      model: of lipjax; its gradient must be "exact" or "fast".
      variables: {"params", "spectral"} of the model.

    Returns:
      The network on the CPU, in the dtype of the parameters.
    """
    exp = model.exp
    network = LipConvNet(
        model.image_shape,
        model.num_classes,
        stages=model.stages,
        layers_per_stage=model.layers_per_stage,
        width=model.width,
        kernel_size=model.kernel_size,
        activation=str(model.activation),
        pooling=str(model.pooling),
        head=str(model.head),
        hidden=model.hidden,
        mean=model.mean,
        std=model.std,
        exp=ExpApproximation(exp.coefficients, exp.eval_coefficients, exp.gradient),
    )
    params, spectral = variables["params"], variables["spectral"]
    state: dict[str, Any] = {"shift": model.mean, "scale": model.std}
    for name in model.block_names():
        prefix = _published_prefix(name)
        state |= _soc(params[name]["conv"], spectral[name]["conv"], f"{prefix}.ortho")
        angles = params[name].get("activation", {})
        state |= {f"{prefix}.act.{angle}": value for angle, value in angles.items()}
    head = params["classifier"], spectral.get("classifier", {})
    state |= _head(str(model.head), *head)
    bias = params["initial"]["conv"]["bias"]
    network.to(torch.from_numpy(np.array(bias)).dtype)
    return _loaded(network, state)


def _loaded(network: LipConvNet, state: Mapping[str, Any]) -> LipConvNet:
    """The network with its entries replaced by arrays."""
    due = network.state_dict()
    tensors = {
        name: torch.from_numpy(np.array(value, order="C")).to(due[name].dtype)
        for name, value in state.items()
    }
    network.load_state_dict({n: t.view(due[n].shape) for n, t in tensors.items()})
    return network


def _published_prefix(name: str) -> str:
    if name == "initial":
        return "init_layer"
    stage, layer = map(int, re.findall(r"\d+", name))
    return f"block{stage}.{layer - 1}"


def _soc(params, spectral, prefix: str) -> dict[str, Any]:
    k, _, c, _ = params["kernel"].shape
    # lipjax: (column, in) and (row, out) of the square; (row, column, in) and (out)
    (columns, rows), (taps, outputs) = (
        (np.asarray(u), np.asarray(v)) for u, v in spectral["kernel_vectors"]
    )
    entries = {
        "weight": np.transpose(params["kernel"], (3, 2, 0, 1)),
        "bias": params["bias"],
        "u0": rows.T,
        "v0": columns.reshape(k, c).T,
        "u1": outputs,
        "v1": taps.reshape(k, k, c).transpose(2, 0, 1),
    }
    return {f"{prefix}.{entry}": value for entry, value in entries.items()}


def _head(head: str, params, spectral) -> dict[str, Any]:
    if head == "orthogonal":
        return _soc(params["conv"], spectral["conv"], "logits_layer.ortho")
    if head == "normalized":
        return {
            "logits_layer.weight": np.transpose(params["kernel"]),
            "logits_layer.bias": params["bias"],
        }
    ((u, v),) = spectral["hidden_kernel_vectors"]
    return {
        "logits_layer.linear1.weight": np.transpose(params["hidden_kernel"]),
        "logits_layer.linear1.bias": params["hidden_bias"],
        "logits_layer.linear2.weight": np.transpose(params["output_kernel"]),
        "logits_layer.linear2.bias": params["output_bias"],
        "logits_layer._u": u,
        "logits_layer._v": v,
    }
