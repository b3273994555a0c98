"""Starts a run: new, from another run's network, or from its last checkpoint."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from pathlib import Path

from absl import flags

from lipjax import LipConvNet

from ..common.errors import UserError
from ..configs import PRESETS, Config, with_flags
from ..parallel.processes import broadcast_from_host0
from .checkpoints import Checkpoint, Checkpoints
from .model import exp_approximation
from .run_folder import RunFolder
from .state import zero_metrics
from .trainer import Trainer

FLAGS = flags.FLAGS

_OF_HEAD = ("head", "hidden")
_OF_TRUNK = ("polynomial", "eval_polynomial", "gradient")


def settings() -> tuple[Config, LipConvNet | None]:
    """The settings and the network of the run that the flags describe.

    Returns:
      The preset, changed by the flags, or the settings of the run to resume. The
      network of the run to resume or to start from; None for a new network.
    """
    preset = PRESETS[FLAGS.preset]()
    if FLAGS.resume:
        return _resumed()
    if FLAGS.init_from:
        return _fine_tuned(RunFolder.open(Path(FLAGS.init_from)), preset)
    if FLAGS.train_only == "head":
        raise UserError(
            "--train_only=head needs --init_from, the run whose trunk stays"
        )
    return with_flags(preset, FLAGS), None


def _resumed() -> tuple[Config, LipConvNet]:
    changed = {f.name for f in dataclasses.fields(Config) if FLAGS[f.name].present}
    moved = changed & {"data", "data_dir"}
    if changed - moved or FLAGS.run or FLAGS.init_from:
        left = sorted(changed - moved) or ["run or --init_from"]
        given = ", ".join(f"--{name}" for name in left)
        raise UserError(f"--resume keeps the run's own settings: leave out {given}")
    folder = RunFolder.open(Path(FLAGS.resume))
    where = {name: FLAGS[name].value for name in moved}
    return dataclasses.replace(folder.config, **where), folder.model


def _fine_tuned(source: RunFolder, preset: Config) -> tuple[Config, LipConvNet]:
    """The settings and the network that start from a run's weights.

    Weights belong to a network with its mean and std, so these are the run's. The
    approximation of exp may change. If the head alone is trained, it may be of another
    kind, and the approximation is the run's unless flags change it.
    """
    network = kept = source.config.network()
    if FLAGS.train_only == "head":
        kept = {name: network[name] for name in network if name not in _OF_HEAD}
        trunk = {name: getattr(source.config, name) for name in _OF_TRUNK}
        preset = dataclasses.replace(preset, augment=False, **trunk)
    changed = [n for n in kept if FLAGS[n].present and FLAGS[n].value != kept[n]]
    if changed:
        name = changed[0]
        raise UserError(
            f"--init_from keeps the run's network, whose --{name} is {network[name]}: "
            f"leave out --{name}"
        )
    config = with_flags(dataclasses.replace(preset, **network), FLAGS)
    model = source.model.clone(exp=exp_approximation(config))
    if config.train_only == "head":
        pooled, own = model.has_last_pooling, {n: getattr(config, n) for n in _OF_HEAD}
        model = model.clone(last_pooling=pooled, **own)
    return config, model


def run_folder(trainer: Trainer) -> RunFolder:
    """Opens the folder to resume, or makes a new one."""
    if FLAGS.resume:
        return RunFolder.open(Path(FLAGS.resume))
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = trainer.config.data.split(":")[0]
    path = Path(FLAGS.run or broadcast_from_host0(f"runs/{name}-{stamp}"))
    model, classes = trainer.model.clone(dtype=None), trainer.data.class_names
    return RunFolder.create(path, trainer.config, model, classes)


def checkpoint(trainer: Trainer, checkpoints: Checkpoints) -> Checkpoint:
    """The run's last checkpoint, or one of step 0, new or with another run's weights.

    Raises:
      UserError: if the checkpoint has other images, another batch size or seed.
    """
    if checkpoints.latest("last") is not None:
        start = checkpoints.restore("last", trainer.mesh)
        _check_input(trainer, start.input)
        return start
    metrics = zero_metrics(trainer.mesh)
    if not FLAGS.init_from:
        return Checkpoint(trainer.init(), metrics, trainer.input(), 0)
    source = RunFolder.open(Path(FLAGS.init_from)).checkpoints()
    state = trainer.init_from(source.restore("last", trainer.mesh).state.variables)
    start = Checkpoint(state, metrics, trainer.input(), 0)
    checkpoints.save("last", start)  # the settings do not record --init_from
    checkpoints.close()
    return start


def _check_input(trainer: Trainer, saved: dict[str, int]) -> None:
    for name, value in trainer.input().items():
        if saved.get(name) != value:
            raise UserError(
                f"the checkpoint was trained with {name} {saved.get(name)}, but "
                f"the data now give {name} {value}: fix --data or --data_dir"
            )
