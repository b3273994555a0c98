"""Names and arrangement of the entries that the published PyTorch LipConvNets save.

Arrays are NCHW and OIHW; names are `init_layer.*`, `blockB.L.*` with B from 1 and L
from 0, and `logits_layer.*`. A state dict does not hold the kinds of convolution,
activation, pooling and head, see `published_names`, nor the polynomials.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lipjax.convert.singular_vectors import published_vectors
from lipjax.models import LipConvNet

StateDict = Mapping[str, np.ndarray]
Arrays = dict[str, np.ndarray]
Path = tuple[str, ...]

ACTIVATIONS = {"maxmin": "maxmin", "hh1": "householder", "hh2": "householder2"}
POOLINGS = {"max": "max", "lip1": "projection"}
HEADS = {"ortho": "orthogonal", "lln": "normalized", "crc_full": "curvature"}
CONVOLUTIONS = {"soc": "soc", "bcop": "bcop", "cayley": "cayley"}
NAMES = {
    "activation": ACTIVATIONS,
    "pooling": POOLINGS,
    "head": HEADS,
    "conv": CONVOLUTIONS,
}
"""Published name to ours, for each field of a model that has published names."""

ANGLES = {"hh1": ("theta",), "hh2": ("theta0", "theta1", "theta2"), "lip1": ("theta",)}
LINEAR = {"hidden": "linear1", "output": "linear2"}
"""The curvature head's layers: our name to the published one."""


def published_names(model: LipConvNet) -> dict[str, str]:
    """What `from_torch` must be told to read a model's state dict.

    Args:
      model: the network.

    Returns:
      The published names of its "activation", "pooling", "head" and "conv".

    Raises:
      ValueError: if one of these is a module, or has no published name.

    Example:
      >>> published_names(LipConvNet(activation="householder2", head="curvature"))
      {'activation': 'hh2', 'pooling': 'max', 'head': 'crc_full', 'conv': 'soc'}
    """
    if model.conv != "soc" and model.head == "orthogonal":
        raise ValueError(
            f"the orthogonal head is skew-orthogonal here, and in the published format "
            f"as the trunk's convolutions: there is none of conv={model.conv!r}"
        )
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
    if model.has_last_pooling == (model.head == "curvature"):
        raise ValueError(
            "the published format has a pooling in the last layer, unless the head is "
            f"the curvature head: it has no last_pooling={model.last_pooling}"
        )
    for name in model.block_names():
        if name == "initial":
            yield "init_layer", name, names["activation"]
            continue
        stage, layer = map(int, re.findall(r"\d+", name))
        pooled = layer == model.layers_per_stage and (
            stage < model.stages or model.has_last_pooling
        )
        kind = "pooling" if pooled else "activation"
        yield f"block{stage}.{layer - 1}", name, names[kind]


def entries(model: LipConvNet, variables: Any) -> Arrays:
    """All entries of the published state dict, in order, from variables in NumPy."""
    params, spectral = variables["params"], variables.get("spectral", {})
    precision = params["initial"]["conv"]["bias"].dtype
    found = {
        name: np.array(values, precision)[:, None, None]
        for name, values in (("shift", model.mean), ("scale", model.std))
    }
    for prefix, name, activation in layers(model):
        block = params[name]
        vectors = spectral.get(name, {}).get("conv")
        found |= _CONVOLUTIONS[model.conv](f"{prefix}.ortho", block["conv"], vectors)
        for angle in ANGLES.get(activation, ()):
            value = block["activation"][angle]
            shape = (1, -1, 1, 1) if activation == "hh1" else (-1,)
            found[f"{prefix}.act.{angle}"] = value.reshape(shape)
    head = published_names(model)["head"]
    return found | _head(head, params["classifier"], spectral.get("classifier"))


def projector_mask(matrices: np.ndarray) -> np.ndarray:
    """The published mask: a projector is of the first half of a matrix's columns.

    Args:
      matrices: of shape [2 k - 1, c, c].

    Returns:
      Ones and zeros, of shape [2 k - 2, 1, c].

    Example:
      >>> projector_mask(np.zeros((3, 3, 3)))[:, 0]
      array([[1., 0., 0.],
             [1., 0., 0.]])
    """
    count, _, channels = matrices.shape
    mask = (np.arange(channels) < channels // 2).astype(matrices.dtype)
    return np.broadcast_to(mask, (count - 1, 1, channels))


def _bcop(prefix: str, params: Arrays, spectral: Any) -> Arrays:
    matrices = params["matrices"]
    return {
        f"{prefix}.conv_matrices": matrices,
        f"{prefix}.mask": projector_mask(matrices),
        f"{prefix}.bias": params["bias"],
    }


def _cayley(prefix: str, params: Arrays, spectral: Any) -> Arrays:
    return {
        f"{prefix}.weight": params["kernel"].transpose(3, 2, 0, 1),
        f"{prefix}.bias": params["bias"],
        f"{prefix}.alpha": params["alpha"],
    }


def _skew(prefix: str, params: Arrays, spectral: Any) -> Arrays:
    k, _, channels, _ = params["kernel"].shape
    published = published_vectors(spectral["kernel_vectors"], k, channels)
    return {
        f"{prefix}.weight": params["kernel"].transpose(3, 2, 0, 1),
        f"{prefix}.bias": params["bias"],
        **{f"{prefix}._{name}": vector for name, vector in published.items()},
    }


_CONVOLUTIONS = {"soc": _skew, "bcop": _bcop, "cayley": _cayley}


def _head(head: str, params: Any, spectral: Any) -> Arrays:
    prefix = "logits_layer"
    if head == "ortho":
        return _skew(f"{prefix}.ortho", params["conv"], spectral["conv"])
    if head == "lln":
        return {
            f"{prefix}.weight": params["kernel"].T,
            f"{prefix}.bias": params["bias"],
        }
    state: Arrays = {}
    for ours, theirs in LINEAR.items():
        state[f"{prefix}.{theirs}.weight"] = params[f"{ours}_kernel"].T
        state[f"{prefix}.{theirs}.bias"] = params[f"{ours}_bias"]
    ((u, (v,)),) = spectral["hidden_kernel_vectors"]
    return state | {f"{prefix}._u": u, f"{prefix}._v": v}


def variable_shapes(model: LipConvNet) -> Any:
    """The model's variables as shapes and dtypes."""
    image = jnp.zeros((1, *model.image_shape), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), image)
