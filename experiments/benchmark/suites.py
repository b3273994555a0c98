"""The settings that each suite measures, in order."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

from ..configs import Config
from . import lowerings
from .inputs import benchmark_data
from .settings import Setting, SettingFactory, Variant
from .timing import Rounds


class Suite(NamedTuple):
    """A suite: settings and how to measure them.

    Attributes:
      settings: in order.
      rounds: how long to measure each setting.
      product: side of the matrices of the machine's best product.
    """

    settings: tuple[Setting, ...]
    rounds: Rounds
    product: int


def cpu() -> Suite:
    """Thirteen minutes on two cores, in calls as long as those of a training run."""
    make = SettingFactory(benchmark_data)
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
        make.polynomial("width 8, low_rank", narrow, gradient="low_rank"),
        make.polynomial("width 8, exact", narrow, gradient="exact"),
        make.polynomial("width 8, degree 14", narrow, polynomial="taylor:14"),
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
    """Some ten minutes on one GPU, the baseline's compilations included."""
    make = SettingFactory(benchmark_data)
    settings = []
    for dtype in ("bfloat16", "float32"):
        config = Config(width=32, batch_size=128, dtype=dtype)
        deep, large = (
            dataclasses.replace(config, **change)
            for change in ({"depth": 40}, {"batch_size": 256})
        )
        settings += [
            make.train(
                "depth 5, batch 128",
                config,
                default=True,
                compiled=True,
                tf32=dtype == "float32",
                options={"deterministic": {"xla_gpu_deterministic_ops": True}},
            ),
            make.train("depth 5, batch 256", large),
            make.train("depth 40, batch 128", deep),
        ]
    full = Config(width=32, batch_size=128)
    settings += [
        make.evaluate("depth 5", full, 2000, compiled=True),
        make.certify("depth 5, width 8", dataclasses.replace(full, width=8), 100),
    ]
    half = dataclasses.replace(full, dtype="bfloat16")
    settings += [
        make.rules(f"depth {depth}, rules", dataclasses.replace(half, depth=depth))
        for depth in (5, 20)
    ]
    return Suite(tuple(settings), Rounds(6, 5, 25, 0.3), 8192)


def rules() -> Suite:
    """Thirteen minutes on two cores: a step by each gradient rule, by depth."""
    make = SettingFactory(benchmark_data)
    narrow = Config(width=8, batch_size=128)
    settings = [
        make.rules(f"width 8, depth {depth}", dataclasses.replace(narrow, depth=depth))
        for depth in (5, 10, 20, 40)
    ]
    return Suite(tuple(settings), Rounds(60, 5, 15, 1.0), 2048)


def quick() -> Suite:
    """Every job on 8x8 images, to see in a minute that the benchmark works."""
    make = SettingFactory(functools.partial(benchmark_data, 256, 8))
    config = Config(depth=3, width=4, batch_size=32)
    settings = (
        make.train("width 4, batch 32", config, default=True),
        make.evaluate("width 4", config, 100),
        make.certify("width 4", config, 10),
        *_lowering_settings(((8, 4, 8),)),
    )
    return Suite(settings, Rounds(0.5, 3, 5, 0.05), 256)


def single_convolutions() -> Suite:
    """Six minutes: single convolutions and kernel gradients by every lowering."""
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
    return Suite(_lowering_settings(shapes), Rounds(5, 3, 9, 0.1), 2048)


def _lowering_settings(shapes: tuple[lowerings.Shape, ...]) -> tuple[Setting, ...]:
    jobs = {
        "convolution": lowerings.forward,
        "kernel gradient": lowerings.kernel_gradient,
    }
    return tuple(
        _lowering_setting(job, make, shape)
        for job, make in jobs.items()
        for shape in shapes
    )


def _lowering_setting(job: str, make, shape: lowerings.Shape) -> Setting:
    images, side, channels = shape
    alone = functools.partial(make, shape, "XLA", looped=False)
    variants = [Variant("XLA, alone", "lowering", alone)]
    variants += [
        Variant(name, "lowering", functools.partial(make, shape, name))
        for name in lowerings.LOWERINGS
        if lowerings.suits(name, shape)
    ]
    name = f"{images} of {side}x{side}, {channels} channels"
    return Setting(job, name, "float32", tuple(variants))


SUITES: dict[str, Callable[[], Suite]] = {
    "cpu": cpu,
    "gpu": gpu,
    "rules": rules,
    "quick": quick,
    "lowerings": single_convolutions,
}
