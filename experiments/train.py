"""Trains a certified network.

    python -m experiments.train                        the digits, minutes on a CPU
    python -m experiments.train --preset=lipconvnet    LipConvNet-5 on CIFAR-10
    python -m experiments.train --data=folder:PATH     PATH/{train,test}/CLASS/*
    python -m experiments.train --resume=runs/NAME     continues an interrupted run
    python -m experiments.train --init_from=runs/NAME  starts from a run's network
    ... --train_only=head --head=curvature --hidden=512    and trains a new head on it

A run writes a folder with its settings (config.json), figures for each epoch
(metrics.csv, metrics.jsonl), checkpoints (last, and best on the validation images),
pictures (training.png, radii.png) and the certificates of the test images
(certificates.jsonl, see `python -m experiments.certify`).

SIGTERM or Ctrl-C saves and stops. If --run is given, the same command continues the
run. docs/scaling.md explains how to train on many devices and hosts.
"""

from __future__ import annotations

import contextlib
import functools
import signal
from collections.abc import Callable

from absl import flags

from .certification.certificates import certify
from .common.commands import command
from .common.flags import run
from .common.signals import deferred
from .configs import PRESETS, config, define_flags
from .data import Dataset, load
from .parallel import processes
from .parallel.mesh import make_mesh
from .parallel.processes import is_host0, run_joined, shutdown
from .parallel.shardings import to_host
from .reporting import pictures
from .training import description, start
from .training.loop import Loop, Stopped, watched_split
from .training.metrics_log import MetricsLog
from .training.run_folder import SETTINGS, RunFolder
from .training.run_lock import run_lock
from .training.state import TrainState
from .training.trainer import Trainer

FLAGS = flags.FLAGS


def main() -> None:
    with deferred(signal.SIGTERM) as terminated:
        finish = run_joined(lambda: train(terminated))
    if finish:
        finish()


def train(terminated: Callable[[], int]) -> Callable[[], None] | None:
    """Trains the run that the flags describe.

    Args:
      terminated: returns the number of a signal if it has come, else 0.

    Returns:
      The rest of host 0's work, for after the processes have parted; or None.
    """
    settings, model = start.settings()
    mesh = make_mesh(FLAGS.model_parallel)
    data = load(
        settings.data, data_dir=settings.data_dir, validation=settings.validation
    )
    trainer = Trainer(settings, data, model, mesh=mesh, accumulate=FLAGS.accumulate)
    if FLAGS.dry_run:
        print(description.summary(trainer))
        return None
    folder = start.run_folder(trainer)
    log = MetricsLog(folder.path)
    try:
        with (
            run_lock(folder.path, SETTINGS),
            deferred(signal.SIGINT) as interrupted,
            folder.checkpoints(FLAGS.keep) as checkpoints,
            contextlib.closing(trainer.steps),
        ):
            first = start.checkpoint(trainer, checkpoints)
            log.truncate(first.epoch)
            step = int(first.state.step)
            print(f"{folder.path}: {description.title(trainer)}", end="", flush=True)
            print(f"; continues at step {step}" * (step > 0), flush=True)
            signalled = lambda: terminated() or interrupted()  # noqa: E731
            loop = Loop(trainer, checkpoints, log, signalled, FLAGS.save_steps)
            last = loop.train(first)
    except Stopped as stop:
        print(f"\nStopped and saved. Continue with --resume={folder.path}", flush=True)
        shutdown()
        if stop.number == signal.SIGINT:
            raise KeyboardInterrupt from None
        return None
    state = to_host(last.state, mesh)
    shutdown()
    finish = functools.partial(_certify, folder, log, state, data)
    return finish if is_host0() else None


def _certify(
    folder: RunFolder, log: MetricsLog, state: TrainState, data: Dataset
) -> None:
    split, _ = watched_split(data)
    pictures.draw_training(folder.path / "training.png", log.rows, split)
    if FLAGS.certify_images == 0:
        print(f"Next: {command('certify')} --run={folder.path}")
    else:
        certify(folder, state, data, FLAGS.certify_images)


if __name__ == "__main__":
    about = [f"{n}: {str(p.__doc__).splitlines()[0]}" for n, p in PRESETS.items()]
    flags.DEFINE_enum("preset", "digits", list(PRESETS), f"settings. {' '.join(about)}")
    flags.DEFINE_string("run", None, "folder of the run; default: runs/DATA-TIME")
    flags.DEFINE_string("resume", None, "folder of a run to continue")
    flags.DEFINE_string(
        "init_from", None, "folder of a run whose network and weights to start from"
    )
    flags.DEFINE_integer(
        "certify_images", None, "test images to certify at the end; default: all", 0
    )
    flags.DEFINE_bool(
        "dry_run", False, "print shapes, parameters and memory; do not train"
    )
    flags.DEFINE_integer("save_steps", 1000, "steps between checkpoints", 1)
    flags.DEFINE_integer("keep", 3, "how many of the last checkpoints to keep", 1)
    flags.DEFINE_integer(
        "accumulate", 1, "parts of a batch, differentiated in sequence", 1
    )
    flags.DEFINE_integer(
        "model_parallel", 1, "devices that share the channels of wide layers", 1
    )
    define_flags()
    processes.define_flags()
    for module in (config, processes):
        flags.adopt_module_key_flags(module)
    run(main, __doc__ or "")
