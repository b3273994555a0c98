"""From a model and its variables to a published state dict."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lipjax import ops
from lipjax.convert.reading import architecture
from lipjax.convert.singular_vectors import VECTORS, our_vectors
from lipjax.convert.state_dict import (
    Arrays,
    entries,
    published_names,
    variable_shapes,
)
from lipjax.models import LipConvNet


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
      >>> variables = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 8, 8, 1)))
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
    arrays = entries(model, jax.tree.map(np.asarray, dict(variables)))
    found = {name: np.array(array, order="C") for name, array in arrays.items()}
    _check_scales(found)
    _check_sizes(model, found)
    return found


def _check_scales(state: Arrays) -> None:
    vectors = [name for name in state if name.endswith(".ortho._u1")]
    for prefix in (name.removesuffix("._u1") for name in vectors):
        kernel = jnp.asarray(state[f"{prefix}.weight"].transpose(2, 3, 1, 0))
        vectors = our_vectors({n: state[f"{prefix}._{n}"] for n in VECTORS})
        matrices = ops.unfoldings(ops.skew_kernel(kernel))
        estimates = [
            float(ops.singular_value_estimate(matrix, uv))
            for matrix, (uv, _) in zip(matrices, vectors, strict=True)
        ]
        if min(estimates) == 0:
            raise ValueError(
                f"the scale of {prefix} is zero, by which the published code divides"
            )


def _check_variables(model: LipConvNet, variables: Any) -> None:
    due = _leaves(variable_shapes(model))
    names = ("params", "spectral")
    found = _leaves({name: variables.get(name, {}) for name in names})
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
