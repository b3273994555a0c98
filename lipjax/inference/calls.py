"""What a Linen module calls, and with images of which shape."""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from lipjax.certify.layers import Shape
from lipjax.inference.exact import Numbers, exact_layer


class Call(NamedTuple):
    """A call of a module: its path, itself, unbound, and the shape of its input."""

    path: tuple[str, ...]
    module: nn.Module
    shape: Shape


def calls(model: nn.Module, variables: Any, image_shape: Shape) -> list[Call]:
    """The calls in evaluation of a model, those of layers that are known as one each.

    Args:
      model: takes images [n, height, width, channels].
      variables: of the model.
      image_shape: (height, width, channels).
    """
    found: list[Call] = []
    inside: list[nn.Module] = []

    def noted(function: Any, args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        outer = context.method_name != "__call__" or inside
        if outer or not (args and hasattr(args[0], "shape")):
            return function(*args, **kwargs)
        *_, height, width, channels = (1, 1, 1, *args[0].shape[1:])
        shape = (height, width, channels)
        found.append(Call(module.path, module.clone(parent=None, name=None), shape))
        if not is_known(module):
            return function(*args, **kwargs)
        inside.append(module)  # what a known layer does inside is its own affair
        try:
            return function(*args, **kwargs)
        finally:
            inside.pop()

    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    with nn.intercept_methods(noted):
        jax.eval_shape(model.apply, variables, images)
    return found


def is_known(module: nn.Module) -> bool:
    """Whether `exact_layer` translates it."""
    return exact_layer.dispatch(type(module)) is not exact_layer.dispatch(object)


def has_own_numbers(params: Numbers) -> bool:
    """Whether a module has parameters itself, not only in the modules inside it."""
    return any(not hasattr(value, "items") for value in params.values())
