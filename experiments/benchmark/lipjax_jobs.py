"""The jobs by lipjax: a training step, an evaluation, a certification."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lipjax import Constants, FrozenNetwork, Radii, exact_network, freeze
from lipjax.certify import Certifier

from ..configs import Config
from ..data import Dataset
from ..parallel.shardings import put, replicated
from ..training.augmentation import to_pixels
from ..training.description import peak_bytes
from ..training.evaluation import Evaluator
from ..training.model import build
from ..training.state import zero_metrics
from ..training.trainer import Trainer
from . import multiply_adds
from .inputs import initial_state
from .timing import Runnable

_BATCH = 250  # as in `Evaluator`


def train(
    config: Config, data: Dataset, options: Mapping[str, Any] | None = None
) -> Runnable:
    """Steps of the trainer, in its loop on the device.

    Args:
      config: the settings.
      data: images in memory.
      options: XLA's, for this program alone.
    """
    trainer = Trainer(config, data)
    begin = time.perf_counter()
    program = trainer.compiled(options)
    compiling = time.perf_counter() - begin
    params = trainer.abstract_state().params
    return Runnable(
        runner(trainer, program),
        config.batch_size,
        config.batch_size * multiply_adds.of_step(trainer.model, params),
        compiling,
        lambda: peak_bytes(program),
    )


def runner(trainer: Trainer, program: jax.stages.Compiled) -> Callable[[int], None]:
    """A function that takes steps of an untrained network, and waits for them.

    Args:
      trainer: whose steps; its images are in memory.
      program: its compiled program.
    """
    train, mesh = trainer.data.train, trainer.mesh
    state = trainer.place(initial_state(trainer.config, trainer.data))
    carry = state, zero_metrics(mesh)
    images = put((train.images, train.labels), replicated(mesh))

    def run(steps: int) -> None:
        nonlocal carry
        carry = jax.block_until_ready(program(*carry, *images, np.int32(steps)))

    return run


def evaluate(config: Config, data: Dataset, images: int) -> Runnable:
    """Predictions with estimated radii of a split, as training evaluates them."""
    model = build(config, data)
    evaluator = Evaluator(model, data.levels)
    variables = jax.device_put(initial_state(config, data).variables)
    split = data.test.spread(images)

    def run(count: int) -> None:
        for _ in range(count):
            constants = evaluator.estimate_constants(variables)
            evaluator.radii(variables, split, constants)

    needed = multiply_adds.of_evaluation(model, variables["params"])
    return Runnable(run, len(split), len(split) * needed)


def evaluate_frozen(config: Config, data: Dataset, images: int) -> Runnable:
    """The same by the frozen network, whose kernels are prepared once."""
    model = build(config, data)
    variables = jax.device_put(initial_state(config, data).variables)
    begin = time.perf_counter()
    frozen = jax.block_until_ready(freeze(model, variables))
    once = time.perf_counter() - begin
    constants = Constants(1 / min(model.std), frozen.pair_constants())
    split = data.test.spread(images)

    @jax.jit
    def predict(frozen: FrozenNetwork, constants: Constants, images) -> Radii:
        x = to_pixels(images, data.levels)
        return frozen.predict_with_radius(x, constants=constants)

    def run(count: int) -> None:
        for _ in range(count):
            for start in range(0, len(split), _BATCH):
                batch = split.images[start : start + _BATCH]
                jax.block_until_ready(predict(frozen, constants, batch))

    needed = multiply_adds.of_evaluation(model, variables["params"])
    return Runnable(run, len(split), len(split) * needed, once_seconds=once)


def certify(config: Config, data: Dataset, images: int) -> Runnable:
    """Proven radii of a batch; the norms of the layers are proven once."""
    variables = initial_state(config, data).variables
    begin = time.perf_counter()
    certifier = Certifier(exact_network(build(config, data), variables))
    once = time.perf_counter() - begin
    x = data.test.spread(images).images.astype(np.float64) / data.levels
    curvatures = certifier.curvatures

    def run(count: int) -> None:
        nonlocal curvatures
        for _ in range(count):
            curvatures = certifier(x, curvatures).curvatures

    return Runnable(run, len(x), once_seconds=once)


def product(dtype: str, size: int) -> Callable[[], object]:
    """A product of square matrices, of float32 numbers in full precision."""
    matrix = jax.random.normal(jax.random.key(0), (size, size), jnp.dtype(dtype))
    squared = jax.jit(lambda a: jnp.matmul(a, a, precision=jax.lax.Precision.HIGHEST))
    return lambda: jax.block_until_ready(squared(matrix))
