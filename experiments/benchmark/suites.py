"""What each suite measures: settings in the order in which they are, as data."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from ..configs import Config
from ..data import Dataset
from . import lowerings, ours
from .timing import Rounds
from .work import Work, made_data

PUBLISHED = {
    "polynomial": "taylor:5",
    "eval_polynomial": "taylor:14",
    "gradient": "fast",
}


class Variant(NamedTuple):
    """One implementation in a setting.

    Attributes:
      label: its name in tables.
      by: "lipjax", "baseline", or "lowering", which has none to be compared with.
      prepare: sets it up.
    """

    label: str
    by: str
    prepare: Callable[[], Work]


class Setting(NamedTuple):
    """What is timed in turn: a job, its setting in words, the implementations."""

    job: str
    name: str
    dtype: str
    variants: tuple[Variant, ...]


class Suite(NamedTuple):
    """Settings, how long to measure each, and the side of the best product."""

    settings: tuple[Setting, ...]
    rounds: Rounds
    product: int


class Maker:
    """Makes the settings of networks on one data set.

    Args:
      data: makes the data, when the first setting needs them.
    """

    def __init__(self, data: Callable[[], Dataset]) -> None:
        self.data = data

    def train(
        self, name: str, config: Config, default: bool = False, compiled: bool = False
    ) -> Setting:
        """A step at the published setting by lipjax and by the baseline, eager.

        Args:
          default: lipjax's own default as well.
          compiled: the baseline compiled as well.
        """
        published = dataclasses.replace(config, **PUBLISHED)
        variants = [self._train("lipjax, published series", published)]
        variants += [self._train("lipjax, default", config)] * default
        variants.append(self._torch_train(published, False))
        variants += [self._torch_train(published, True)] * compiled
        return Setting("train", name, config.dtype, tuple(variants))

    def series(self, name: str, config: Config, **changes: str) -> Setting:
        """A step with another polynomial or gradient rule; the baseline's if it has."""
        changed = dataclasses.replace(config, **(PUBLISHED | changes))
        rule = "fast" if changed.gradient == "low_rank" else changed.gradient
        comparable = dataclasses.replace(changed, gradient=rule)
        label = f"lipjax, {changed.gradient}"
        variants = (self._train(label, changed), self._torch_train(comparable, False))
        return Setting("train", name, config.dtype, variants)

    def evaluate(
        self, name: str, config: Config, images: int, compiled: bool = False
    ) -> Setting:
        """Estimated radii of a split, by both."""
        published = dataclasses.replace(config, **PUBLISHED)
        ways = [("lipjax, published series", published), ("lipjax, default", config)]
        variants = [
            Variant(label, "lipjax", self._ours(ours.evaluate, each, images))
            for label, each in ways
        ]
        frozen = self._ours(ours.evaluate_frozen, config, images)
        variants.append(Variant("lipjax, default, frozen", "lipjax", frozen))
        for each in (False, True)[: 1 + compiled]:
            prepare = self._theirs("evaluate", published, images, each)
            variants.append(Variant(_baseline(published, each), "baseline", prepare))
        return Setting("evaluate", name, config.dtype, tuple(variants))

    def certify(self, name: str, config: Config, images: int) -> Setting:
        """Proven radii of a batch of images, by lipjax."""
        prepare = self._ours(ours.certify, config, images)
        variant = Variant("lipjax, default", "lipjax", prepare)
        return Setting("certify", name, "float64", (variant,))

    def _train(self, label: str, config: Config) -> Variant:
        return Variant(label, "lipjax", self._ours(ours.train, config))

    def _torch_train(self, config: Config, compiled: bool) -> Variant:
        prepare = self._theirs("train", config, compiled)
        return Variant(_baseline(config, compiled), "baseline", prepare)

    def _ours(self, job: Callable[..., Work], config: Config, *rest: Any):
        return lambda: job(config, self.data(), *rest)

    def _theirs(self, job: str, config: Config, *rest: Any):
        def prepare() -> Work:
            from . import theirs

            return getattr(theirs, job)(config, self.data(), *rest)

        return prepare


def _baseline(config: Config, compiled: bool) -> str:
    mode = "compiled" if compiled else "eager"
    autocast = ", autocast" if config.dtype == "bfloat16" else ""
    return f"PyTorch, {mode}{autocast}"


