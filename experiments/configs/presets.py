"""Presets: one config each, with its command, run time and result if measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from .config import Config


def digits() -> Config:
    """Scikit-learn's 8x8 digits, on a CPU in minutes."""
    return Config(
        data="digits", depth=3, width=8, epochs=300, batch_size=32, augment=False
    )


def lipconvnet() -> Config:
    """LipConvNet-5 on CIFAR-10 with the published recipe, at full width."""
    return Config(data="cifar10")


def lipconvnet_crc() -> Config:
    """LipConvNet-15 with the curvature head and projection pooling, as published."""
    return Config(
        data="cifar10",
        depth=15,
        head="curvature",
        pooling="projection",
        activation="householder2",
        curvature_penalty=0.1,
        clip_norm=1.0,
    )


def narrow() -> Config:
    """LipConvNet-5 with 8 initial channels for 10 epochs, for a CPU."""
    return Config(data="cifar10", width=8, epochs=10)


def best() -> Config:
    """Block reflectors and a soft loss, for as long as `narrow` takes on a CPU.

        python -m experiments.train --preset=best

    takes a quarter of an hour on 2 cores, proofs included, and gives 64.31% clean and a
    CRA(36/255) of 52.74%, proven, on a JPEG copy of CIFAR-10 (`narrow`: 60.48% and
    42.88%); see docs/results.md.
    """
    return dataclasses.replace(
        narrow(),
        conv="reflector",
        epochs=13,
        schedule="one_cycle",
        learning_rate=0.2,
        temperature=0.5,
        augment=False,
    )


def imagenet() -> Config:
    """LipConvNet-10 with 64 initial channels on ImageNet at 64x64, from the disk.

        python -m experiments.pack --images=PATH --out=imagenet64 --side=64
        python -m experiments.train --preset=imagenet

    PATH has train/CLASS/* and test/CLASS/* (the official validation images). For
    images of another size, for example 224x224, pass --data=records:DIR: the network
    has the same number of stages and a larger head. The settings are a starting point:
    they are not tuned, and no run of ImageNet has been made with them.
    """
    return Config(
        data="records:imagenet64", depth=10, width=64, epochs=90, batch_size=512
    )


PRESETS: dict[str, Callable[[], Config]] = {
    preset.__name__: preset
    for preset in (digits, lipconvnet, lipconvnet_crc, narrow, best, imagenet)
}
