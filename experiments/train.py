"""Trains a certified network.

    python -m experiments.train                        the digits, minutes on a CPU
    python -m experiments.train --preset=lipconvnet    LipConvNet-5 on CIFAR-10
    python -m experiments.train --data=folder:PATH     PATH/{train,test}/CLASS/*
    python -m experiments.train --resume=runs/NAME     goes on where a run was cut;
                                                       so does its own command
    python -m experiments.train --init_from=runs/NAME  starts from a run's network

A run makes a folder with its settings (config.json), figures for each epoch
(metrics.csv, metrics.jsonl), checkpoints (last, and best on the validation images),
pictures (training.png, radii.png) and the certificates of the test images
(certificates.jsonl, as `python -m experiments.certify` makes them).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import signal
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import jax
from absl import flags

from lipjax import LipConvNet

from .certify import certify
from .common.errors import UserError
from .common.flags import run
from .common.signals import deferred
from .configs import NETWORK, PRESETS, Config, config, define_flags, with_flags
from .data import Dataset, load
from .parallel import cluster
from .parallel.mesh import make_mesh
from .parallel.processes import broadcast_from_host0, is_host0, shutdown
from .parallel.shardings import whole
from .parallel.supervisor import supervised
from .reporting import pictures
from .training.loop import Loop, Stopped, watched
from .training.model import exp_approximation
from .training.run_folder import Checkpoint, Run
from .training.state import TrainState
from .training.streaming import make_trainer
from .training.trainer import Trainer

FLAGS = flags.FLAGS


def main() -> None:
    with deferred(signal.SIGTERM) as terminated:
        certified = _trained(terminated)
    if certified and is_host0():
        certified()


def _trained(terminated: Callable[[], int]) -> Callable[[], None] | None:
    """Trains; what is left to do for the first host, None if it was stopped."""
    settings, model = _settings()
    mesh = make_mesh(FLAGS.model_parallel)
    data = load(
        settings.data, data_dir=settings.data_dir, validation=settings.validation
    )
    trainer = make_trainer(
        settings, data, model, mesh=mesh, accumulate=FLAGS.accumulate
    )
    if FLAGS.dry_run:
        _describe(trainer)
        return None
    folder, start = _start(trainer)
    step = int(start.state.step)
    print(f"{folder.path}: {_title(trainer)}", end="", flush=True)
    print(f"; goes on at step {step}" * (step > 0), flush=True)
    try:
        with (
            deferred(signal.SIGINT) as interrupted,
            folder,
            contextlib.closing(trainer),
        ):
            signalled = lambda: terminated() or interrupted()  # noqa: E731
            end = Loop(folder, trainer, signalled, FLAGS.save_steps).train(start)
    except Stopped as stop:
        print(f"\nStopped, saved. Go on with --resume={folder.path}", flush=True)
        shutdown()
        if stop.number == signal.SIGINT:
            raise KeyboardInterrupt from None
        return None
    state = whole(end.state, mesh)
    shutdown()
    return functools.partial(_certified, folder, state, data)


def _certified(folder: Run, state: TrainState, data: Dataset) -> None:
    split, _ = watched(data)
    pictures.draw_training(folder.path / "training.png", folder.rows, split)
    if FLAGS.certify_images == 0:
        print(f"Next: python -m experiments.certify --run={folder.path}")
    else:
        certify(folder, state, data, FLAGS.certify_images)


def _settings() -> tuple[Config, LipConvNet | None]:
    """The preset with the flags on top, or the settings of the run to resume.

    With them the network of the run to resume or to start from, None if there is none.
    """
    preset = PRESETS[FLAGS.preset]()
    if FLAGS.init_from and not FLAGS.resume:
        return _refined(Run.open(Path(FLAGS.init_from)), preset)
    if not FLAGS.resume:
        return with_flags(preset, FLAGS), None
    changed = {f.name for f in dataclasses.fields(Config) if FLAGS[f.name].present}
    moved = changed & {"data", "data_dir"}
    if changed - moved or FLAGS.run or FLAGS.init_from:
        left = sorted(changed - moved) or ["run or --init_from"]
        given = ", ".join(f"--{name}" for name in left)
        raise UserError(f"--resume keeps the run's own settings: leave out {given}")
    folder = Run.open(Path(FLAGS.resume))
    where = {name: FLAGS[name].value for name in moved}
    return dataclasses.replace(folder.config, **where), folder.model


def _refined(source: Run, preset: Config) -> tuple[Config, LipConvNet]:
    """The settings and the network that start from a run's weights.

    Weights belong to a network with its mean and std, so both are the run's; how the
    exponential is approximated may change.
    """
    network = {name: getattr(source.config, name) for name in NETWORK}
    changed = [n for n in NETWORK if FLAGS[n].present and FLAGS[n].value != network[n]]
    if changed:
        name = changed[0]
        raise UserError(
            f"--init_from keeps the run's network, whose --{name} is {network[name]}: "
            f"leave out --{name}"
        )
    settings = with_flags(dataclasses.replace(preset, **network), FLAGS)
    return settings, source.model.clone(exp=exp_approximation(settings))


def _start(trainer: Trainer) -> tuple[Run, Checkpoint]:
    """The run's folder, and where it starts or goes on."""
    if FLAGS.resume:
        folder = Run.open(Path(FLAGS.resume))
    else:
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        name = trainer.config.data.split(":")[0]
        path = Path(FLAGS.run or broadcast_from_host0(f"runs/{name}-{stamp}"))
        folder = Run.create(path, trainer.config, trainer.model.clone(dtype=None))
    folder.hold()
    folder.keep = FLAGS.keep
    if folder.latest("last") is None:
        start = _first(trainer, folder)
    else:
        start = folder.restore("last", trainer.mesh)
        _check_input(trainer, start.input)
    folder.rows = folder.rows[: start.epoch]
    return folder, start


