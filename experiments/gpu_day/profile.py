"""Profiles training steps: the seconds of each kernel, and its share of the roofline.

    python -m experiments.gpu_day.profile --preset=lipconvnet --dtype=bfloat16 \\
        --out=profile

On random bytes, with the settings of `experiments.train`. Writes a folder with
profile.json, table.md and program.txt.gz, the compiled program. A kernel's share of the
roofline is the time that its bytes or its operations take at the maker's peak, over the
time that it took; it is given for GPUs whose peak is known. Profiling slows a step
down: the step's time is measured without it.
"""

from __future__ import annotations

import gzip
import statistics
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import flags

from ..benchmark import machine
from ..benchmark.inputs import TRAINING_IMAGES, random_data
from ..benchmark.lipjax_jobs import runner
from ..benchmark.tables import table
from ..benchmark.timing import seconds_of
from ..common.errors import UserError
from ..common.files import write_bytes, write_json
from ..common.flags import run
from ..configs import PRESETS, config, define_flags, with_flags
from ..scaling.gpus import GPUS, Gpu, roofline
from ..scaling.hlo_kernels import Kernel, step_kernels
from ..training.trainer import Trainer

FLAGS = flags.FLAGS
_CALLS = 5
_LISTED = 25


class Timed(NamedTuple):
    """A kernel of the program, and how long it took.

    Attributes:
      kernel: as the program has it.
      seconds: a step, of all its starts.
      share: of the roofline; None where the peak is not known.
    """

    kernel: Kernel
    seconds: float
    share: float | None


def main() -> None:
    out = Path(FLAGS.out)
    out.mkdir(parents=True, exist_ok=True)
    settings = with_flags(PRESETS[FLAGS.preset](), FLAGS)
    data = random_data(FLAGS.images, FLAGS.side)
    trainer = Trainer(settings, data)
    program = trainer.compiled()
    text = program.as_text() or ""
    write_bytes(out / "program.txt.gz", gzip.compress(text.encode()))
    run_steps, count = runner(trainer, program), FLAGS.steps
    run_steps(count)
    calls = [seconds_of(run_steps, count) for _ in range(_CALLS)]
    seconds = statistics.median(calls) / count
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run_steps(count)
        events = list(events_of(Path(folder)))
    device = jax.devices()[0].device_kind
    gpu = next((gpu for gpu in GPUS.values() if gpu.name == device), None)
    kernels = step_kernels(text)
    timed, other = matched(kernels, events, count, gpu)
    if not timed:
        raise UserError("the profiler saw no kernel of the program")
    described = machine.describe("experiments.gpu_day.profile")
    results: dict[str, Any] = {
        "machine": described,
        "seconds": seconds,
        "in kernels": sum(one.seconds for one in timed) + other,
        "not matched": other,
        "roofline": roofline(kernels, gpu) if gpu else None,
        "kernels": [
            one.kernel._asdict() | {"seconds": one.seconds, "share": one.share}
            for one in timed
        ],
    }
    write_json(out / "profile.json", results)
    document = _document(results, timed)
    write_bytes(out / "table.md", document.encode())
    print(document, end="")


def events_of(folder: Path) -> Iterable[tuple[str, str, float]]:
    """The kernels that the profiler saw: XLA's operation, the kernel, its seconds."""
    for file in sorted(folder.rglob("*.xplane.pb")):
        for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
            for line in plane.lines:
                for event in line.events:
                    operation = dict(event.stats).get("hlo_op")
                    if operation is not None:
                        yield str(operation), event.name, event.duration_ns / 1e9


