"""State dicts of the published PyTorch LipConvNets.

Their arrays are NCHW and OIHW; their names are `init_layer.*`, `blockB.L.*` with B from
1 and L from 0, and `logits_layer.*`. Each convolution keeps four pairs of singular
vectors, one per unfolding of its skew kernel. Skewness makes the unfoldings equal in
pairs, and lipjax keeps one of each: the pair with the smaller estimate, so that the
smallest of all estimates, which is the scale, stays the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from lipjax import ops
from lipjax.models import LipConvNet
from lipjax.nn import SPECTRAL, Series

State = Mapping[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]
Path = tuple[str, ...]

ACTIVATIONS = {"maxmin": "maxmin", "hh1": "householder", "hh2": "householder2"}
POOLINGS = {"max": "max", "lip1": "projection"}
HEADS = {"ortho": "orthogonal", "lln": "normalized", "crc_full": "curvature"}
ANGLES = {"hh1": ("theta",), "hh2": ("theta0", "theta1", "theta2"), "lip1": ("theta",)}
VECTORS = ("u1", "v1", "u2", "v2", "u3", "v3", "u4", "v4")

PUBLISHED_SERIES = Series(ops.taylor(5), ops.taylor(14), gradient="fast")


def from_reference(
    state: State, *, activation: str, pooling: str, head: str
) -> tuple[LipConvNet, dict[str, Any]]:
    """Converts a published state dict to a model with equal features and logits.

    Args:
      state: the state dict as NumPy arrays, with the published names.
      activation: "maxmin", "hh1" or "hh2".
      pooling: "max" or "lip1".
      head: "ortho", "lln" or "crc_full".

    Returns:
      The model, with the published polynomials (Taylor of degree 5 in training, 14 in
      evaluation) and the fast gradient, and its variables {"params", "spectral"}.

    Raises:
      ValueError: for an unknown name, or an entry of the state that is missing, of no
        use, or of the wrong shape; it names the entry.

    Example, from a file of PyTorch's:
      >>> def load(path):
      ...     import torch
      ...     state = torch.load(path, weights_only=True, map_location="cpu")
      ...     names = dict(activation="maxmin", pooling="max", head="lln")
      ...     arrays = {name: value.numpy() for name, value in state.items()}
      ...     return from_reference(arrays, **names)
    """
    _check_choice("activation", activation, ACTIVATIONS)
    _check_choice("pooling", pooling, POOLINGS)
    _check_choice("head", head, HEADS)
    state = {name: np.asarray(value) for name, value in state.items()}
    model = _model(state, activation, pooling, head)
    _check_entries(state, _shapes(model, activation, pooling, head))
    flat: dict[Path, Any] = {}
    for prefix, path, pairs in _layers(model, activation, pooling):
        flat |= _convolution(state, f"{prefix}.ortho", (*path, "conv"))
        for angle in ANGLES.get(pairs, ()):
            value = jnp.asarray(state[f"{prefix}.act.{angle}"].ravel())
            flat["params", *path, "pairs", angle] = value
    flat |= _HEAD_READERS[head](state)
    return model, unflatten_dict(flat)


def _check_choice(kind: str, name: str, choices: Mapping[str, str]) -> None:
    if name not in choices:
        raise ValueError(f"unknown {kind} {name!r}: choose from {tuple(choices)}")


def _model(state: State, activation: str, pooling: str, head: str) -> LipConvNet:
    """The model whose sizes are those of a few telling entries."""
    last = {"ortho": "ortho.bias", "lln": "bias", "crc_full": "linear2.bias"}[head]
    width = len(_entry(state, "init_layer.ortho.bias"))
    blocks = {n.split(".")[0] for n in state if n.startswith("block")}
    depth = {n.split(".")[1] for n in state if n.startswith("block1.")}
    if head == "ortho":  # its kernel does not tell how many of its channels are used
        features = len(_entry(state, "logits_layer.ortho.weight"))
    else:
        inner = "weight" if head == "lln" else "linear1.weight"
        features = _entry(state, f"logits_layer.{inner}").shape[-1]
    stages = max(len(blocks), 1)
    per_pixel = width * 2 ** (stages + 1) // (1 if head == "crc_full" else 2)
    side = 2**stages * max(math.isqrt(features // max(per_pixel, 1)), 1)
    hidden = len(state.get("logits_layer.linear1.bias", [0]))
    mean, std = (_numbers(state, name) for name in ("shift", "scale"))
    return LipConvNet(
        image_shape=(side, side, len(mean)),
        num_classes=len(_entry(state, f"logits_layer.{last}")),
        stages=stages,
        layers_per_stage=max(len(depth), 1),
        width=width,
        kernel_size=_entry(state, "init_layer.ortho.weight").shape[-1],
        activation=ACTIVATIONS[activation],
        pooling=POOLINGS[pooling],
        head=HEADS[head],
        hidden=max(hidden, 1),
        mean=mean,
        std=std,
        series=PUBLISHED_SERIES,
    )


def _numbers(state: State, name: str) -> tuple[float, ...]:
    return tuple(map(float, _entry(state, name).ravel()))


def _entry(state: State, name: str) -> np.ndarray:
    if name not in state:
        raise ValueError(f"the state dict has no entry {name!r}")
    if state[name].ndim == 0:
        raise ValueError(f"entry {name!r} is a scalar")
    return state[name]


def _layers(
    model: LipConvNet, activation: str, pooling: str
) -> Iterator[tuple[str, Path, str]]:
    """Published prefix, our path and published pair module of every layer, in order."""
    for name in model.block_names():
        if name == "initial":
            yield "init_layer", (name,), activation
            continue
        stage, layer = map(int, re.findall(r"\d+", name))
        pooled = layer == model.layers_per_stage and (
            stage < model.stages or model.head != "curvature"
        )
        prefix = f"block{stage}.{layer - 1}"
        yield prefix, (name,), pooling if pooled else activation


def _shapes(model: LipConvNet, activation: str, pooling: str, head: str) -> Shapes:
    """Names and shapes of all entries that the published state dict has."""
    image = jnp.zeros((1, *model.image_shape), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
    channels = model.image_shape[-1]
    shapes: Shapes = {"shift": (channels, 1, 1), "scale": (channels, 1, 1)}
    for prefix, (name,), pairs in _layers(model, activation, pooling):
        block = params[name]
        shapes |= _convolution_shapes(f"{prefix}.ortho", block["conv"])
        for angle in ANGLES.get(pairs, ()):
            n = block["pairs"][angle].shape[0]
            shapes[f"{prefix}.act.{angle}"] = (1, n, 1, 1) if pairs == "hh1" else (n,)
    return shapes | _head_shapes(params["classifier"], head)


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


def _check_entries(state: State, shapes: Shapes) -> None:
    for name, shape in shapes.items():
        if name not in state:
            raise ValueError(f"the state dict has no entry {name!r}")
        if state[name].shape != shape:
            raise ValueError(
                f"entry {name!r} has the shape {state[name].shape} where {shape} is due"
            )
    for name in state:
        if name not in shapes:
            raise ValueError(f"the state dict has an entry of no use here: {name!r}")


def _convolution(state: State, prefix: str, path: Path) -> dict[Path, Any]:
    kernel = jnp.asarray(state[f"{prefix}.weight"].transpose(2, 3, 1, 0))
    vectors = {n: state[f"{prefix}._{n}"] for n in VECTORS}
    matrices = ops.unfoldings(ops.skew_kernel(kernel))
    chosen = tuple(
        min(pairs, key=lambda pair: float(ops.singular_value_estimate(matrix, pair)))
        for matrix, pairs in zip(matrices, our_vectors(vectors), strict=True)
    )
    return {
        ("params", *path, "kernel"): kernel,
        ("params", *path, "bias"): jnp.asarray(state[f"{prefix}.bias"]),
        (SPECTRAL, *path, "kernel_vectors"): chosen,
    }


def our_vectors(published: Mapping[str, np.ndarray]):
    """The four published pairs as candidates for the square and the tall unfolding.

    Args:
      published: u1, v1 ... u4, v4 with the published shapes, of a skew kernel.

    Returns:
      ((pair 1, pair 2), (pair 3, pair 4)), each (left, right) of our unfolding. Pairs 2
      and 4 belong to the transposes: they swap sides, flip their taps, and one changes
      its sign.
    """
    u1, v1, u2, v2, u3, v3, u4, v4 = (published[n] for n in VECTORS)
    square = (
        (u1[0, :, 0].T, v1[:, 0, :, 0].T),
        (np.flip(v2, 3)[:, 0, 0].T, -np.flip(u2, 2)[0, :, :, 0].T),
    )
    tall = (
        (u3[0].transpose(1, 2, 0), v3.reshape(1, -1)),
        (-np.flip(u4, (2, 3))[:, 0].transpose(1, 2, 0), v4.reshape(1, -1)),
    )
    return tuple(
        tuple((jnp.asarray(u.ravel()), jnp.asarray(v)) for u, v in pairs)
        for pairs in (square, tall)
    )


def _orthogonal(state: State) -> dict[Path, Any]:
    return _convolution(state, "logits_layer.ortho", ("classifier", "conv"))


def _normalized(state: State) -> dict[Path, Any]:
    return {
        ("params", "classifier", "kernel"): jnp.asarray(state["logits_layer.weight"].T),
        ("params", "classifier", "bias"): jnp.asarray(state["logits_layer.bias"]),
    }


def _curvature(state: State) -> dict[Path, Any]:
    entries = {"hidden": "linear1", "output": "linear2"}
    flat: dict[Path, Any] = {}
    for ours, theirs in entries.items():
        kernel = state[f"logits_layer.{theirs}.weight"].T
        flat["params", "classifier", f"{ours}_kernel"] = jnp.asarray(kernel)
        bias = state[f"logits_layer.{theirs}.bias"]
        flat["params", "classifier", f"{ours}_bias"] = jnp.asarray(bias)
    u, v = (jnp.asarray(state[f"logits_layer._{n}"]) for n in "uv")
    flat[SPECTRAL, "classifier", "hidden_kernel_vectors"] = ((u, v[None]),)
    return flat


_HEAD_READERS: Mapping[str, Callable[[State], dict[Path, Any]]] = {
    "ortho": _orthogonal,
    "lln": _normalized,
    "crc_full": _curvature,
}
