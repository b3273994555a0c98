"""The training step, and any number of them in one call that stays on the device."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from lipjax import LipConvNet, losses, refresh_spectral

from ..common.errors import UserError
from ..configs import Config
from ..data import Dataset
from ..parallel.mesh import DATA, make_mesh
from ..parallel.shardings import batch_sharding, put, replicated, state_shardings
from .augmentation import random_crop, random_flip, to_pixels
from .model import build, check_fits, in_dtype
from .optimizer import optimizer
from .state import (
    Metrics,
    TrainState,
    abstract,
    abstract_metrics,
    abstract_state,
    init_state,
    zero_metrics,
)

REFRESH_STEPS = 50
_COMPILE_FAST = {"xla_backend_optimization_level": 0}  # for what runs once


class Trainer:
    """A config with its data: makes the first state and takes steps.

    The data are put on the devices once, at the first step. The images, crops and
    flips of a step depend on the seed and the step alone: a run that is cut anywhere
    gives the same numbers, and so, but for the order of summation, do any mesh and any
    accumulation.

    Args:
      model: the network of a run; None: the one that config and data ask for.
      mesh: the devices; None: all of them share each batch.
      accumulate: parts of a batch that are differentiated one after the other.

    Attributes:
      model: the network, computing in the config's dtype.
      steps_per_epoch: full batches in the training images.

    Raises:
      UserError: if the batch does not fit the data, the devices or the accumulation,
        or the model not the data.
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
        self.mesh = mesh or make_mesh()
        self.accumulate = accumulate
        _check_batch(config, len(data.train), self.mesh.shape[DATA], accumulate)
        self.config = config
        self.data = data
        model = model or build(config, data)
        check_fits(model, data)
        self.model: LipConvNet = in_dtype(model, config.dtype)
        self.steps_per_epoch = len(data.train) // config.batch_size
        self._optimizer = optimizer(config, self.steps_per_epoch * config.epochs)
        state = jax.tree.map(lambda leaf: leaf.sharding, self.like())
        self._first = jax.jit(
            self._initial, out_shardings=state, compiler_options=_COMPILE_FAST
        )
        self._jitted = jax.jit(
            self._run,
            donate_argnums=(0, 1),
            out_shardings=(state, replicated(self.mesh)),
        )

    def init(self) -> TrainState:
        """The state before the first step."""
        return self._first()

    def like(self) -> TrainState:
        """Shapes, dtypes and places of a state, without its numbers."""
        return abstract_state(self.config, self.model, self.mesh)

    def _initial(self) -> TrainState:
        key = jax.random.key(self.config.seed)
        image = jnp.zeros((1, *self.model.image_shape), jnp.float32)
        return init_state(self.config, self.model.init(key, image))

    def zero_metrics(self) -> Metrics:
        """Sums over no images."""
        return zero_metrics(self.mesh)

    def place(self, state: Any) -> Any:
        """A state that every host has, where the steps want it."""
        return put(state, state_shardings(state, self.mesh))

    def steps(
        self, state: TrainState, totals: Metrics, count: int
    ) -> tuple[TrainState, Metrics]:
        """Takes `count` steps in one call; the arguments are used up."""
        return self._jitted(state, totals, *self._train, np.int32(count))

    def close(self) -> None:
        """Stops whatever reads data in the background: nothing here."""

    def input(self) -> dict[str, int]:
        """What says, beside the step, which images a step sees."""
        config = self.config
        sizes = {"images": len(self.data.train), "batch_size": config.batch_size}
        return sizes | {"seed": config.seed}

    @functools.cached_property
    def _train(self) -> tuple[jax.Array, jax.Array]:
        train = self.data.train
        return put((train.images, train.labels), replicated(self.mesh))

    def program(self) -> tuple[Any, tuple[Any, ...]]:
        """The jitted function of `steps`, and what stands for its arguments.

        Shapes, dtypes and places alone: the devices of the mesh need not be here.
        """
        train = self.data.train
        data = abstract((train.images, train.labels), replicated(self.mesh))
        arguments = (self.like(), abstract_metrics(self.mesh), *data, np.int32(1))
        return self._jitted, arguments

    def compiled(self) -> jax.stages.Compiled:
        """The program of `steps`, compiled; later calls of `steps` are at once."""
        jitted, arguments = self.program()
        return jitted.lower(*arguments).compile()

    def memory(self) -> int:
        """Bytes of temporaries that the compiled step needs on a device."""
        analysis: Any = self.compiled().memory_analysis()
        return analysis.temp_size_in_bytes

    def shapes(self, state: TrainState) -> dict[str, tuple[int, ...]]:
        """Shape of every block's and the head's output for one image."""
        image = jnp.zeros((1, *self.data.image_shape), jnp.float32)
        _, seen = jax.eval_shape(
            lambda variables: self.model.apply(
                variables, image, capture_intermediates=True, mutable="intermediates"
            ),
            state.variables,
        )
        outputs = seen["intermediates"]
        names = (*self.model.block_names(), "classifier")
        return {name: outputs[name]["__call__"][0].shape[1:] for name in names}

    def _run(self, state: TrainState, totals: Metrics, images, labels, count):
        def body(_, carry):
            state, totals, order = carry
            first = state.step % self.steps_per_epoch == 0
            order = lax.cond(first, self._order, lambda _: order, state.step)
            chosen = self._chosen(state.step, order)
            return *self._step(state, totals, images[chosen], labels[chosen]), order

        carry = (state, totals, self._order(state.step))
        return lax.fori_loop(0, count, body, carry)[:2]

    def _order(self, step: jax.Array) -> jax.Array:
        """The order of the training images in the epoch of a step."""
        key = jax.random.fold_in(self._key(), step // self.steps_per_epoch)
        return jax.random.permutation(key, len(self.data.train))

    def _key(self) -> jax.Array:
        return jax.random.key(self.config.seed + 1)

    def _step(self, state: TrainState, totals: Metrics, images, y):
        """One step by a batch of images as they are stored, with their labels."""
        x = self._augmented(state.step, images)
        state = self._refreshed(state)
        (loss, (correct, spectral)), grads = self._gradient(state, x, y)
        updates, opt_state = self._optimizer.update(
            grads, state.opt_state, state.params
        )
        params = optax.apply_updates(state.params, updates)
        totals = Metrics(
            totals.loss + (loss * len(y)).astype(jnp.float32),
            totals.correct + correct,
            totals.images + len(y),
        )
        return TrainState(state.step + 1, params, spectral, opt_state), totals

    def _chosen(self, step, order: jax.Array) -> jax.Array:
        """Which images a step sees, shared out over the devices."""
        size = self.config.batch_size
        position = step % self.steps_per_epoch
        chosen = lax.dynamic_slice(order, (position * size,), (size,))
        return lax.with_sharding_constraint(chosen, batch_sharding(self.mesh))

    def _augmented(self, step, images: jax.Array) -> jax.Array:
        x = to_pixels(images, self.data.levels)
        if self.config.augment:
            crop, flip = jax.random.split(jax.random.fold_in(self._key(), step))
            x = random_crop(crop, x, self.data.crop_padding)
            x = random_flip(flip, x) if self.data.flip else x
        return x

    def _refreshed(self, state: TrainState) -> TrainState:
        """In the middle of an epoch, the state with its scales brought up to date."""
        middle = state.step % self.steps_per_epoch == self.steps_per_epoch // 2
        spectral = lax.cond(
            middle,
            lambda: refresh_spectral(state.variables, REFRESH_STEPS),
            lambda: state.spectral,
        )
        return state._replace(spectral=spectral)

    def _gradient(self, state: TrainState, x, y):
        """((mean loss, (correct images, vectors)), gradient) of a batch.

        Each device differentiates its share by itself, in as many parts as asked for;
        the gradients of the parameters, in their own dtype, are then summed once.
        """
        if self.mesh.shape[DATA] == 1:  # which XLA cannot partition as a sum over one
            return self._gradient_of_share(state.params, state.spectral, x, y)
        whole, share = PartitionSpec(), PartitionSpec(DATA)
        of_shares = jax.shard_map(
            lambda *part: _mean(*self._gradient_of_share(*part)),
            mesh=self.mesh,
            in_specs=(whole, whole, share, share),
            out_specs=whole,
            axis_names={DATA},
            check_vma=False,
        )
        return of_shares(state.params, state.spectral, x, y)

    def _gradient_of_share(self, params, spectral, x, y):
        gradient = jax.value_and_grad(self._loss, has_aux=True)
        if self.accumulate == 1:
            result, grads = gradient(params, spectral, x, y, True)
            loss, (correct, spectral) = result
        else:
            variables = {"params": params, "spectral": spectral}
            spectral = refresh_spectral(variables, 1)
            parts = functools.partial(gradient, params, spectral)
            loss, correct, grads = self._mean_of_parts(parts, x, y)
        return (loss, (correct, spectral)), grads

    def _mean_of_parts(self, gradient, x, y):
        """Mean loss, correct images, mean gradient of a share's parts."""

        def of_part(part):
            (loss, (correct, _)), grads = gradient(*part, False)
            return loss, correct, grads

        def add(sums, part):
            return jax.tree.map(jnp.add, sums, of_part(part)), None

        parts = jax.tree.map(
            lambda a: a.reshape(self.accumulate, -1, *a.shape[1:]), (x, y)
        )
        shapes = jax.eval_shape(of_part, jax.tree.map(lambda a: a[0], parts))
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        (loss, correct, grads), _ = lax.scan(add, zeros, parts)
        mean = functools.partial(jax.tree.map, lambda g: g / self.accumulate)
        return mean(loss), correct, mean(grads)

    def _loss(self, params, spectral, x, y, update_stats):
        (logits, penalty), changed = self.model.apply(
            {"params": params, "spectral": spectral},
            x,
            y,
            update_stats,
            mutable=["spectral"] if update_stats else [],
            method="logits_and_penalty",
        )
        loss = losses.penalized_cross_entropy(
            logits,
            y,
            penalty,
            weight=self.config.curvature_penalty,
            temperature=self.config.temperature,
        )
        correct = jnp.sum(jnp.argmax(logits, axis=1) == y, dtype=jnp.int32)
        return loss, (correct, changed.get("spectral"))


def _mean(result, grads):
    """Of the shares' results and gradients, inside `shard_map`."""
    loss, (correct, spectral) = result
    loss, grads = lax.pmean((loss, grads), DATA)
    return (loss, (lax.psum(correct, DATA), spectral)), grads


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
