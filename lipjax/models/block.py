"""Blocks of a trunk, and the convolutions, activations and poolings with a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from lipjax.nn import (
    BlockConvolutionOrthogonal,
    CayleyConv,
    ChannelMaxPool,
    Householder,
    HouseholderOrder2,
    MaxMin,
    ProjectionPool,
    ReflectorConv,
    SkewOrthogonalConv,
    StridedConv,
)

Named = Mapping[str, type[nn.Module]]
CONVOLUTIONS: Mapping[str, type[StridedConv]] = {
    "soc": SkewOrthogonalConv,
    "bcop": BlockConvolutionOrthogonal,
    "cayley": CayleyConv,
    "reflector": ReflectorConv,
}
ACTIVATIONS: Named = {
    "maxmin": MaxMin,
    "householder": Householder,
    "householder2": HouseholderOrder2,
}
POOLINGS: Named = {"max": ChannelMaxPool, "projection": ProjectionPool}


class Block(nn.Module):
    """A convolution, then an activation or a pooling of its channels."""

    conv: StridedConv
    activation: nn.Module

    def __call__(
        self, x: jax.Array, train: bool = False, update_stats: bool = False
    ) -> jax.Array:
        conv: Any = self.conv
        return self.activation(conv(x, train, update_stats))


def new_module(given: str | nn.Module, named: Named, param_dtype: Any) -> nn.Module:
    """An unbound copy of the given module, or the module of that name."""
    if isinstance(given, nn.Module):
        return given.copy(parent=None)
    module = named[given]
    if "param_dtype" in module.__dataclass_fields__:
        return module(param_dtype=param_dtype, parent=None)
    return module(parent=None)
