"""The parts of a suite: settings, each with the implementations that it compares."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from lipjax.ops import GRADIENTS

from ..configs import PUBLISHED, Config
from ..data import Dataset
from . import lipjax_jobs
from .timing import Runnable

_NONE: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


class Variant(NamedTuple):
    """An implementation to measure.

    Attributes:
      label: its name in tables.
      by: "lipjax"; "baseline", with whose fastest row all are compared; "TF32", a
        baseline of fewer digits, with which none is; or "lowering", not compared.
      prepare: sets it up.
    """

    label: str
    by: str
    prepare: Callable[[], Runnable]

    @property
    def is_torch(self) -> bool:
        """Whether it is in PyTorch."""
        return self.by in ("baseline", "TF32")


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
        self,
        name: str,
        config: Config,
        default: bool = False,
        compiled: bool = False,
        tf32: bool = False,
        options: Mapping[str, Mapping[str, Any]] = _NONE,
    ) -> Setting:
        """A training step with the published polynomials by lipjax and the baseline.

        Args:
          default: also by lipjax with its default polynomials.
          compiled: also by the compiled baseline, beside the eager one.
          tf32: the baseline also with TF32, which rounds factors to 11 bits.
          options: XLA's options, by name, with which lipjax's default is also timed.
        """
        published = dataclasses.replace(config, **PUBLISHED)
        train = lipjax_jobs.train
        variants = [self._lipjax("published series", train, published)]
        variants += [self._lipjax("default", train, config)] * default
        variants += [
            self._lipjax(f"default, {each}", train, config, chosen)
            for each, chosen in options.items()
        ]
        modes = [False, True] if compiled else [False]
        variants += [self._torch("train", published, mode) for mode in modes]
        if tf32:
            variants += [self._torch("train", published, m, tf32=True) for m in modes]
        return Setting("train", name, config.dtype, tuple(variants))

    def polynomial(self, name: str, config: Config, **changes: str) -> Setting:
        """A training step with another polynomial or gradient rule.

        The baseline has no "low_rank" and takes "fast" in its place.
        """
        changed = dataclasses.replace(config, **(PUBLISHED | changes))
        rule = "fast" if changed.gradient == "low_rank" else changed.gradient
        comparable = dataclasses.replace(changed, gradient=rule)
        variants = (
            self._lipjax(changed.gradient, lipjax_jobs.train, changed),
            self._torch("train", comparable, False),
        )
        return Setting("train", name, config.dtype, variants)

    def rules(self, name: str, config: Config) -> Setting:
        """A training step by each rule for the kernels' gradients.

        The baseline has no "low_rank".
        """
        lipjax, torch = (
            [
                dataclasses.replace(config, **(PUBLISHED | {"gradient": rule}))
                for rule in rules
            ]
            for rules in (GRADIENTS, GRADIENTS[:2])
        )
        variants = [self._lipjax(c.gradient, lipjax_jobs.train, c) for c in lipjax]
        variants += [self._torch("train", c, False, of=c.gradient) for c in torch]
        return Setting("train", name, config.dtype, tuple(variants))

    def evaluate(
        self, name: str, config: Config, images: int, compiled: bool = False
    ) -> Setting:
        """Estimated radii of a split by lipjax and the baseline."""
        published = dataclasses.replace(config, **PUBLISHED)
        quick, frozen = lipjax_jobs.evaluate, lipjax_jobs.evaluate_frozen
        variants = [
            self._lipjax("published series", quick, published, images),
            self._lipjax("default", quick, config, images),
            self._lipjax("default, frozen", frozen, config, images),
            self._torch("evaluate", published, False, images),
        ]
        variants += [self._torch("evaluate", published, True, images)] * compiled
        return Setting("evaluate", name, config.dtype, tuple(variants))

    def certify(self, name: str, config: Config, images: int) -> Setting:
        """Proven radii of a batch by lipjax."""
        variant = self._lipjax("default", lipjax_jobs.certify, config, images)
        return Setting("certify", name, "float64", (variant,))

    def _lipjax(
        self, label: str, job: Callable[..., Runnable], config: Config, *rest: Any
    ) -> Variant:
        return Variant(
            f"lipjax, {label}", "lipjax", lambda: job(config, self.data(), *rest)
        )

    def _torch(
        self,
        job: str,
        config: Config,
        compiled: bool,
        *rest: Any,
        tf32: bool = False,
        of: str = "",
    ) -> Variant:
        def prepare() -> Runnable:
            from . import torch_jobs

            chosen = getattr(torch_jobs, job)(config, self.data(), *rest, compiled)
            return torch_jobs.with_tf32(chosen) if tf32 else chosen

        mode = "compiled" if compiled else "eager"
        autocast = ", autocast" if config.dtype == "bfloat16" else ""
        label = f"PyTorch, {mode}{autocast}" + ", TF32" * tf32 + f", {of}" * bool(of)
        return Variant(label, "TF32" if tf32 else "baseline", prepare)
