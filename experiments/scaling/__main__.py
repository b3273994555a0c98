"""Compiles a training step for 1 to 64 devices and reports what it takes.

    python -m experiments.scaling                            virtual CPU devices
    python -m experiments.scaling --topology=v5e --depth=40  slices of TPUs
    python -m experiments.scaling --topology=v5e:8x8 --model_parallel=4
    python -m experiments.scaling --topology=v5e --predict=v5e
    python -m experiments.scaling --topology=h100:1x8        hosts x GPUs
    python -m experiments.scaling --topology=h100:1x1 --depth=15 --head=curvature

Nothing is run: memory and messages are read from the compiled program. TPUs and GPUs
need not be present, but their compilers must be (`pip install libtpu`, or
`pip install 'jax[cuda13]'`, best in an environment of its own). Each number of devices
takes a minute or two.

Prints a table and writes it as JSON, with the machine and the versions. --predict adds
the share of a step in which a device computes, if nothing is sent meanwhile. It is a
prediction, not a measurement. A second table has the kernels of a step by kind and the
bytes that they move to and from the main memory; for GPUs also their operations and
their roofline: the time that they would take if each reached the maker's peak, a
prediction as well.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jax
from absl import flags

from ..benchmark import machine
from ..benchmark.inputs import TRAINING_IMAGES, random_data
from ..benchmark.tables import table
from ..common.errors import UserError
from ..common.files import write_json
from ..common.flags import run
from ..configs import Config
from ..parallel.mesh import DATA, make_mesh
from ..reporting.tables import megabytes
from .compiled_step import CompiledStep, compile_step
from .gpus import GPUS, gpu_nodes
from .hlo_kernels import total
from .predictions import ASSUMED, AssumedDevice, efficiency
from .tpus import tpu_slice

FLAGS = flags.FLAGS
_SLICES = ("1x1", "1x2", "2x2", "2x4", "4x4", "4x8", "8x8")
_SMALL = 1e-3
"""The share of the bytes below which a kind of kernels has no line of its own."""
_NODES = ("1x1", "1x2", "1x4", "1x8")


def main() -> None:
    jax.config.update("jax_platforms", "cpu")  # leaves a TPU to others
    meshes = [make_mesh(FLAGS.model_parallel, devices) for devices in _groups()]
    data = random_data(TRAINING_IMAGES, FLAGS.side)
    device = ASSUMED.get(FLAGS.predict)
    steps = []
    for mesh in meshes:
        steps.append(compile_step(_config(mesh), data, mesh, FLAGS.accumulate))
        progress = _table(steps[-1:], device).splitlines()[-1]
        print(progress, file=sys.stderr, flush=True)
    print(_table(steps, device))
    for step in steps:
        if step.kernels:
            print(f"\n{_kernels(step)}")
    described = machine.describe("experiments.scaling")
    path = Path(FLAGS.out or f"benchmarks/scaling-{datetime.now():%Y%m%d-%H%M%S}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        path, {"machine": described, "rows": list(map(dataclasses.asdict, steps))}
    )
    print(f"\n{machine.sentence(described)}\nIn {path}")


def _groups() -> list[Sequence[Any]]:
    """The devices of each program."""
    if FLAGS.topology:
        names = [
            f"{name}:{sides}" if ":" not in name else name
            for name in FLAGS.topology
            for sides in _sides(name)
        ]
        return [
            gpu_nodes(name) if name.partition(":")[0] in GPUS else tpu_slice(name)
            for name in names
        ]
    given = ",".join(FLAGS.devices)
    if not all(count.isdigit() and int(count) for count in FLAGS.devices):
        raise UserError(f"--devices={given}: pass numbers, as in 1,2,4")
    counts = sorted(map(int, FLAGS.devices))
    jax.config.update("jax_num_cpu_devices", counts[-1])
    return [jax.devices()[:count] for count in counts]


def _sides(name: str) -> Sequence[str]:
    """The sides of all slices of a kind, if the name has none."""
    if ":" in name:
        return ("",)
    return _NODES if name in GPUS else _SLICES


def _config(mesh: Any) -> Config:
    names = ("depth", "width", "head", "hidden", "dtype", "gradient")
    network: dict[str, Any] = {name: FLAGS[name].value for name in names}
    size = FLAGS.batch_size or FLAGS.images * mesh.shape[DATA]
    return Config(**network, batch_size=size)


def _table(steps: Sequence[CompiledStep], device: AssumedDevice | None = None) -> str:
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


def _kernels(step: CompiledStep) -> str:
    """The kernels of a step by kind, and their roofline."""
    columns: dict[str, Any] = {
        "kernels of": lambda one: one.kind,
        "number": lambda one: f"{one.number:,}",
        "bytes": lambda one: megabytes(one.bytes),
        "GFLOP": lambda one: f"{one.operations / 1e9:.1f}",
    }
    least = _SMALL * step.kernel_bytes
    large = [one for one in step.kernels if one.bytes >= least]
    small = [one for one in step.kernels if one.bytes < least]
    rows = [*large, total("all others", small), total("a step", step.kernels)]
    found = table(columns, [row for row in rows if row.number])
    devices = step.data * step.model
    where = f"{devices} x {step.where}, {step.batch:,} images"
    predicted = "without the bytes in the vector memory"
    if step.roofline:
        predicted = f"roofline {1e3 * step.roofline:.2f} ms (predicted, not measured)"
    return f"{found}\n\n{where}: {predicted}"


def _collectives(step: CompiledStep) -> str:
    each = (
        f"{one.number} {one.kind} of {one.group_size}: {megabytes(one.bytes)}"
        for one in step.collectives
    )
    return "; ".join(each) or "none"


if __name__ == "__main__":
    flags.DEFINE_list(
        "topology",
        [],
        "TPU slices, as v5e:8x8 (v5e: slices of 1 to 64), or hosts x GPUs, as h100:1x8 "
        "(h100, h200: one host with 1 to 8)",
    )
    flags.DEFINE_list("devices", "1,2,4,8,16,32,64", "numbers of virtual CPU devices")
    flags.DEFINE_integer(
        "images", 64, "images per step for each copy of the network", 1
    )
    flags.DEFINE_integer(
        "batch_size", None, "images per step on all devices; replaces --images"
    )
    flags.DEFINE_integer(
        "accumulate", 1, "parts of a batch; messages of a part are counted once", 1
    )
    flags.DEFINE_integer("model_parallel", 1, "devices that share wide layers", 1)
    flags.DEFINE_integer("side", 32, "side of the images in pixels", 2)
    flags.DEFINE_integer("depth", 5, "layers: a multiple of the stages")
    flags.DEFINE_integer("width", 32, "channels after the initial layer")
    flags.DEFINE_integer("hidden", 4096, "hidden units of the curvature head")
    flags.DEFINE_enum(
        "head", "normalized", ["orthogonal", "normalized", "curvature"], "head"
    )
    flags.DEFINE_enum("dtype", "bfloat16", ["float32", "bfloat16"], "dtype in training")
    flags.DEFINE_enum(
        "gradient", "fast", ["exact", "fast", "low_rank"], "rule for kernels' gradients"
    )
    flags.DEFINE_enum(
        "predict", None, list(ASSUMED), "device to predict the efficiency on"
    )
    flags.DEFINE_string("out", None, "JSON file; default: benchmarks/scaling-TIME.json")
    run(main, __doc__ or "")
