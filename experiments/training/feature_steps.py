"""Training steps of the head alone, over features that are computed once."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh

from lipjax import LipConvNet

from ..common.errors import UserError
from ..configs import Config
from ..data import Dataset
from ..parallel.shardings import put, replicated
from .augmentation import to_pixels
from .state import Metrics, TrainState, abstract
from .step import TrainStep
from .steps import Carry, InMemorySteps

_BATCH = 250


@dataclasses.dataclass
class FeatureSteps(InMemorySteps):
    """Steps over the features of the images, in evaluation mode.

    They are computed at the first step, from the weights of the trunk, which no step
    changes, and are copied to every device.

    Attributes:
      model: the network.
      levels: a pixel is a byte / levels.
    """

    model: LipConvNet
    levels: int
    _features: Any = dataclasses.field(default=None, init=False)

    def __call__(self, state: TrainState, metrics: Metrics, count: int) -> Carry:
        if self._features is None:
            images, labels = put(
                (self.train.images, self.train.labels), replicated(self.mesh)
            )
            self._features = self._compute(state.variables, images), labels
        return self.jitted(state, metrics, *self._features, np.int32(count))

    def abstract_images(self) -> tuple[Any, ...]:
        shape, place = self.train.images.shape, replicated(self.mesh)
        image = jnp.zeros((1, *shape[1:]), jnp.uint8)
        variables = jax.eval_shape(self.model.init, jax.random.key(0), image)
        found = jax.eval_shape(self._of_images, variables, image)
        features = jax.ShapeDtypeStruct((shape[0], *found.shape[1:]), found.dtype)
        return *abstract((features, self.train.labels), place), np.int32(1)

    @functools.cached_property
    def _compute(self) -> Any:
        return jax.jit(self._of_images, out_shardings=replicated(self.mesh))

    def _of_images(self, variables: Any, images: jax.Array) -> jax.Array:
        def features(images: jax.Array) -> jax.Array:
            x = to_pixels(images, self.levels)
            return self.model.apply(variables, x, method="features")[0]

        return lax.map(lambda i: features(i[None]), images, batch_size=_BATCH)


def make_feature_steps(
    train_step: TrainStep,
    config: Config,
    data: Dataset,
    mesh: Mesh,
    shardings: Any,
    model: LipConvNet,
) -> FeatureSteps:
    """Makes steps over the features of the training images; as `make_steps`.

    Raises:
      UserError: if the images are read from the disk.
    """
    if not isinstance(data.train.images, np.ndarray):
        raise UserError(
            f"--train_only=head needs images in memory, and --data={config.data} "
            "reads them from the disk"
        )
    places, model = (shardings, replicated(mesh)), model.clone(dtype=None)
    common = (train_step, config, data.train, mesh, places)
    return FeatureSteps(*common, model, data.levels)
