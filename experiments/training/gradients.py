"""The loss of a batch and its gradient, on one device or shared out over a mesh."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from lipjax import LipConvNet, refresh_spectral

from ..configs import Config
from ..parallel.mesh import DATA
from .forward import make_forward
from .objective import make_objective

LossFunction = Callable[..., tuple[jax.Array, tuple[jax.Array, Any]]]


class Gradient(NamedTuple):
    """Loss, correct predictions, state and gradient of one batch.

    Attributes:
      loss: mean over the images.
      correct: number of images that are classified correctly.
      spectral: singular vectors after one step of the power iteration.
      grads: gradient of the mean loss in the parameters.
    """

    loss: jax.Array
    correct: jax.Array
    spectral: Any
    grads: Any


def make_loss(model: LipConvNet, config: Config) -> LossFunction:
    """Makes the loss function of a batch.

    It is `(params, spectral, x, y, progress, update_stats) -> (loss, (correct,
    spectral))`, progress the share of the run that is over.
    """
    forward = make_forward(model, config)
    objective = make_objective(config, 1 / min(model.std))
    uses_pairs = config.loss == "emma" or config.certificate_weight > 0

    def loss_function(params, spectral, x, y, progress, update_stats: bool):
        found = forward(params, spectral, x, y, update_stats)
        pairs: Any = jnp.zeros(())
        if uses_pairs:
            variables = {"params": params, "spectral": spectral}
            pairs = model.apply(variables, method="pair_constants")
        of_images = objective(found.attacked, y, pairs, progress)
        loss = jnp.mean(of_images) + config.curvature_penalty * found.penalty
        correct = jnp.sum(jnp.argmax(found.logits, axis=1) == y, dtype=jnp.int32)
        return loss, (correct, found.spectral)

    return loss_function


def make_gradient(
    loss_function: LossFunction, mesh: Mesh, accumulate: int = 1
) -> Callable[..., Gradient]:
    """Makes `(params, spectral, x, y, progress) -> Gradient` of a batch's mean loss.

    Each device differentiates its share of the batch, in `accumulate` parts one after
    the other; the gradients, in the parameters' dtype, are then summed once.
    """
    of_share = functools.partial(_gradient_of_share, loss_function, accumulate)
    if mesh.shape[DATA] == 1:  # XLA cannot partition a sum over one share
        return of_share
    replicated, share = PartitionSpec(), PartitionSpec(DATA)
    return jax.shard_map(
        lambda *batch: _mean_of_shares(of_share(*batch)),
        mesh=mesh,
        in_specs=(replicated, replicated, share, share, replicated),
        out_specs=replicated,
        axis_names={DATA},
        check_vma=False,
    )


def _gradient_of_share(
    loss_function: LossFunction, accumulate: int, params, spectral, x, y, progress
) -> Gradient:
    gradient = jax.value_and_grad(loss_function, has_aux=True)
    if accumulate == 1:
        (loss, (correct, spectral)), grads = gradient(
            params, spectral, x, y, progress, True
        )
        return Gradient(loss, correct, spectral, grads)
    spectral = refresh_spectral({"params": params, "spectral": spectral}, 1)

    def of_part(part):
        (loss, (correct, _)), grads = gradient(params, spectral, *part, progress, False)
        return loss, correct, grads

    def add(sums, part):
        return jax.tree.map(jnp.add, sums, of_part(part)), None

    parts = jax.tree.map(lambda a: a.reshape(accumulate, -1, *a.shape[1:]), (x, y))
    shapes = jax.eval_shape(of_part, jax.tree.map(lambda a: a[0], parts))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    (loss, correct, grads), _ = lax.scan(add, zeros, parts)
    mean = functools.partial(jax.tree.map, lambda sums: sums / accumulate)
    return Gradient(mean(loss), correct, spectral, mean(grads))


def _mean_of_shares(found: Gradient) -> Gradient:
    """The whole batch's numbers from those of the shares, inside `shard_map`."""
    loss, grads = lax.pmean((found.loss, found.grads), DATA)
    return Gradient(loss, lax.psum(found.correct, DATA), found.spectral, grads)
