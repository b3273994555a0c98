"""Measures the implementations of a setting, and compares them."""

from __future__ import annotations

import dataclasses
import statistics
import sys

from .inputs import TRAINING_IMAGES
from .settings import Setting
from .timing import Rounds, Runnable, alternated, seconds_of, units_a_call

UNITS = {
    "train": "step",
    "evaluate": "split",
    "certify": "batch",
    "convolution": "convolution",
    "kernel gradient": "gradient",
}


@dataclasses.dataclass
class Measurement:
    """The figures of one implementation in one setting.

    Attributes:
      seconds: a unit, median over the calls; low, high: their range.
      calls: seconds a unit of every call, in order.
      units_a_call: units that each call did.
      images: images a unit.
      ratio: of the median to the fastest median of the baseline; None without one.
      multiply_adds: needed for a unit; None: not counted.
      arithmetic_share: share of the seconds that these take at the best product's rate.
      memory_bytes: peak of a unit; None: not measured.
      compile_seconds: what the first call and its preparation take beyond a warm call.
      once_seconds: seconds of the work done once for a model.
      epoch_seconds: computed: the median times the steps for 50,000 images.
      error: why there are no figures; None if there are.
    """

    job: str
    setting: str
    implementation: str
    by: str
    dtype: str
    unit: str
    images: int = 0
    seconds: float | None = None
    low: float | None = None
    high: float | None = None
    calls: list[float] = dataclasses.field(default_factory=list)
    units_a_call: int = 0
    images_per_second: float | None = None
    ratio: float | None = None
    multiply_adds: float | None = None
    arithmetic_share: float | None = None
    memory_bytes: int | None = None
    compile_seconds: float | None = None
    once_seconds: float | None = None
    epoch_seconds: float | None = None
    error: str | None = None


def measure(
    setting: Setting, rounds: Rounds, rates: dict[str, float]
) -> list[Measurement]:
    """Times the implementations of a setting in turn.

    An implementation that fails has its error in its measurement; the others go on.

    Args:
      setting: the implementations to compare.
      rounds: how long to measure.
      rates: multiply-adds a second of the machine's best product, by dtype.
    """
    job, name, dtype, variants = setting
    found = [
        Measurement(job, name, each.label, each.by, dtype, UNITS[job])
        for each in variants
    ]
    ready: list[tuple[Measurement, Runnable]] = []
    for one, variant in zip(found, variants, strict=True):
        try:
            runnable = variant.prepare()
            first, warm = seconds_of(runnable.run, 1), seconds_of(runnable.run, 1)
            _describe(one, runnable, max(0.0, first - warm))
        except Exception as error:  # of a compiler or of memory: measure the others
            one.error = _one_line(error)
            print(f"  {one.implementation}: {one.error}", file=sys.stderr, flush=True)
            continue
        one.units_a_call = units_a_call(warm, rounds.call_seconds)
        ready.append((one, runnable))
    units = [one.units_a_call for one, _ in ready]
    timed = alternated([runnable.run for _, runnable in ready], units, rounds)
    for (one, _), seconds in zip(ready, timed, strict=True):
        _fill(one, seconds, rates.get(dtype))
    _compare(found)
    return found


def _describe(one: Measurement, runnable: Runnable, first_call: float) -> None:
    one.images, one.multiply_adds = runnable.images, runnable.multiply_adds
    one.compile_seconds = runnable.compile_seconds + first_call
    one.once_seconds = runnable.once_seconds
    one.memory_bytes = runnable.memory()


def _fill(one: Measurement, seconds: list[float], rate: float | None) -> None:
    """Fills in the figures that follow from the seconds a unit."""
    one.calls, one.seconds = seconds, statistics.median(seconds)
    one.low, one.high = min(seconds), max(seconds)
    one.images_per_second = one.images / one.seconds
    if one.multiply_adds and rate:
        one.arithmetic_share = one.multiply_adds / rate / one.seconds
    if one.job == "train":
        one.epoch_seconds = TRAINING_IMAGES // one.images * one.seconds


def _compare(found: list[Measurement]) -> None:
    """Fills in the ratios to the baseline's fastest implementation."""
    baseline = [one.seconds for one in found if one.by == "baseline" and one.seconds]
    for one in found:
        if baseline and one.seconds:
            one.ratio = one.seconds / min(baseline)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text}"[:200]
