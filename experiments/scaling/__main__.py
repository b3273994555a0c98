"""What a training step takes on 1 to 64 devices, read from its compiled programs.

    python -m experiments.scaling                            virtual devices of a CPU
    python -m experiments.scaling --topology=v5e --depth=40  slices of TPUs
    python -m experiments.scaling --topology=v5e:8x8 --model_parallel=4
    python -m experiments.scaling --topology=v5e --predict=v5e

Nothing runs: the step is compiled for so many devices, and the program tells how much
memory a device needs and what devices send each other. A TPU need not be there, its
compiler must: `pip install libtpu`. Each number of devices takes a minute or two.

Prints a table and writes it, with the machine and the versions, as JSON. --predict
adds how much of a device's time would be left for the network if devices sent while
they compute nothing: a prediction, which no measurement stands behind.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import flags

from ..benchmark import machine
from ..benchmark.tables import table
from ..benchmark.work import TRAINING_IMAGES, few_images
from ..common.errors import UserError
from ..common.files import write_json
from ..common.flags import run
from ..configs import Config
from ..parallel.mesh import DATA, make_mesh
from .compiled_step import Row, read, tpu_slice

FLAGS = flags.FLAGS
_SLICES = ("1x1", "1x2", "2x2", "2x4", "4x4", "4x8", "8x8")


class Assumed(NamedTuple):
    """A device as a prediction takes it to be.

    Attributes:
      flops: floating-point operations a second in bfloat16, the maker's peak.
      bandwidth: bytes a second that one device sends.
      hop: seconds until a neighbour has what was sent.
    """

    flops: float
    bandwidth: float
    hop: float


ASSUMED = {
    "v5e": Assumed(197e12, 50e9, 1e-6),  # one of four links, in one direction
    "h200": Assumed(989e12, 450e9, 1e-6),  # NVLink, in one direction
}
"""Where the numbers are from: docs/scaling.md."""


def seconds(row: Row, device: Assumed, utilisation: float = 1.0) -> tuple[float, float]:
    """Predicted seconds of a step: to compute, and to send with nothing computed."""
    computing = row.operations / (device.flops * utilisation)
    return computing, row.traffic / device.bandwidth + row.rounds * device.hop


def efficiency(row: Row, device: Assumed, utilisation: float = 1.0) -> float:
    """Predicted share of a step's time in which a device computes the network.

    The lower the utilisation, the higher it is: at 1 it is least.
    """
    computing, sending = seconds(row, device, utilisation)
    return computing / (computing + sending)


def main() -> None:
    jax.config.update("jax_platforms", "cpu")  # a TPU that is here is left alone
    meshes = [make_mesh(FLAGS.model_parallel, devices) for devices in _groups()]
    data = few_images(TRAINING_IMAGES, FLAGS.side)
    rows = []
    for mesh in meshes:
        rows.append(read(_config(mesh), data, mesh, FLAGS.accumulate))
        print(_table(rows).splitlines()[-1], file=sys.stderr, flush=True)
    print(_table(rows))
    command = ["python", "-m", "experiments.scaling", *sys.argv[1:]]
    described = machine.described(shlex.join(command))
    path = Path(FLAGS.out or f"benchmarks/scaling-{datetime.now():%Y%m%d-%H%M%S}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"machine": described, "rows": list(map(_record, rows))})
    print(f"\n{machine.sentence(described)}\nIn {path}")


def _groups() -> list[Sequence[Any]]:
    """The devices of each program."""
    if FLAGS.topology:
        names = [
            f"{name}:{sides}" if ":" not in name else name
            for name in FLAGS.topology
            for sides in (_SLICES if ":" not in name else ("",))
        ]
        return [tpu_slice(name) for name in names]
    given = ",".join(FLAGS.devices)
    if not all(count.isdigit() and int(count) for count in FLAGS.devices):
        raise UserError(f"--devices={given}: give numbers, as in 1,2,4")
    counts = sorted(map(int, FLAGS.devices))
    jax.config.update("jax_num_cpu_devices", counts[-1])
    return [jax.devices()[:count] for count in counts]


def _config(mesh: Any) -> Config:
    return Config(
        depth=FLAGS.depth,
        width=FLAGS.width,
        head=FLAGS.head,
        hidden=FLAGS.hidden,
        dtype=FLAGS.dtype,
        batch_size=FLAGS.batch_size or FLAGS.images * mesh.shape[DATA],
    )


def _table(rows: Sequence[Row]) -> str:
    columns: dict[str, Any] = {
        "data x model": lambda row: f"{row.data} x {row.model}",
        "images": lambda row: f"{row.batch:,}",
        "arguments": lambda row: _megabytes(row.arguments),
        "temporaries": lambda row: _megabytes(row.temporaries),
        "peak": lambda row: _megabytes(row.peak),
        "collectives": _kinds,
        "sent": lambda row: _megabytes(row.traffic),
        "compile": lambda row: f"{row.compile_seconds:.0f} s",
    }
    if FLAGS.predict:
        device = ASSUMED[FLAGS.predict]
        columns["efficiency, predicted"] = lambda row: f"{efficiency(row, device):.1%}"
    return table(columns, rows)


def _record(row: Row) -> dict[str, Any]:
    sums = [one._asdict() for one in row.collectives]
    return dataclasses.asdict(row) | {"collectives": sums}


def _kinds(row: Row) -> str:
    each = (
        f"{one.number} {one.kind} of {one.group_size}: {_megabytes(one.bytes)}"
        for one in row.collectives
    )
    return "; ".join(each) or "none"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.1f} MB"


if __name__ == "__main__":
    flags.DEFINE_list("topology", [], "TPUs, as v5e:8x8; v5e: slices of 1 to 64")
    flags.DEFINE_list("devices", "1,2,4,8,16,32,64", "how many virtual CPU devices")
    flags.DEFINE_integer("images", 64, "a step's images on each share of the data", 1)
    flags.DEFINE_integer("batch_size", None, "a step's images on all devices instead")
    flags.DEFINE_integer(
        "accumulate", 1, "parts of a batch; what each part sends is counted once", 1
    )
    flags.DEFINE_integer("model_parallel", 1, "devices that share wide layers", 1)
    flags.DEFINE_integer("side", 32, "of the images", 2)
    flags.DEFINE_integer("depth", 5, "layers: a multiple of the stages")
    flags.DEFINE_integer("width", 32, "channels after the initial layer")
    flags.DEFINE_integer("hidden", 4096, "hidden units of the curvature head")
    flags.DEFINE_enum(
        "head", "normalized", ["orthogonal", "normalized", "curvature"], "head"
    )
    flags.DEFINE_enum("dtype", "bfloat16", ["float32", "bfloat16"], "of the training")
    flags.DEFINE_enum("predict", None, list(ASSUMED), "device to predict times of")
    flags.DEFINE_string("out", None, "JSON file; else benchmarks/scaling-TIME.json")
    run(main, __doc__ or "")
