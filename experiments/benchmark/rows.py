"""From a setting to its rows: set up, warm up, time in turn, compare."""

from __future__ import annotations

import dataclasses
import sys

from .suites import Setting, Variant
from .timing import Rounds, alternated, seconds_of, spread, units_a_call
from .work import TRAINING_IMAGES, Work

UNITS = {
    "train": "step",
    "evaluate": "split",
    "certify": "batch",
    "convolution": "convolution",
    "kernel gradient": "gradient",
}


@dataclasses.dataclass
class Row:
    """One implementation of one job in one setting.

    Attributes:
      seconds: median of a unit's seconds over the calls; low, high: their range.
      calls: every call's seconds a unit, in order.
      units_a_call: how many units each call did.
      images: of a unit.
      ratio: of the median to that of the baseline's fastest; None without one.
      multiply_adds: needed in a unit; None: not counted.
      arithmetic_share: of the seconds, at the rate of the machine's best product.
      memory_bytes: peak of a unit; None: not measured.
      compile_seconds: of the first call and before it, more than a warm call takes.
      once_seconds: what is done once for a model.
      epoch_seconds: computed: steps of an epoch of 50,000 images times the median.
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


def measured(setting: Setting, rounds: Rounds, rates: dict[str, float]) -> list[Row]:
    """Times a setting's implementations in turn.

    One that cannot be set up gets a row that says why, and the others go on.

    Args:
      setting: what to compare.
      rounds: how long.
      rates: multiply-adds a second of the machine's best product, by dtype.
    """
    rows = [_empty(setting, variant) for variant in setting.variants]
    works: list[tuple[Row, Work]] = []
    for row, variant in zip(rows, setting.variants, strict=True):
        try:
            work = variant.prepare()
            first, warm = seconds_of(work.run, 1), seconds_of(work.run, 1)
            _describe(row, work, work.compile_seconds + max(0.0, first - warm))
        except Exception as error:  # of a compiler, or of memory: the rest is worth it
            row.error = _one_line(error)
            print(f"  {row.implementation}: {row.error}", file=sys.stderr, flush=True)
            continue
        row.units_a_call = units_a_call(warm, rounds.call_seconds)
        works.append((row, work))
    units = [row.units_a_call for row, _ in works]
    timed = alternated([work.run for _, work in works], units, rounds)
    for (row, _), seconds in zip(works, timed, strict=True):
        _fill(row, seconds, rates.get(setting.dtype))
    _compare(rows)
    return rows


def _empty(setting: Setting, variant: Variant) -> Row:
    return Row(
        setting.job,
        setting.name,
        variant.label,
        variant.by,
        setting.dtype,
        UNITS[setting.job],
    )


def _describe(row: Row, work: Work, compile_seconds: float) -> None:
    row.images, row.multiply_adds = work.images, work.multiply_adds
    row.compile_seconds, row.once_seconds = compile_seconds, work.once_seconds
    row.memory_bytes = work.memory()


def _fill(row: Row, seconds: list[float], rate: float | None) -> None:
    """What follows from the seconds a unit."""
    row.calls = seconds
    row.seconds, row.low, row.high = spread(seconds)
    row.images_per_second = row.images / row.seconds
    if row.multiply_adds and rate:
        row.arithmetic_share = row.multiply_adds / rate / row.seconds
    if row.job == "train":
        row.epoch_seconds = TRAINING_IMAGES // row.images * row.seconds


def _compare(rows: list[Row]) -> None:
    """Ratios to the fastest of the baseline's rows."""
    theirs = [row.seconds for row in rows if row.by == "baseline" and row.seconds]
    for row in rows:
        if theirs and row.seconds:
            row.ratio = row.seconds / min(theirs)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text}"[:200]
