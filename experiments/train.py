"""Trains a certified network.

    python -m experiments.train                        the digits, minutes on a CPU
    python -m experiments.train --preset=lipconvnet    LipConvNet-5 on CIFAR-10
    python -m experiments.train --data=folder:PATH     PATH/{train,test}/CLASS/*
    python -m experiments.train --resume=runs/NAME     goes on where a run was cut
    python -m experiments.train --init_from=runs/NAME  starts from a run's network

A run makes a folder with its settings (config.json), figures for each epoch
(metrics.csv, metrics.jsonl), checkpoints (last, and best on the validation images),
pictures (training.png, radii.png) and the certificates of the test images
(certificates.jsonl, as `python -m experiments.certify` makes them).
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import jax
from absl import flags
from tqdm import tqdm

from lipjax import LipConvNet

from . import report
from .certify import certify
from .configs import NETWORK, PRESETS, Config, config, define_flags, with_flags
from .data import Dataset, load
from .errors import UserError
from .evaluation import Evaluator
from .flags import run
from .interrupts import deferred_interrupt
from .models import series
from .runs import Run
from .training import State, Totals, Trainer

FLAGS = flags.FLAGS
_SECONDS_A_CALL = 2.0


def main() -> None:
    settings, model = _settings()
    data = load(
        settings.data, data_dir=settings.data_dir, validation=settings.validation
    )
    trainer = Trainer(settings, data, model)
    if FLAGS.dry_run:
        _describe(trainer)
        return
    folder, epoch, state = _start(trainer)
    print(f"{folder.path}: {_title(trainer)}", flush=True)
    try:
        with deferred_interrupt() as check:
            state = _train(folder, trainer, epoch, state, check)
    except KeyboardInterrupt:
        print(f"\nStopped. Go on with --resume={folder.path}", flush=True)
        raise
    split, _ = _watched(data)
    report.draw_training(folder.path / "training.png", folder.rows, split)
    certify(folder, state, data)


def _settings() -> tuple[Config, LipConvNet | None]:
    """The preset with the flags on top, or the settings of the run to resume.

    With them the network of the run to resume or to start from, None if there is none.
    """
    preset = PRESETS[FLAGS.preset]()
    if FLAGS.init_from and not FLAGS.resume:
        return _refined(Run.open(Path(FLAGS.init_from)), preset)
    if not FLAGS.resume:
        return with_flags(preset, FLAGS), None
    changed = [f.name for f in dataclasses.fields(Config) if FLAGS[f.name].present]
    if changed or FLAGS.run or FLAGS.init_from:
        given = ", ".join(f"--{name}" for name in changed) or "--run or --init_from"
        raise UserError(f"--resume keeps the run's own settings: leave out {given}")
    folder = Run.open(Path(FLAGS.resume))
    return folder.config, folder.model


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
    return settings, source.model.clone(series=series(settings))


def _start(trainer: Trainer) -> tuple[Run, int, State]:
    """The run's folder, the epochs it has done, and its state."""
    if FLAGS.resume:
        folder = Run.open(Path(FLAGS.resume))
        if folder.epochs("last"):
            epoch, state = folder.restore("last")
            folder.rows = folder.rows[:epoch]
            return folder, epoch, state
        folder.rows = []
        return folder, 0, trainer.init()
    source = None
    if FLAGS.init_from:
        _, source = Run.open(Path(FLAGS.init_from)).restore("last")
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = trainer.config.data.split(":")[0]
    path = Path(FLAGS.run or f"runs/{name}-{stamp}")
    folder = Run.create(path, trainer.config, trainer.model.clone(dtype=None))
    state = trainer.init()
    if source:
        state = state._replace(params=source.params, spectral=source.spectral)
    return folder, 0, state


def _train(
    folder: Run,
    trainer: Trainer,
    epoch: int,
    state: State,
    check: Callable[[], None],
) -> State:
    """Trains from `epoch` to the end; checkpoints and reports after each epoch.

    Calls `check`, which may raise, between steps.
    """
    epochs, per_epoch = trainer.config.epochs, trainer.steps_per_epoch
    split, watched = _watched(trainer.data)
    evaluator = Evaluator(trainer.model, trainer.data.levels)
    best = max((_merit(row) for row in folder.rows), default=-1.0)
    print(report.epoch_header(split), flush=True)
    begin = time.perf_counter()
    with tqdm(
        total=epochs * per_epoch,
        initial=epoch * per_epoch,
        unit="step",
        disable=None,
        leave=False,
    ) as bar:
        for done in range(epoch + 1, epochs + 1):
            started = time.perf_counter()
            state, totals = _epoch(trainer, state, bar, check)
            seconds = time.perf_counter() - started
            constants = evaluator.estimate_constants(state.variables)
            row = report.epoch_row(
                done,
                float(totals.loss) / int(totals.images),
                int(totals.correct) / int(totals.images),
                evaluator.summary(state.variables, watched, constants),
                seconds,
                int(totals.images) / seconds,
            )
            # In this order, a run that is killed in between repeats the epoch.
            folder.add(row)
            if len(trainer.data.validation) and _merit(row) > best:
                best = _merit(row)
                folder.save("best", done, state)
            folder.save("last", done, state)
            left = (time.perf_counter() - begin) / (done - epoch) * (epochs - done)
            tqdm.write(report.epoch_line(row, epochs, left))
    return state


def _epoch(
    trainer: Trainer, state: State, bar: tqdm, check: Callable[[], None]
) -> tuple[State, Totals]:
    """One epoch, in calls of a second or two so that the bar moves."""
    totals, taken, count = trainer.zero_totals(), 0, 1
    while taken < trainer.steps_per_epoch:
        started = time.perf_counter()
        count = min(count, trainer.steps_per_epoch - taken)
        check()
        state, totals = trainer.steps(state, totals, count)
        if not math.isfinite(float(totals.loss)):
            raise UserError(
                f"the loss is not finite at step {int(state.step)}: lower "
                "--learning_rate; the last checkpoint is from before"
            )
        taken += count
        bar.update(count)
        seconds = (time.perf_counter() - started) / count
        count = max(1, min(2 * count, int(_SECONDS_A_CALL / seconds)))
    return state, totals


def _watched(data: Dataset):
    """Name and images of the split to evaluate after each epoch."""
    if len(data.validation):
        return "validation", data.validation
    return "test", data.test


def _merit(row: dict[str, Any]) -> float:
    """What the best checkpoint is best at: the mean radius, wrong images at 0."""
    return row["mean_radius_estimate"]


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
    flags.DEFINE_bool("dry_run", False, "print shapes, parameters, memory; no training")
    define_flags()
    flags.adopt_module_key_flags(config)
    run(main, __doc__ or "")
