"""The training state and the metrics, as arrays and as shapes."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from lipjax import LipConvNet

from ..configs import Config
from ..parallel.shardings import put, replicated, state_shardings
from .optimizer import optimizer


class TrainState(NamedTuple):
    """Everything that a run carries from step to step, except the metrics."""

    step: jax.Array
    params: Any
    spectral: Any
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        """The variables that the model's `apply` takes."""
        return {"params": self.params, "spectral": self.spectral}


class Metrics(NamedTuple):
    """Sums over the training images seen since the last reset."""

    loss: jax.Array
    correct: jax.Array
    images: jax.Array

    def add(self, loss: jax.Array, correct: jax.Array, images: int) -> Metrics:
        """Adds a batch, by its mean loss and its number of correct images."""
        return Metrics(
            self.loss + (loss * images).astype(jnp.float32),
            self.correct + correct,
            self.images + images,
        )


def init_state(config: Config, variables: Any) -> TrainState:
    """The state before the first step, with a new optimiser state."""
    params = variables["params"]
    fresh = optimizer(config, steps=1).init(params)
    return TrainState(
        jnp.zeros((), jnp.int32), params, variables.get("spectral", {}), fresh
    )


def abstract_state(config: Config, model: LipConvNet, mesh: Mesh) -> TrainState:
    """Shapes, dtypes and shardings of a run's state; independent of the data."""
    image = jnp.zeros((1, *model.image_shape), jnp.float32)
    state = jax.eval_shape(
        lambda key: init_state(config, model.init(key, image)), jax.random.key(0)
    )
    return jax.tree.map(
        lambda leaf, sharding: leaf.update(sharding=sharding),
        state,
        state_shardings(state, mesh),
    )


def abstract_metrics(mesh: Mesh) -> Any:
    """Shapes, dtypes and shardings of metrics."""
    return abstract(_ZERO, replicated(mesh))


def abstract(tree: Any, sharding: NamedSharding) -> Any:
    """Shapes and dtypes of a tree's arrays, with one sharding for all."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        tree,
    )


def zero_metrics(mesh: Mesh) -> Metrics:
    """Sums over no images."""
    return put(_ZERO, replicated(mesh))


_DTYPES: Any = (np.float32, np.int32, np.int32)
_ZERO = Metrics(*(dtype(0) for dtype in _DTYPES))
