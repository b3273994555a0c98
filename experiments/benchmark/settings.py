"""The parts of a suite: settings, each with the implementations that it compares."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from ..configs import PUBLISHED, Config
from ..data import Dataset
from . import lipjax_jobs
from .runnable import Runnable


class Variant(NamedTuple):
    """An implementation to measure.

    Attributes:
      label: its name in tables.
      by: "lipjax", "baseline", or "lowering", which is compared with no baseline.
      prepare: sets it up.
    """

    label: str
    by: str
    prepare: Callable[[], Runnable]


class Setting(NamedTuple):
    """Implementations of a job to be timed in turn.

    Attributes:
      job: "train", "evaluate", "certify", "convolution" or "kernel gradient".
      name: the setting in words.
      dtype: of the computation.
      variants: the implementations.
    """

    job: str
    name: str
    dtype: str
    variants: tuple[Variant, ...]


class SettingFactory:
    """Makes the settings of networks on one data set.

    Args:
      data: makes the data set, called when an implementation is set up.
    """

    def __init__(self, data: Callable[[], Dataset]) -> None:
        self.data = data

    def train(
        self, name: str, config: Config, default: bool = False, compiled: bool = False
    ) -> Setting:
        """A training step with the published polynomials by lipjax and the baseline.

        Args:
          default: also by lipjax with its default polynomials.
          compiled: also by the compiled baseline, beside the eager one.
        """
        published = dataclasses.replace(config, **PUBLISHED)
        variants = [self._train("lipjax, published series", published)]
        variants += [self._train("lipjax, default", config)] * default
        variants.append(self._torch_train(published, False))
        variants += [self._torch_train(published, True)] * compiled
        return Setting("train", name, config.dtype, tuple(variants))

    def polynomial(self, name: str, config: Config, **changes: str) -> Setting:
        """A training step with another polynomial or gradient rule.

        The baseline has no "low_rank" and takes "fast" in its place.
        """
        changed = dataclasses.replace(config, **(PUBLISHED | changes))
        rule = "fast" if changed.gradient == "low_rank" else changed.gradient
        comparable = dataclasses.replace(changed, gradient=rule)
        label = f"lipjax, {changed.gradient}"
        variants = (self._train(label, changed), self._torch_train(comparable, False))
        return Setting("train", name, config.dtype, variants)

    def evaluate(
        self, name: str, config: Config, images: int, compiled: bool = False
    ) -> Setting:
        """Estimated radii of a split by lipjax and the baseline."""
        published = dataclasses.replace(config, **PUBLISHED)
        ways = [("lipjax, published series", published), ("lipjax, default", config)]
        variants = [
            Variant(label, "lipjax", self._lipjax(lipjax_jobs.evaluate, each, images))
            for label, each in ways
        ]
        frozen = self._lipjax(lipjax_jobs.evaluate_frozen, config, images)
        variants.append(Variant("lipjax, default, frozen", "lipjax", frozen))
        for each in (False, True)[: 1 + compiled]:
            prepare = self._torch("evaluate", published, images, each)
            variants.append(Variant(_baseline(published, each), "baseline", prepare))
        return Setting("evaluate", name, config.dtype, tuple(variants))

    def certify(self, name: str, config: Config, images: int) -> Setting:
        """Proven radii of a batch by lipjax."""
        prepare = self._lipjax(lipjax_jobs.certify, config, images)
        variant = Variant("lipjax, default", "lipjax", prepare)
        return Setting("certify", name, "float64", (variant,))

    def _train(self, label: str, config: Config) -> Variant:
        return Variant(label, "lipjax", self._lipjax(lipjax_jobs.train, config))

    def _torch_train(self, config: Config, compiled: bool) -> Variant:
        prepare = self._torch("train", config, compiled)
        return Variant(_baseline(config, compiled), "baseline", prepare)

    def _lipjax(self, job: Callable[..., Runnable], config: Config, *rest: Any):
        return lambda: job(config, self.data(), *rest)

    def _torch(self, job: str, config: Config, *rest: Any):
        def prepare() -> Runnable:
            from . import torch_jobs

            return getattr(torch_jobs, job)(config, self.data(), *rest)

        return prepare


def _baseline(config: Config, compiled: bool) -> str:
    mode = "compiled" if compiled else "eager"
    autocast = ", autocast" if config.dtype == "bfloat16" else ""
    return f"PyTorch, {mode}{autocast}"
