"""From a published state dict to a model and its variables.

The published code keeps the singular vectors of an unfolding twice. The ones with the
smaller estimate are kept here, so that the scale, which is the smallest of all
estimates, stays the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from lipjax import ops
from lipjax.convert.singular_vectors import VECTORS, our_vectors
from lipjax.convert.state_dict import (
    ANGLES,
    LINEAR,
    NAMES,
    Path,
    StateDict,
    entries,
    layers,
    projector_mask,
    variable_shapes,
)
from lipjax.models import LipConvNet
from lipjax.nn import SPECTRAL, ExpApproximation

PUBLISHED_EXP = ExpApproximation(ops.taylor(5), ops.taylor(14), gradient="fast")


def from_torch(
    state: StateDict, *, activation: str, pooling: str, head: str, conv: str = "soc"
) -> tuple[LipConvNet, dict[str, Any]]:
    """Converts a published state dict to a model with equal features and logits.

    Args:
      state: the state dict as NumPy arrays, with the published names.
      activation: "maxmin", "hh1" or "hh2".
      pooling: "max" or "lip1".
      head: "ortho", "lln" or "crc_full".
      conv: "soc", "bcop" or "cayley".

    Returns:
      The model, with the published polynomials (Taylor of degree 5 in training, 14 in
      evaluation) and the fast gradient, and its variables {"params", "spectral"}: in
      float64 where the weights are and JAX has it enabled, else in float32.

    Raises:
      ValueError: for an unknown name, the head "ortho" with another convolution than
        "soc", or an entry of the state dict that is missing,
        unknown, of the wrong shape, no real numbers, or not finite in the model's
        precision; it names the entry.

    Example, from a PyTorch file:
      >>> def load(path):
      ...     import torch
      ...     state = torch.load(path, weights_only=True, map_location="cpu")
      ...     names = dict(activation="maxmin", pooling="max", head="lln")
      ...     arrays = {name: value.numpy() for name, value in state.items()}
      ...     return from_torch(arrays, **names)
    """
    names = {"conv": conv, "activation": activation, "pooling": pooling, "head": head}
    for kind, name in names.items():
        if name not in NAMES[kind]:
            choices = tuple(NAMES[kind])
            raise ValueError(f"unknown {kind} {name!r}: choose from {choices}")
    state = {name: np.asarray(value) for name, value in state.items()}
    _check_numbers(state)
    model = architecture(state, names)
    zeros = jax.tree.map(lambda v: np.zeros(v.shape, v.dtype), variable_shapes(model))
    _check_entries(state, entries(model, zeros))
    _check_masks(state)
    state = {name: _cast(name, state[name], model.param_dtype) for name in state}
    flat: dict[Path, Any] = {}
    for prefix, name, activation in layers(model):
        flat |= _CONVOLUTIONS[conv](state, f"{prefix}.ortho", (name, "conv"))
        for angle in ANGLES.get(activation, ()):
            value = jnp.asarray(state[f"{prefix}.act.{angle}"].ravel())
            flat["params", name, "activation", angle] = value
    flat |= _head(head, state)
    return model, unflatten_dict(flat)


def architecture(state: StateDict, names: Mapping[str, str]) -> LipConvNet:
    """The model with the sizes of a state dict's entries."""
    head = names["head"]
    last = {"ortho": "ortho.bias", "lln": "bias", "crc_full": "linear2.bias"}[head]
    width = len(_entry(state, "init_layer.ortho.bias"))
    blocks = {n.split(".")[0] for n in state if n.startswith("block")}
    depth = {n.split(".")[1] for n in state if n.startswith("block1.")}
    if head == "ortho":  # its kernel may be padded
        features = len(_entry(state, "logits_layer.ortho.weight"))
    else:
        inner = "weight" if head == "lln" else "linear1.weight"
        features = _entry(state, f"logits_layer.{inner}").shape[-1]
    stages = max(len(blocks), 1)
    per_pixel = width * 2 ** (stages + 1) // (1 if head == "crc_full" else 2)
    side = 2**stages * max(math.isqrt(features // max(per_pixel, 1)), 1)
    settings: dict[str, Any] = {
        field: NAMES[field][name] for field, name in names.items()
    }
    if head == "crc_full":
        settings["hidden"] = len(_entry(state, "logits_layer.linear1.bias"))
    mean, std = (
        tuple(map(float, _entry(state, name).ravel())) for name in ("shift", "scale")
    )
    if names["conv"] == "bcop":
        first = _entry(state, "init_layer.ortho.conv_matrices")
        kernel_size = (len(first) + 1) // 2
    else:
        first = _entry(state, "init_layer.ortho.weight")
        kernel_size = first.shape[-1]
    double = first.dtype == np.float64 and jax.config.read("jax_enable_x64")
    return LipConvNet(
        image_shape=(side, side, len(mean)),
        num_classes=len(_entry(state, f"logits_layer.{last}")),
        stages=stages,
        layers_per_stage=max(len(depth), 1),
        width=width,
        kernel_size=kernel_size,
        mean=mean,
        std=std,
        exp=PUBLISHED_EXP,
        param_dtype=jnp.float64 if double else jnp.float32,
        **settings,
    )


def _entry(state: StateDict, name: str) -> np.ndarray:
    if name not in state:
        raise ValueError(f"the state dict has no entry {name!r}")
    if state[name].ndim == 0:
        raise ValueError(f"entry {name!r} is a scalar")
    return state[name]


def _check_entries(state: StateDict, due: StateDict) -> None:
    for name, shape in ((name, entry.shape) for name, entry in due.items()):
        if name not in state:
            raise ValueError(f"the state dict has no entry {name!r}")
        if state[name].shape != shape:
            raise ValueError(
                f"entry {name!r} has the shape {state[name].shape} where {shape} is due"
            )
    for name in state:
        if name not in due:
            raise ValueError(f"the state dict has an entry of no use here: {name!r}")


def _check_masks(state: StateDict) -> None:
    for name in (name for name in state if name.endswith(".mask")):
        matrices = state[f"{name.removesuffix('mask')}conv_matrices"]
        if not np.array_equal(state[name], projector_mask(matrices)):
            raise ValueError(
                f"entry {name!r} makes projectors of other columns than the first half"
            )


def _check_numbers(state: StateDict) -> None:
    for name, value in state.items():
        real = jnp.issubdtype(value.dtype, jnp.floating) or value.dtype.kind in "iu"
        if not real or not np.isfinite(value).all():
            raise ValueError(f"entry {name!r} has a value that is no finite number")


def _cast(name: str, value: np.ndarray, dtype: Any) -> np.ndarray:
    with np.errstate(over="ignore"):
        cast = value.astype(dtype)
    if not np.isfinite(cast).all():
        raise ValueError(f"entry {name!r} has a number too large for {cast.dtype}")
    return cast


def _bcop(state: StateDict, prefix: str, path: Path) -> dict[Path, Any]:
    return {
        ("params", *path, "matrices"): jnp.asarray(state[f"{prefix}.conv_matrices"]),
        ("params", *path, "bias"): jnp.asarray(state[f"{prefix}.bias"]),
    }


def _cayley(state: StateDict, prefix: str, path: Path) -> dict[Path, Any]:
    kernel = state[f"{prefix}.weight"].transpose(2, 3, 1, 0)
    return {
        ("params", *path, "kernel"): jnp.asarray(kernel),
        ("params", *path, "bias"): jnp.asarray(state[f"{prefix}.bias"]),
        ("params", *path, "alpha"): jnp.asarray(state[f"{prefix}.alpha"]),
    }


def _skew(state: StateDict, prefix: str, path: Path) -> dict[Path, Any]:
    kernel = jnp.asarray(state[f"{prefix}.weight"].transpose(2, 3, 1, 0))
    vectors = {n: state[f"{prefix}._{n}"] for n in VECTORS}
    matrices = ops.unfoldings(ops.skew_kernel(kernel))
    chosen = tuple(
        min(two, key=lambda uv: float(ops.singular_value_estimate(matrix, uv)))
        for matrix, two in zip(matrices, our_vectors(vectors), strict=True)
    )
    return {
        ("params", *path, "kernel"): kernel,
        ("params", *path, "bias"): jnp.asarray(state[f"{prefix}.bias"]),
        (SPECTRAL, *path, "kernel_vectors"): jax.tree.map(jnp.asarray, chosen),
    }


_CONVOLUTIONS = {"soc": _skew, "bcop": _bcop, "cayley": _cayley}


def _head(head: str, state: StateDict) -> dict[Path, Any]:
    prefix, path = "logits_layer", ("params", "classifier")
    if head == "ortho":
        return _skew(state, f"{prefix}.ortho", ("classifier", "conv"))
    if head == "lln":
        return {
            (*path, "kernel"): jnp.asarray(state[f"{prefix}.weight"].T),
            (*path, "bias"): jnp.asarray(state[f"{prefix}.bias"]),
        }
    flat: dict[Path, Any] = {}
    for ours, theirs in LINEAR.items():
        kernel = state[f"{prefix}.{theirs}.weight"].T
        flat[*path, f"{ours}_kernel"] = jnp.asarray(kernel)
        flat[*path, f"{ours}_bias"] = jnp.asarray(state[f"{prefix}.{theirs}.bias"])
    u, v = (jnp.asarray(state[f"{prefix}._{n}"]) for n in "uv")
    return flat | {(SPECTRAL, "classifier", "hidden_kernel_vectors"): ((u, v[None]),)}
