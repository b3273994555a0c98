"""Compiled steps as a table and as records."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from ..benchmark.tables import table
from ..reporting.tables import megabytes
from .compiled_step import CompiledStep
from .predictions import AssumedDevice, efficiency


def steps_table(
    steps: Sequence[CompiledStep], device: AssumedDevice | None = None
) -> str:
    """A line a step; with a device also the predicted efficiency on it."""
    columns: dict[str, Any] = {
        "data x model": lambda step: f"{step.data} x {step.model}",
        "images": lambda step: f"{step.batch:,}",
        "arguments": lambda step: megabytes(step.arguments),
        "temporaries": lambda step: megabytes(step.temporaries),
        "peak": lambda step: megabytes(step.peak),
        "collectives": _collectives,
        "sent": lambda step: megabytes(step.traffic),
        "compile": lambda step: f"{step.compile_seconds:.0f} s",
    }
    if device:
        columns["efficiency, predicted"] = lambda s: f"{efficiency(s, device):.1%}"
    return table(columns, steps)


def record(step: CompiledStep) -> dict[str, Any]:
    """A step as JSON has it."""
    sums = [one._asdict() for one in step.collectives]
    return dataclasses.asdict(step) | {"collectives": sums}


def _collectives(step: CompiledStep) -> str:
    each = (
        f"{one.number} {one.kind} of {one.group_size}: {megabytes(one.bytes)}"
        for one in step.collectives
    )
    return "; ".join(each) or "none"
