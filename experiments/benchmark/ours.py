"""lipjax's jobs: a training step, an evaluation, certificates."""

from __future__ import annotations

import functools
import time
from typing import Any

import jax
import numpy as np

from lipjax import Constants, FrozenNetwork, exact_network, freeze
from lipjax.certify import Certifier

from ..configs import NETWORK, Config
from ..data import Dataset
from ..training.augmentation import to_pixels
from ..training.evaluation import Evaluator
from ..training.model import build
from ..training.state import TrainState
from ..training.trainer import Trainer
from . import arithmetic
from .work import Work, few_images

_BATCH = 250  # as `Evaluator`'s


def train(config: Config, data: Dataset) -> Work:
    """Steps of the trainer, inside its loop on the device."""
    trainer = Trainer(config, data)
    begin = time.perf_counter()
    program: Any = trainer.compiled()
    compiling = time.perf_counter() - begin
    carry = trainer.place(initial_state(config, data)), trainer.zero_metrics()

    def run(steps: int) -> None:
        nonlocal carry
        carry = jax.block_until_ready(trainer.steps(*carry, steps))

    return Work(
        run,
        config.batch_size,
        config.batch_size * arithmetic.of_step(trainer.model, carry[0].params),
        compiling,
        lambda: _peak(program.memory_analysis()),
    )


def evaluate(config: Config, data: Dataset, images: int) -> Work:
    """Predictions with radii of a split, by estimates, as a run watches itself."""
    model = build(config, data)
    evaluator = Evaluator(model, data.levels)
    variables = jax.device_put(initial_state(config, data).variables)
    split = data.test.spread(images)

    def run(count: int) -> None:
        for _ in range(count):
            constants = evaluator.estimate_constants(variables)
            evaluator.radii(variables, split, constants)

    needed = arithmetic.of_evaluation(model, variables["params"])
    return Work(run, len(split), len(split) * needed)


def evaluate_frozen(config: Config, data: Dataset, images: int) -> Work:
    """The same by the frozen network, its weights' share of the work done once."""
    model = build(config, data)
    variables = jax.device_put(initial_state(config, data).variables)
    begin = time.perf_counter()
    frozen = jax.block_until_ready(freeze(model, variables))
    once = time.perf_counter() - begin
    constants = Constants(1 / min(model.std), frozen.pair_constants())
    split = data.test.spread(images)
    predict = jax.jit(functools.partial(_predict, data.levels))

    def run(count: int) -> None:
        for _ in range(count):
            for start in range(0, len(split), _BATCH):
                batch = split.images[start : start + _BATCH]
                jax.block_until_ready(predict(frozen, constants, batch))

    needed = arithmetic.of_evaluation(model, variables["params"])
    return Work(run, len(split), len(split) * needed, once_seconds=once)


def _predict(levels: int, frozen: FrozenNetwork, constants: Constants, images):
    return frozen.predict_with_radius(to_pixels(images, levels), constants=constants)


def certify(config: Config, data: Dataset, images: int) -> Work:
    """Proven radii of a batch; the proof of the layers' norms is done once."""
    variables = initial_state(config, data).variables
    begin = time.perf_counter()
    certifier = Certifier(exact_network(build(config, data), variables))
    once = time.perf_counter() - begin
    x = data.test.spread(images).images.astype(np.float64) / data.levels

    def run(count: int) -> None:
        for _ in range(count):
            certifier(x)

    return Work(run, len(x), once_seconds=once)


def initial_state(config: Config, data: Dataset) -> TrainState:
    """The untrained state of a config's network, on the host.

    The series does not count: variants of a setting start from the same weights, and
    share the time of the initialisation.
    """
    network = {name: getattr(config, name) for name in NETWORK}
    return _initial_state(tuple(network.items()), data.image_shape[0])


@functools.lru_cache(maxsize=1)
def _initial_state(network: tuple[tuple[str, Any], ...], side: int) -> TrainState:
    count = jax.device_count()
    config = Config(**dict(network), batch_size=count)
    trainer = Trainer(config, few_images(count, side))
    return jax.device_get(trainer.init())


def _peak(analysis: Any) -> int:
    """Bytes of arguments, results and temporaries; donated arguments count once."""
    return (
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        + analysis.temp_size_in_bytes
        - analysis.alias_size_in_bytes
    )