def cpu() -> Suite:
    """Thirteen minutes on two cores, in calls as long as a training run's."""
    make = Maker(made_data)
    full = Config(width=32, batch_size=64)
    narrow = Config(width=8, batch_size=128)
    change = functools.partial(dataclasses.replace, narrow)
    curvature = change(head="curvature", curvature_penalty=0.1, clip_norm=1.0)
    settings = [
        make.train("width 32, batch 64", full, default=True, compiled=True),
        make.train("width 8, batch 128", narrow, default=True, compiled=True),
        make.evaluate("width 32", full, 500),
        make.evaluate("width 8", narrow, 1000),
        make.certify("width 8", narrow, 100),
        make.series("width 8, low_rank", narrow, gradient="low_rank"),
        make.series("width 8, exact", narrow, gradient="exact"),
        make.series("width 8, degree 14", narrow, polynomial="taylor:14"),
        make.train("width 8, curvature head", curvature),
        make.train("width 8, orthogonal head", change(head="orthogonal")),
        make.train("width 8, batch 32", change(batch_size=32)),
        *(
            make.train(f"width 8, depth {depth}", change(depth=depth))
            for depth in (10, 20, 40)
        ),
    ]
    return Suite(tuple(settings), Rounds(12, 3, 15, 2.0), 2048)


def gpu() -> Suite:
    """Seven minutes on one GPU, the baseline's compilations included."""
    make = Maker(made_data)
    settings = []
    for dtype in ("bfloat16", "float32"):
        config = Config(width=32, batch_size=128, dtype=dtype)
        deep, large = (
            dataclasses.replace(config, **change)
            for change in ({"depth": 40}, {"batch_size": 256})
        )
        settings += [
            make.train("depth 5, batch 128", config, default=True, compiled=True),
            make.train("depth 5, batch 256", large),
            make.train("depth 40, batch 128", deep),
        ]
    full = Config(width=32, batch_size=128)
    settings += [
        make.evaluate("depth 5", full, 2000, compiled=True),
        make.certify("depth 5, width 8", dataclasses.replace(full, width=8), 100),
    ]
    return Suite(tuple(settings), Rounds(6, 5, 25, 0.3), 8192)


def quick() -> Suite:
    """Every job on 8x8 images, in a minute: to see that the benchmark works."""
    make = Maker(functools.partial(made_data, 256, 8))
    config = Config(depth=3, width=4, batch_size=32)
    settings = (
        make.train("width 4, batch 32", config, default=True),
        make.evaluate("width 4", config, 100),
        make.certify("width 4", config, 10),
        *_lowerings(((8, 4, 8),)),
    )
    return Suite(settings, Rounds(0.5, 3, 5, 0.05), 256)


def lowered() -> Suite:
    """Six minutes: lowerings of single convolutions and weight gradients."""
    shapes = (
        (64, 32, 32),
        (64, 16, 128),
        (64, 8, 256),
        (64, 4, 512),
        (64, 2, 1024),
        (128, 32, 8),
        (128, 16, 32),
        (128, 8, 64),
        (128, 4, 128),
        (128, 2, 256),
    )
    return Suite(_lowerings(shapes), Rounds(5, 3, 9, 0.1), 2048)


def _lowerings(shapes: tuple[lowerings.Shape, ...]) -> tuple[Setting, ...]:
    jobs = {
        "convolution": lowerings.forward,
        "kernel gradient": lowerings.kernel_gradient,
    }
    return tuple(
        Setting(job, _shape_name(shape), "float32", _lowering_variants(make, shape))
        for job, make in jobs.items()
        for shape in shapes
    )


def _lowering_variants(make, shape: lowerings.Shape) -> tuple[Variant, ...]:
    alone = Variant(
        "XLA, alone", "lowering", functools.partial(make, shape, "XLA", looped=False)
    )
    looped = [
        Variant(name, "lowering", functools.partial(make, shape, name))
        for name in lowerings.LOWERINGS
        if lowerings.suits(name, shape)
    ]
    return (alone, *looped)


def _shape_name(shape: lowerings.Shape) -> str:
    images, side, channels = shape
    return f"{images} of {side}x{side}, {channels} channels"


SUITES: dict[str, Callable[[], Suite]] = {
    "cpu": cpu,
    "gpu": gpu,
    "quick": quick,
    "lowerings": lowered,
}