def _first(trainer: Trainer, folder: Run) -> Checkpoint:
    """The start from nothing, or from another run."""
    start = Checkpoint(trainer.init(), trainer.zero_metrics(), trainer.input(), 0)
    if not FLAGS.init_from:
        return start
    source = Run.open(Path(FLAGS.init_from)).restore("last", trainer.mesh).state
    state = start.state._replace(params=source.params, spectral=source.spectral)
    start = start._replace(state=state)
    folder.save("last", start)  # the settings do not say where it came from
    folder.close()
    return start


def _check_input(trainer: Trainer, saved: dict[str, int]) -> None:
    for name, value in trainer.input().items():
        if saved.get(name) != value:
            raise UserError(
                f"the checkpoint is of training with {name} {saved.get(name)}, but "
                f"the data now give {name} {value}: mend --data or --data_dir"
            )


def _title(trainer: Trainer) -> str:
    data, config = trainer.data, trainer.config
    return (
        f"LipConvNet-{config.depth}, {config.width} channels, {config.head} head; "
        f"{len(data.train)} training images of {data.name}; "
        f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    )


def _describe(trainer: Trainer) -> None:
    """Prints shapes, parameters and memory without training."""
    print(_title(trainer))
    state = trainer.like()
    for name, shape in trainer.shapes(state).items():
        parameters = state.params[name]
        count = sum(leaf.size for leaf in jax.tree.leaves(parameters))
        print(f"  {name:<16}{'x'.join(map(str, shape)):>12}{count:>12,} parameters")
    sizes = {name: _bytes(tree) for name, tree in state._asdict().items()}
    memory = trainer.memory()
    print(f"parameters {_megabytes(sizes['params'])}", end="; ")
    print(f"optimiser {_megabytes(sizes['opt_state'])}", end="; ")
    print(f"training images {_megabytes(trainer.data.train.images.nbytes)}", end="; ")
    print(f"a step's temporaries {_megabytes(memory)}")


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


if __name__ == "__main__":
    about = "; ".join(f"{name}: {make.__doc__}" for name, make in PRESETS.items())
    flags.DEFINE_enum("preset", "digits", list(PRESETS), f"settings; {about}")
    flags.DEFINE_string("run", None, "folder of the new run; else runs/DATA-TIME")
    flags.DEFINE_string("resume", None, "folder of a run to go on with")
    flags.DEFINE_string(
        "init_from", None, "folder of a run whose network and weights to start from"
    )
    flags.DEFINE_integer(
        "certify_images", None, "test images to certify in the end, evenly; else all", 0
    )
    flags.DEFINE_bool("dry_run", False, "print shapes, parameters, memory; no training")
    flags.DEFINE_integer("save_steps", 1000, "steps between checkpoints", 1)
    flags.DEFINE_integer("keep", 3, "how many of the last checkpoints to keep", 1)
    flags.DEFINE_integer("accumulate", 1, "parts of a batch, one after the other", 1)
    flags.DEFINE_integer(
        "model_parallel", 1, "devices that share the channels of wide layers", 1
    )
    define_flags()
    cluster.define_flags()
    for module in (config, cluster):
        flags.adopt_module_key_flags(module)
    run(lambda: supervised(main), __doc__ or "")
