"""Names and shapes of the entries that the published PyTorch LipConvNets save.

Arrays are NCHW and OIHW; names are `init_layer.*`, `blockB.L.*` with B from 1 and L
from 0, and `logits_layer.*`. A state dict does not hold the kinds of activation,
pooling and head, see `published_names`, nor the polynomials.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lipjax.models import LipConvNet

StateDict = Mapping[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]
Path = tuple[str, ...]

ACTIVATIONS = {"maxmin": "maxmin", "hh1": "householder", "hh2": "householder2"}
POOLINGS = {"max": "max", "lip1": "projection"}
HEADS = {"ortho": "orthogonal", "lln": "normalized", "crc_full": "curvature"}
NAMES = {"activation": ACTIVATIONS, "pooling": POOLINGS, "head": HEADS}
"""Published name to ours, for each field of a model that has published names."""

ANGLES = {"hh1": ("theta",), "hh2": ("theta0", "theta1", "theta2"), "lip1": ("theta",)}
LINEAR = {"hidden": "linear1", "output": "linear2"}
"""The curvature head's layers: our name to the published one."""


def published_names(model: LipConvNet) -> dict[str, str]:
    """What `from_torch` must be told to read a model's state dict.

    Args:
      model: the network.

    Returns:
      The published names of its "activation", "pooling" and "head".

    Raises:
      ValueError: if one of these is a module and not a name.

    Example:
      >>> published_names(LipConvNet(activation="householder2", head="curvature"))
      {'activation': 'hh2', 'pooling': 'max', 'head': 'crc_full'}
    """
    return {field: _published_name(field, getattr(model, field)) for field in NAMES}


def _published_name(field: str, ours: Any) -> str:
    for published, name in NAMES[field].items():
        if name == ours:
            return published
    raise ValueError(
        f"the published format has no {field} {ours!r}: it has, by name, "
        f"{', '.join(NAMES[field].values())}"
    )


def layers(model: LipConvNet) -> Iterator[tuple[str, str, str]]:
    """Published prefix, our name and published activation or pooling of each block."""
    names = published_names(model)
    for name in model.block_names():
        if name == "initial":
            yield "init_layer", name, names["activation"]
            continue
        stage, layer = map(int, re.findall(r"\d+", name))
        pooled = layer == model.layers_per_stage and (
            stage < model.stages or model.head != "curvature"
        )
        kind = "pooling" if pooled else "activation"
        yield f"block{stage}.{layer - 1}", name, names[kind]


def shapes(model: LipConvNet, params: Any) -> Shapes:
    """Names and shapes of all entries that the published state dict has, in order."""
    channels = model.image_shape[-1]
    found: Shapes = {"shift": (channels, 1, 1), "scale": (channels, 1, 1)}
    for prefix, name, activation in layers(model):
        block = params[name]
        found |= _convolution_shapes(f"{prefix}.ortho", block["conv"])
        for angle in ANGLES.get(activation, ()):
            n = block["activation"][angle].shape[0]
            shape = (1, n, 1, 1) if activation == "hh1" else (n,)
            found[f"{prefix}.act.{angle}"] = shape
    return found | _head_shapes(params["classifier"], published_names(model)["head"])


def variable_shapes(model: LipConvNet) -> Any:
    """The model's variables as shapes and dtypes."""
    image = jnp.zeros((1, *model.image_shape), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), image)


def _convolution_shapes(prefix: str, conv: Mapping[str, Any]) -> Shapes:
    k, _, c, _ = conv["kernel"].shape
    return {
        f"{prefix}.weight": (c, c, k, k),
        f"{prefix}.bias": conv["bias"].shape,
        f"{prefix}._u1": (1, c, 1, k),
        f"{prefix}._v1": (c, 1, k, 1),
        f"{prefix}._u2": (1, c, k, 1),
        f"{prefix}._v2": (c, 1, 1, k),
        f"{prefix}._u3": (1, c, k, k),
        f"{prefix}._v3": (c, 1, 1, 1),
        f"{prefix}._u4": (c, 1, k, k),
        f"{prefix}._v4": (1, c, 1, 1),
    }


def _head_shapes(classifier: Mapping[str, Any], head: str) -> Shapes:
    prefix = "logits_layer"
    if head == "ortho":
        return _convolution_shapes(f"{prefix}.ortho", classifier["conv"])
    if head == "lln":
        features, classes = classifier["kernel"].shape
        return {f"{prefix}.weight": (classes, features), f"{prefix}.bias": (classes,)}
    features, hidden = classifier["hidden_kernel"].shape
    (classes,) = classifier["output_bias"].shape
    return {
        f"{prefix}.linear1.weight": (hidden, features),
        f"{prefix}.linear1.bias": (hidden,),
        f"{prefix}.linear2.weight": (classes, hidden),
        f"{prefix}.linear2.bias": (classes,),
        f"{prefix}._u": (features,),
        f"{prefix}._v": (hidden,),
    }
