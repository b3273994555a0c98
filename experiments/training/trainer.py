"""A training run's program: its model, its first state and its compiled steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from lipjax import LipConvNet

from ..common.errors import UserError
from ..configs import Config
from ..data import Dataset
from ..parallel.mesh import DATA, make_mesh
from ..parallel.shardings import put, state_shardings
from .augmentation import make_augment
from .feature_steps import make_feature_steps
from .forward import with_head
from .gradients import make_gradient, make_loss
from .model import build, check_fits
from .optimizer import optimizer
from .state import Metrics, TrainState, abstract_metrics, abstract_state, init_state
from .step import make_train_step
from .steps import make_steps

_COMPILE_FAST = {"xla_backend_optimization_level": 0}  # for what runs once


class Trainer:
    """Makes the first state of a run and takes its steps.

    The images, crops and flips of a step depend on the seed and the step alone. A run
    that is interrupted anywhere gives the same numbers; so does any mesh and any
    accumulation, up to summation order.

    Args:
      config: the settings.
      data: images in memory or on the disk.
      model: the network of a run; None: build it from config and data.
      mesh: the devices; None: all of them share each batch.
      accumulate: parts of a batch that are differentiated one after the other.

    Attributes:
      model: the network, computing in the config's dtype.
      steps_per_epoch: full batches in the training images.

    Raises:
      UserError: if the batch does not fit the data, the devices or the accumulation,
        or the model does not fit the data.
    """

    def __init__(
        self,
        config: Config,
        data: Dataset,
        model: LipConvNet | None = None,
        *,
        mesh: Mesh | None = None,
        accumulate: int = 1,
    ) -> None:
        self.config, self.data, self.mesh = config, data, mesh or make_mesh()
        _check_batch(config, len(data.train), self.mesh.shape[DATA], accumulate)
        model = model or build(config, data)
        check_fits(model, data)
        self.model: LipConvNet = model.clone(dtype=jnp.dtype(config.dtype))
        self.steps_per_epoch = len(data.train) // config.batch_size
        steps = self.steps_per_epoch * config.epochs
        head_only = config.train_only == "head"
        train_step = make_train_step(
            make_gradient(make_loss(self.model, config), self.mesh, accumulate),
            optimizer(config, steps),
            (lambda step, x: x) if head_only else make_augment(config, data),
            steps_per_epoch=self.steps_per_epoch,
            steps=steps,
            head_only=head_only,
        )
        shardings = jax.tree.map(lambda leaf: leaf.sharding, self.abstract_state())
        places = (config, data, self.mesh, shardings)
        if head_only:
            self.steps = make_feature_steps(train_step, *places, self.model)
        else:
            self.steps = make_steps(train_step, *places)
        self._init = jax.jit(
            self._initial, out_shardings=shardings, compiler_options=_COMPILE_FAST
        )

    def init(self) -> TrainState:
        """The state before the first step."""
        return self._init({})

    def init_from(self, variables: Any) -> TrainState:
        """The state before the first step, with a run's variables.

        With `train_only=head`, a head of other shapes than the run's is a new one.
        """
        return self._init(variables)

    def _initial(self, variables: Any) -> TrainState:
        key = jax.random.key(self.config.seed)
        image = jnp.zeros((1, *self.model.image_shape), jnp.float32)
        fresh = self.model.init(key, image)
        if self.config.train_only == "head" and variables:
            variables = with_head(variables, fresh)
        return init_state(self.config, variables or fresh)

    def abstract_state(self) -> TrainState:
        """Shapes, dtypes and shardings of a state, without its numbers."""
        return abstract_state(self.config, self.model, self.mesh)

    def place(self, state: Any) -> Any:
        """Puts a state that every host holds on the devices, sharded for the steps."""
        return put(state, state_shardings(state, self.mesh))

    def input(self) -> dict[str, int]:
        """The numbers that determine, with the step, which images a step sees."""
        config = self.config
        sizes = {"images": len(self.data.train), "batch_size": config.batch_size}
        return sizes | {"seed": config.seed}

    def program(self) -> tuple[Any, tuple[Any, ...]]:
        """The jitted function of the steps, and abstract arguments for it.

        The devices of the mesh need not exist.
        """
        carry: tuple[TrainState, Metrics]
        carry = (self.abstract_state(), abstract_metrics(self.mesh))
        return self.steps.jitted, (*carry, *self.steps.abstract_images())

    def compiled(self, options: Mapping[str, Any] | None = None) -> jax.stages.Compiled:
        """The compiled program of the steps; later calls of `steps` reuse it.

        Args:
          options: XLA's, for this program; `steps` does not use one that has any.
        """
        jitted, arguments = self.program()
        return jitted.lower(*arguments).compile(options and dict(options))


def _check_batch(config: Config, images: int, shares: int, accumulate: int) -> None:
    if config.batch_size > images:
        raise UserError(
            f"--batch_size={config.batch_size} is more than the {images} images to "
            "train on"
        )
    if accumulate < 1:
        raise UserError("--accumulate must be at least 1")
    if config.batch_size % (shares * accumulate):
        among = [f"{shares} devices or groups of them"] * (shares > 1)
        among += [f"{accumulate} parts"] * (accumulate > 1)
        raise UserError(
            f"--batch_size={config.batch_size} cannot be shared out over "
            f"{' and '.join(among)}: choose a multiple of {shares * accumulate}"
        )
