"""From a model and its variables to a published state dict."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lipjax import ops
from lipjax.convert.reading import architecture
from lipjax.convert.singular_vectors import published_vectors
from lipjax.convert.state_dict import (
    ANGLES,
    LINEAR,
    layers,
    published_names,
    shapes,
    variable_shapes,
)
from lipjax.models import LipConvNet

Arrays = dict[str, np.ndarray]


def to_torch(model: LipConvNet, variables: Any) -> Arrays:
    """A published state dict of a model: the inverse of `from_torch`.

    Weights keep their bits. The published code keeps the singular vectors of four
    unfoldings: two are ours, and the other two follow by skew symmetry. The published
    scale, the smallest of four estimates, is thus ours up to rounding.

    A state dict does not hold the polynomials or the dtype of the computation. `mean`
    and `std` get the precision of the weights, as in the model's computation.

    Args:
      model: the network.
      variables: {"params": ..., "spectral": ...}, of float16, float32 or float64.

    Returns:
      Arrays with the published names and shapes, in the published order. To read them
      back, pass `published_names(model)` to `from_torch`.

    Raises:
      ValueError: if the variables are of another model, or the published format
        cannot hold the network: without biases, with a module of the user's own, for
        oblong images, or with a scale of zero.

    Example:
      >>> from lipjax.convert import from_torch
      >>> model = LipConvNet((8, 8, 1), 3, stages=2, width=2, mean=(0.0,), std=(0.5,))
      >>> variables = model.init(jax.random.key(0), np.zeros((1, 8, 8, 1)))
      >>> state = to_torch(model, variables)
      >>> state["block1.0.ortho.weight"].shape
      (8, 8, 3, 3)
      >>> same, _ = from_torch(state, **published_names(model))
      >>> same.clone(exp=model.exp) == model
      True
    """
    if not model.use_bias:
        raise ValueError("the published format has no convolutions without biases")
    _check_variables(model, variables)
    params, spectral = (
        jax.tree.map(np.asarray, variables[name]) for name in ("params", "spectral")
    )
    precision = params["initial"]["conv"]["kernel"].dtype
    state = {
        "shift": np.array(model.mean, precision),
        "scale": np.array(model.std, precision),
    }
    for prefix, name, activation in layers(model):
        mine = params[name]
        state |= _convolution(f"{prefix}.ortho", mine["conv"], spectral[name]["conv"])
        for angle in ANGLES.get(activation, ()):
            state[f"{prefix}.act.{angle}"] = mine["activation"][angle]
    head = published_names(model)["head"]
    state |= _head(head, params["classifier"], spectral.get("classifier"))
    found = {
        name: np.ascontiguousarray(state[name].reshape(shape))
        for name, shape in shapes(model, params).items()
    }
    _check_sizes(model, found)
    return found


def _convolution(prefix: str, params: Arrays, spectral: Any) -> Arrays:
    kernel, vectors = params["kernel"], spectral["kernel_vectors"]
    matrices = ops.unfoldings(ops.skew_kernel(jnp.asarray(kernel)))
    estimates = map(ops.singular_value_estimate, matrices, vectors)
    if min(map(float, estimates)) == 0:
        raise ValueError(
            f"the scale of {prefix} is zero, by which the published code divides"
        )
    k, _, channels, _ = kernel.shape
    published = published_vectors(vectors, k, channels)
    return {
        f"{prefix}.weight": kernel.transpose(3, 2, 0, 1),
        f"{prefix}.bias": params["bias"],
        **{f"{prefix}._{name}": vector for name, vector in published.items()},
    }


def _head(head: str, params: Any, spectral: Any) -> Arrays:
    prefix = "logits_layer"
    if head == "ortho":
        return _convolution(f"{prefix}.ortho", params["conv"], spectral["conv"])
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


def _check_variables(model: LipConvNet, variables: Any) -> None:
    due = _leaves(variable_shapes(model))
    found = _leaves({name: variables.get(name) for name in ("params", "spectral")})
    for path in (*due, *found):
        if due.get(path) != found.get(path):
            raise ValueError(
                f"the variables are of another model: {path} has the shape "
                f"{found.get(path)} where {due.get(path)} is due"
            )
    for leaf in jax.tree.leaves(variables):
        if np.dtype(leaf.dtype).kind != "f":  # bfloat16's is "V"
            raise ValueError(f"NumPy and its files have no {leaf.dtype}")


def _leaves(tree: Any) -> dict[str, tuple[int, ...]]:
    """Path and shape of every leaf."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.shape(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _check_sizes(model: LipConvNet, state: Arrays) -> None:
    """Checks that reading gives the same sides: a state dict does not hold them."""
    read = architecture(state, published_names(model))
    if read.image_shape != model.image_shape:
        raise ValueError(
            "a published state dict does not hold the images' shape: this one would "
            f"be read as {read.image_shape}, not {model.image_shape}"
        )
