"""The training step: a pure function of the state, the metrics and a batch."""

from __future__ import annotations

from collections.abc import Callable

import jax
import optax
from jax import lax
from jax.flatten_util import ravel_pytree

from lipjax import refresh_spectral

from .forward import HEAD
from .gradients import Gradient
from .lookahead import trained
from .state import Metrics, TrainState

REFRESH_STEPS = 50
"""Steps of the power iteration in the middle of each epoch."""

TrainStep = Callable[
    [TrainState, Metrics, jax.Array, jax.Array], tuple[TrainState, Metrics]
]


def make_train_step(
    gradient: Callable[..., Gradient],
    tx: optax.GradientTransformation,
    augment: Callable[[jax.Array, jax.Array], jax.Array],
    *,
    steps_per_epoch: int,
    steps: int,
    head_only: bool = False,
) -> TrainStep:
    """Makes the step `(state, metrics, images, labels) -> (state, metrics)`.

    Args:
      gradient: see `make_gradient`.
      tx: the optimiser.
      augment: `(step, images) -> x`: stored bytes to augmented pixels in [0, 1].
      steps_per_epoch: full batches per epoch; the scales are refreshed in its middle.
      steps: of the whole run.
      head_only: whether the trunk's singular vectors stay: its features depend on them.
    """

    def train_step(
        state: TrainState, metrics: Metrics, images: jax.Array, labels: jax.Array
    ) -> tuple[TrainState, Metrics]:
        # Without the barrier a GPU would crop the images again for every term.
        x = lax.optimization_barrier(augment(state.step, images))
        params = trained(state.opt_state, state.params)
        variables = {"params": params, "spectral": state.spectral}
        flat, unflatten = ravel_pytree(state.spectral)  # a branch copies each array
        flat = lax.cond(
            state.step % steps_per_epoch == steps_per_epoch // 2,
            lambda: ravel_pytree(refresh_spectral(variables, REFRESH_STEPS))[0],
            lambda: flat,
        )
        spectral = unflatten(flat)
        progress = state.step / steps
        found = gradient(params, spectral, x, labels, progress)
        spectral = found.spectral
        if head_only:
            of_head = {name: spectral[name] for name in spectral if name == HEAD}
            spectral = state.spectral | of_head
        updates, opt_state = tx.update(found.grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        state = TrainState(state.step + 1, params, spectral, opt_state)
        return state, metrics.add(found.loss, found.correct, len(labels))

    return train_step
