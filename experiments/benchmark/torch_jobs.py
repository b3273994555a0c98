"""The jobs by the PyTorch baseline. Importing this module imports PyTorch."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import torch

from .. import baseline
from ..configs import Config
from ..data import Dataset
from ..training.model import build
from . import multiply_adds
from .inputs import initial_state
from .machine import cores
from .timing import Runnable

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def set_up() -> None:
    """Uses all cores, full float32 precision as lipjax does, and cuDNN's autotuner."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(cores())
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True


def threads() -> int:
    """The number of threads that PyTorch uses."""
    return torch.get_num_threads()


def forget_compilations() -> None:
    """Clears the compiler's cache, whose limit of variants a suite would reach."""
    torch.compiler.reset()


def train(config: Config, data: Dataset, compiled: bool) -> Runnable:
    """Steps as `Trainer` takes them: a random batch, crops, flips, a step of SGD."""
    before = _allocated()
    network, needed, _ = _network(config, data, compiled)
    steps = _Steps(config, data, network.train())

    def run(count: int) -> None:
        for _ in range(count):
            steps.take()
        _wait()

    size = config.batch_size
    return Runnable(run, size, size * needed, memory=lambda: _peak(run, before))


def evaluate(config: Config, data: Dataset, images: int, compiled: bool) -> Runnable:
    """Predictions with radii of the images that lipjax evaluates."""
    before = _allocated()
    network, _, needed = _network(config, data, compiled)
    split = data.test.spread(images)
    x, y = (torch.from_numpy(a).to(DEVICE) for a in (split.images, split.labels))

    def run(count: int) -> None:
        for _ in range(count):
            pixels = baseline.to_pixels(x, data.levels)
            baseline.evaluate(network, pixels, y.long())
        _wait()

    count = len(split)
    return Runnable(run, count, count * needed, memory=lambda: _peak(run, before))


class _Steps:
    """Takes training steps, one after the other."""

    def __init__(self, config: Config, data: Dataset, network) -> None:
        self.config, self.data, self.network = config, data, network
        train = (data.train.images, data.train.labels)
        self.images, self.labels = (torch.from_numpy(a).to(DEVICE) for a in train)
        self.per_epoch = len(data.train) // config.batch_size
        names = {f.name for f in dataclasses.fields(baseline.Recipe)} - {"autocast"}
        self.recipe = baseline.Recipe(
            **{name: getattr(config, name) for name in names},
            autocast=torch.bfloat16 if config.dtype == "bfloat16" else None,
        )
        self.optimizer = baseline.make_optimizer(network, self.recipe)
        steps = self.per_epoch * config.epochs
        self.schedule = baseline.make_schedule(self.optimizer, steps)
        self.step = 0

    def take(self) -> None:
        position = self.step % self.per_epoch
        if position == 0:
            self.order = torch.randperm(len(self.labels), device=DEVICE)
        if position == self.per_epoch // 2:
            baseline.refresh(self.network)
        x, y = self._batch(position)
        baseline.train_step(self.network, self.optimizer, x, y, self.recipe)
        self.schedule.step()
        self.step += 1

    def _batch(self, position: int):
        size = self.config.batch_size
        chosen = self.order[position * size : (position + 1) * size]
        x = baseline.to_pixels(self.images[chosen], self.data.levels)
        x = baseline.random_crop(x, self.data.crop_padding)
        return baseline.random_flip(x), self.labels[chosen].long()


def _network(config: Config, data: Dataset, compiled: bool):
    """The network in PyTorch, and the multiply-adds of a step and an evaluation."""
    model, variables = build(config, data), initial_state(config, data).variables
    network = baseline.from_lipjax(model, variables).to(DEVICE)
    if compiled:
        baseline.compile_network(network)
    params = variables["params"]
    step = multiply_adds.of_step(model, params)
    return network, step, multiply_adds.of_evaluation(model, params)


def with_tf32(runnable: Runnable) -> Runnable:
    """The same with factors of products and convolutions rounded to TF32."""

    def allow(whether: bool) -> None:
        torch.backends.cudnn.allow_tf32 = whether
        torch.backends.cuda.matmul.allow_tf32 = whether

    def run(units: int) -> None:
        allow(True)
        try:
            runnable.run(units)
        finally:
            allow(False)

    return runnable._replace(run=run)


def product(dtype: str, size: int) -> Callable[[], None]:
    """A product of square matrices."""
    matrix = torch.randn(size, size, device=DEVICE, dtype=getattr(torch, dtype))

    def run() -> None:
        torch.matmul(matrix, matrix)
        _wait()

    return run


def _wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def _allocated() -> int:
    return torch.cuda.memory_allocated() if DEVICE == "cuda" else 0


def _peak(run: Callable[[int], None], before: int) -> int | None:
    """Peak of a unit beyond the bytes allocated before; unknown on a CPU."""
    if DEVICE == "cpu":
        return None
    statistics: Any = torch.cuda
    statistics.reset_peak_memory_stats()
    run(1)
    return statistics.max_memory_allocated() - before