def matched(
    kernels: Iterable[Kernel],
    events: Iterable[tuple[str, str, float]],
    steps: int,
    gpu: Gpu | None,
) -> tuple[list[Timed], float]:
    """The kernels with their seconds a step, the longest first; and what is left over.

    In a captured graph the operation is the graph, and the kernel's name is that of
    the fusion, with an underscore for the dot.

    Args:
      kernels: of a step.
      events: of several steps.
      steps: how many.
      gpu: whose peaks are taken.

    Example:
      >>> one = Kernel("loop_add_fusion.3", "sum", 3_352_000_000, 0.0, "bf16")
      >>> seen = [("graph", "loop_add_fusion_3", 0.004), ("memset", "memset", 0.1)]
      >>> (timed,), left = matched([one], seen, 2, GPUS["h100"])
      >>> timed.seconds, round(timed.share, 2), left
      (0.002, 0.5, 0.05)
    """
    known: dict[str, list[Kernel]] = {}
    for one in kernels:
        known.setdefault(_plain(one.name), []).append(one)
    seconds, other = dict.fromkeys(known, 0.0), 0.0
    for operation, name, taken in events:
        found = next((n for n in map(_plain, (operation, name)) if n in known), None)
        if found:
            seconds[found] += taken / steps
        else:
            other += taken / steps
    timed = [
        Timed(
            same[0]._replace(
                bytes=sum(one.bytes for one in same),
                operations=sum(one.operations for one in same),
            ),
            seconds[name],
            roofline(same, gpu) / seconds[name] if gpu else None,
        )
        for name, same in known.items()
        if seconds[name] > 0
    ]
    return sorted(timed, key=lambda one: -one.seconds), other


def _plain(name: str) -> str:
    return name.replace(".", "_").replace("-", "_")


def _document(results: dict[str, Any], timed: list[Timed]) -> str:
    """The step, its kernels by kind, and the longest ones."""
    by_kind: dict[str, list[Timed]] = {}
    for one in timed:
        by_kind.setdefault(one.kernel.kind, []).append(one)
    kinds: dict[str, Any] = {
        "kernels of": lambda pair: pair[0],
        "number": lambda pair: f"{len(pair[1])}",
        "us a step": lambda pair: _microseconds(sum(one.seconds for one in pair[1])),
        "MB": lambda pair: f"{sum(one.kernel.bytes for one in pair[1]) / 1e6:,.1f}",
    }
    columns: dict[str, Any] = {
        "kernel": lambda one: one.kernel.name,
        "kind": lambda one: one.kernel.kind,
        "us a step": lambda one: _microseconds(one.seconds),
        "MB": lambda one: f"{one.kernel.bytes / 1e6:,.1f}",
        "GFLOP": lambda one: f"{one.kernel.operations / 1e9:,.1f}",
        "of the roofline": lambda one: "" if one.share is None else f"{one.share:.0%}",
    }
    longest = sorted(by_kind.items(), key=lambda pair: -sum(o.seconds for o in pair[1]))
    predicted = results["roofline"]
    step, inside, other = (
        f"{1e3 * results[name]:.3g} ms"
        for name in ("seconds", "in kernels", "not matched")
    )
    told = (
        f"A step takes {step} (median of {_CALLS} calls of {FLAGS.steps}); under the "
        f"profiler {inside} in kernels, {other} of them in none of the program's."
    )
    if predicted:
        told += f" Roofline of the program: {1e3 * predicted:.3g} ms, predicted."
    parts = [
        f"    {results['machine']['command']}",
        machine.sentence(results["machine"]),
        told,
        table(kinds, longest),
        f"The {min(_LISTED, len(timed))} longest of {len(timed)}:",
        table(columns, timed[:_LISTED]),
    ]
    return "\n\n".join(parts) + "\n"


def _microseconds(seconds: float) -> str:
    return f"{1e6 * seconds:,.1f}"


if __name__ == "__main__":
    flags.DEFINE_enum("preset", "lipconvnet", list(PRESETS), "settings")
    flags.DEFINE_string("out", None, "folder", required=True)
    flags.DEFINE_integer("steps", 20, "steps of a call", 1)
    flags.DEFINE_integer("side", 32, "side of the images in pixels", 2)
    flags.DEFINE_integer("images", TRAINING_IMAGES, "images to draw batches from", 1)
    define_flags()
    flags.adopt_module_key_flags(config)
    run(main, __doc__ or "")
