"""The results, as JSON has them, as the tables of BENCHMARKS.md."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lipjax.ops import GRADIENTS

from ..reporting.tables import duration
from .machine import sentence

Record = dict[str, Any]
Columns = Mapping[str, Callable[[Any], str]]

TITLES = {
    "train": "Training step",
    "evaluate": "Evaluation: predictions with estimated radii",
    "certify": "Certification: proven radii",
    "convolution": "One convolution, 3x3, ms",
    "kernel gradient": "One gradient in the kernel, 3x3, ms",
}
_EXACT, *_CHEAPER = GRADIENTS
_LEGEND = (
    "Implementations of a setting take turns in one process; a cell is the median of "
    "the calls, *range* their smallest and largest. *x baseline* is the time over that "
    "of the baseline's fastest row of the setting: below 1 is faster. *Needed* is the "
    "share of the time that the multiply-adds of the definition would take at the rate "
    "of this machine's best square product, measured in the same run (convolutions and "
    "the head's products); above 100% a lowering multiplies less than the definition. "
    "*Memory* is the peak of a step: of lipjax by the compiler's assignment of buffers "
    "(arguments, results, temporaries), of PyTorch by its allocator, on GPUs alone. "
    "*Compile* is what the first call takes more than a warm one. *Epoch* is computed: "
    "full batches in 50,000 images times the step. Input: random bytes."
)


def document(results: Record) -> str:
    """All tables, under the command, the machine and the legend."""
    machine = results["machine"]
    parts = [
        f"    {machine['command']}",
        _wrapped(f"{machine['date']}. {sentence(machine)}"),
    ]
    if results["rows"]:
        parts += [_wrapped(_rates(results["rates"])), _wrapped(_LEGEND)]
    for job, title in TITLES.items():
        rows = [row for row in results["rows"] if row["job"] == job]
        if rows:
            parts += [f"### {title}", _table_of(job, rows)]
    savings = _savings(results["rows"])
    if savings:
        head = ["setting", "program", *(f"{rule} saves" for rule in _CHEAPER)]
        parts += [
            "### What the other gradient rules save of the exact one's step",
            _markdown(head, savings),
        ]
    if results["gradient_errors"]:
        parts += ["### Error of the kernel's gradient", _errors(results)]
    if results["not_measured"]:
        names = "; ".join(results["not_measured"])
        parts.append(_wrapped(f"Not measured, the run was over before: {names}."))
    return "\n\n".join(parts) + "\n"


def _rates(rates: dict[str, float]) -> str:
    each = (f"{rate / 1e9:,.0f} ({dtype})" for dtype, rate in rates.items())
    return f"Best square product, 10^9 multiply-adds a second: {', '.join(each)}."


def _table_of(job: str, rows: list[Record]) -> str:
    if rows[0]["by"] == "lowering":
        return _pivoted(rows)
    return table(COLUMNS[job], rows)


def table(columns: Columns, rows: Iterable[Any]) -> str:
    """A table in Markdown; each column is a function of a row."""
    lines = [[write(row) for write in columns.values()] for row in rows]
    return _markdown(list(columns), lines)


def _pivoted(rows: list[Record]) -> str:
    """A table with a line per setting and a column per implementation."""
    names = list(dict.fromkeys(row["implementation"] for row in rows))
    lines = []
    for setting in dict.fromkeys(row["setting"] for row in rows):
        found = {r["implementation"]: r for r in rows if r["setting"] == setting}
        inside = [r["seconds"] for n, r in found.items() if "alone" not in n]
        best = min((s for s in inside if s), default=None)
        cells = [_cell(found.get(name), best) for name in names]
        lines.append([setting, *cells])
    return _markdown(["images", *names], lines)


def _cell(row: Record | None, best: float | None) -> str:
    if row is None or row["seconds"] is None:
        return "" if row is None else "failed"
    text = _milliseconds(row["seconds"])
    return f"**{text}**" if row["seconds"] == best else text


def _savings(rows: Iterable[Record]) -> list[list[str]]:
    """What the cheaper rules for gradients save, of programs that have several."""
    calls = {(setting(row), row["implementation"]): row["calls"] for row in rows}
    lines = []
    for (name, implementation), exact in calls.items():
        program, _, rule = implementation.rpartition(", ")
        others = [calls.get((name, f"{program}, {other}"), []) for other in _CHEAPER]
        if rule == _EXACT and exact and any(others):
            lines.append([name, program, *(_saving(exact, o) for o in others)])
    return lines


def _saving(exact: Sequence[float], other: Sequence[float]) -> str:
    """The share that is saved, turn by turn: median, smallest and largest."""
    if not other:
        return ""
    shares = [1 - b / a for a, b in zip(exact, other, strict=True)]
    median = statistics.median(shares)
    return f"{median:.0%} ({min(shares):.0%} to {max(shares):.0%})"


def _errors(results: Record) -> str:
    rows = results["gradient_errors"]
    plain = ("image", "channels", "polynomial")
    rules = [name for name in rows[0] if name not in plain]
    lines = [
        [f"{row['image']}, {row['channels']}", row["polynomial"]]
        + [f"{row[rule]:.1e}" for rule in rules]
        for row in rows
    ]
    return _markdown(["image, channels", "polynomial", *rules], lines)


def _markdown(header: list[str], lines: list[list[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 88, break_long_words=False, break_on_hyphens=False)


def _milliseconds(seconds: float) -> str:
    ms = 1e3 * seconds
    return f"{ms:,.0f}" if ms >= 100 else f"{ms:.3g}"


def _of(name: str, text: Callable[[Any], str], absent: str = "") -> Callable:
    """Writes one field of a row, or `absent` if it is None."""
    return lambda row: absent if row[name] is None else text(row[name])


def setting(row: Record) -> str:
    """The setting and the dtype of a row, in words."""
    return f"{row['setting']}, {row['dtype']}"


def _time(row: Record) -> str:
    if row["error"]:
        return f"failed: {row['error']}".replace("|", "/")
    return _milliseconds(row["seconds"])


def _range(row: Record) -> str:
    if row["error"]:
        return ""
    return f"{_milliseconds(row['low'])} to {_milliseconds(row['high'])}"


def _seconds(value: float) -> str:
    return f"{value:.1f} s"


_SPEED: Columns = {
    "range": _range,
    "images/s": _of("images_per_second", "{:,.0f}".format),
}
_COMPARED: Columns = {
    "x baseline": _of("ratio", "{:.2f}".format),
    "needed": _of("arithmetic_share", "{:.0%}".format),
}
_WHAT: Columns = {"setting": setting, "implementation": lambda r: r["implementation"]}
_COMPILE: Columns = {"compile": _of("compile_seconds", _seconds)}

COLUMNS: dict[str, Columns] = {
    "train": _WHAT
    | {"ms a step": _time}
    | _SPEED
    | _COMPARED
    | {"memory": _of("memory_bytes", lambda b: f"{b / 1e6:,.0f} MB", "not measured")}
    | _COMPILE
    | {"epoch, computed": _of("epoch_seconds", duration)},
    "evaluate": _WHAT | {"ms a split": _time} | _SPEED | _COMPARED | _COMPILE,
    "certify": _WHAT
    | {"ms a batch": _time}
    | _SPEED
    | {"once for a model": _of("once_seconds", _seconds)}
    | _COMPILE,
}
