"""Predicts the time of a compiled step. Nothing here is measured."""

from __future__ import annotations

from typing import NamedTuple

from .compiled_step import CompiledStep
from .gpus import GPUS


class AssumedDevice(NamedTuple):
    """The speed that a prediction assumes of a device.

    Attributes:
      flops: floating-point operations a second in bfloat16, the maker's peak.
      bandwidth: bytes a second that one device sends.
      hop: seconds of latency of a message to a neighbour.
    """

    flops: float
    bandwidth: float
    hop: float


ASSUMED = {
    "v5e": AssumedDevice(197e12, 50e9, 1e-6),  # one of four links, in one direction
    "h200": AssumedDevice(GPUS["h200"].flops["bf16"], 450e9, 1e-6),  # NVLink, one way
}
"""Sources: docs/scaling.md."""


def seconds(
    step: CompiledStep, device: AssumedDevice, utilisation: float = 1.0
) -> tuple[float, float]:
    """Predicted seconds to compute a step and to send its messages, without overlap."""
    computing = step.operations / (device.flops * utilisation)
    return computing, step.traffic / device.bandwidth + step.rounds * device.hop


def efficiency(
    step: CompiledStep, device: AssumedDevice, utilisation: float = 1.0
) -> float:
    """Predicted share of a step's time in which a device computes.

    It is lowest at a utilisation of 1: a device further from its peak computes longer.
    """
    computing, sending = seconds(step, device, utilisation)
    return computing / (computing + sending)
