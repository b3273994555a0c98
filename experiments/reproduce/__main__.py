"""Reproduces the paper's claims as tables: every cell a training run, with seeds.

    python -m experiments.reproduce --table=pooling --size=smoke    digits, a minute
    python -m experiments.reproduce --table=heads --size=cpu --data=folder:PATH
    python -m experiments.reproduce --table=gradients --size=gpu --minutes=8
    python -m experiments.reproduce --table=heads --size=cpu --only='width 8.*curvature'

Tables: heads, pooling, activations, gradients, series, depth, convolutions, losses.
Sizes: smoke, the digits, seconds a cell; cpu, CIFAR-10 with 8 and 16 initial channels,
at most 30 minutes a cell on 2 cores; gpu, the paper's width and 200 epochs.

Writes, in OUT/TABLE, after every run:

  table.md         proven accuracies, seconds an epoch, parameters, with their spread
                   over the seeds; claims, confirmed or denied; published figures
  table.png        certified robust accuracy against the radius
  results.json     the same for machines, with the flags of every run
  CELL-seedS       the run, as of `python -m experiments.train`; CELL-seedS.log

The same command goes on with what is not finished: after Ctrl-C, a kill, --minutes or a
failure. A run that fails is shown with its reason and does not stop the others; if any
has, the exit code is 1 once nothing else is left to do.
"""

from __future__ import annotations

import dataclasses
import math
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from absl import flags

from ..benchmark import machine
from ..common.errors import UserError
from ..common.files import alone, write_bytes, write_json
from ..common.flags import matching, run
from ..common.signals import stopping
from ..configs import Config
from ..data import load
from . import picture, report
from .cells import Table
from .folder import RESULTS, opened
from .runs import FAILED, FINISHED, Run
from .sizes import SIZES, Size
from .tables import TABLES
from .work import Work, plan

FLAGS = flags.FLAGS


def main() -> None:
    begin = time.monotonic()
    if FLAGS.minutes is not None and not FLAGS.minutes > 0:
        raise UserError(f"--minutes={FLAGS.minutes}: pass a positive number")
    jax.config.update("jax_platforms", "cpu")  # leaves an accelerator to the runs
    size = SIZES[FLAGS.size]()
    whole = TABLES[FLAGS.table](size)
    only = matching(FLAGS.only, [cell.name for cell in whole.cells])
    settings = _settings(size)
    out = Path(FLAGS.out or f"runs/reproduce-{size.name}")
    path, earlier = opened(out, settings)
    late = begin + 60 * (FLAGS.minutes or math.inf)
    with stopping(late) as (due, signalled), alone(path) as held:
        runs = plan(whole, path, FLAGS.seeds)
        chosen = [run for run in runs if only.search(run.cell.name)]
        write = _writer(path, whole, runs, settings)
        images = settings["certify_images"]
        work = Work(_base(size), size.preset, images, due, held, write)
        work.look(runs, earlier.get("runs", ()))
        if any(run.state != FINISHED for run in chosen):
            load(settings["data"], data_dir=FLAGS.data_dir)  # an error now, not in each
            work.do(chosen, runs)
        write()
    _tell(path, chosen, signalled())


def _settings(size: Size) -> dict[str, Any]:
    """What all commands for a folder must agree in."""
    return {
        "table": FLAGS.table,
        "size": size.name,
        "data": FLAGS.data or size.data,
        "certify_images": FLAGS.certify_images or size.images,
    }


def _base(size: Size) -> Config:
    place = {"data": FLAGS.data or size.data, "data_dir": FLAGS.data_dir}
    return dataclasses.replace(size.config(), **place)


def _writer(
    path: Path, whole: Table, runs: list[Run], settings: dict[str, Any]
) -> Callable[[], None]:
    """A function that writes the table as it is now."""
    described = machine.describe("experiments.reproduce")
    results = settings | {"machine": described}
    data = settings["data"].partition(":")[0]
    title = f"{whole.title}, {data}, size {settings['size']}"

    def write() -> None:
        found = [run.to_json() for run in runs]
        write_json(path / RESULTS, results | {"runs": found})
        picture.draw(path / report.PICTURE, runs, f"{title}, proven")
        text = report.document(whole, runs, results, data == "digits")
        write_bytes(path / "table.md", text.encode())

    return write


def _tell(path: Path, runs: list[Run], number: int) -> None:
    """Says how far the table is; exits as the signal or the failures want."""
    finished = sum(run.state == FINISHED for run in runs)
    failed = [run for run in runs if run.state == FAILED]
    left = len(runs) - finished - len(failed)
    told = f"{path}: {finished} of {len(runs)} runs are finished"
    told += f", {len(failed)} failed" * bool(failed)
    print(f"{told}; see table.md and table.png", flush=True)
    if left:
        print("Stopped and saved. The same command goes on.", flush=True)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    if failed and not left:
        sys.exit(1)


if __name__ == "__main__":
    flags.DEFINE_enum("table", None, list(TABLES), "which table", required=True)
    flags.DEFINE_enum("size", "smoke", list(SIZES), "how large the runs are")
    flags.DEFINE_float("minutes", None, "save and stop after so many minutes")
    flags.DEFINE_integer("seeds", None, "seeds of each cell; default: the table's", 1)
    flags.DEFINE_string("only", None, "regular expression: which cells to run")
    flags.DEFINE_string("out", None, "folder of the tables; else runs/reproduce-SIZE")
    flags.DEFINE_string("data", None, "data set, as of experiments.train")
    flags.DEFINE_string("data_dir", None, "folder of prepared data sets")
    flags.DEFINE_integer(
        "certify_images", None, "test images to certify; default: the size's", 1
    )
    run(main, __doc__ or "")
