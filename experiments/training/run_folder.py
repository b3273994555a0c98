"""A run's folder: its settings, its checkpoints and its figures."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import jax
import orbax.checkpoint as ocp
from jax.sharding import Mesh
from orbax.checkpoint.checkpoint_managers import LatestN

from lipjax import LipConvNet

from ..common.errors import UserError
from ..common.files import is_empty, write_csv, write_json, write_json_lines
from ..configs import Config
from ..data import Dataset, load
from ..parallel.mesh import make_mesh
from ..parallel.processes import agreed, is_host0, let_others_speak
from .checkpoints import READING, open_manager
from .model import check_fits, from_json, to_json
from .run_lock import check_shared, lock
from .state import Metrics, TrainState, abstract_metrics, abstract_state

_SETTINGS = "config.json"


class Checkpoint(NamedTuple):
    """All that a run needs to go on.

    Attributes:
      state: what carries over from step to step.
      totals: sums over the images of the epoch so far.
      input: what says, beside the step, which images come next; see `Trainer.input`.
      epoch: epochs done.
      seconds: that the epoch has taken so far.
    """

    state: TrainState
    totals: Metrics
    input: dict[str, int]
    epoch: int
    seconds: float = 0.0


class Run:
    """A folder with config.json, metrics.jsonl, metrics.csv and checkpoints.

    `checkpoints/last` holds the last few checkpoints and `checkpoints/best` one, named
    by the number of steps taken. A checkpoint is written in the background; it has its
    name when it is complete, and old ones go afterwards. With several hosts the folder
    is one that all of them see; the first host writes what is not an array.

    Attributes:
      path: the folder.
      config: the run's settings.
      model: its network, in float32.
      rows: one dictionary of figures for each epoch done.
      keep: how many checkpoints `last` holds.
    """

    def __init__(self, path: Path, config: Config, model: LipConvNet) -> None:
        self.path = path
        self.config = config
        self.model = model
        self.rows: list[dict[str, Any]] = []
        self.keep = 3
        self._managers: dict[str, ocp.CheckpointManager] = {}
        self._lock: IO[bytes] | None = None

    @classmethod
    def create(cls, path: Path, config: Config, model: LipConvNet) -> Run:
        """Makes the folder, or opens it where the same run has begun.

        The same are all settings, but for where its data lie.

        Raises:
          UserError: if there is something else.
        """
        there, _ = agreed((path / _SETTINGS).exists(), 0)
        if there:
            run = cls.open(path)
            run._check_same(config, model)
            return run
        if is_host0():
            if path.exists() and not is_empty(path):
                raise UserError(f"{path} exists and is not a run: choose another --run")
            path.mkdir(parents=True, exist_ok=True)
            settings = {"config": dataclasses.asdict(config), "model": to_json(model)}
            write_json(path / _SETTINGS, settings | {"jax": jax.__version__})
        return cls(path, config, model)

    def _check_same(self, config: Config, model: LipConvNet) -> None:
        mine, others = _comparable(self.config), _comparable(config)
        differ = [f"--{name}={value}" for name, value in mine.items() - others.items()]
        if differ or to_json(self.model) != to_json(model):
            raise UserError(
                f"{self.path} exists, with other settings"
                f"{': ' * bool(differ)}{' '.join(sorted(differ))}: choose another "
                f"--run, or go on with --resume={self.path}"
            )

    def hold(self) -> None:
        """Keeps other programs from training this run, until `with` ends.

        For all hosts to call.

        Raises:
          UserError: if another does, or if not all hosts see the folder.
        """
        if is_host0():
            self._lock = lock(self.path / _SETTINGS)
        check_shared(self.path)

    @classmethod
    def open(cls, path: Path) -> Run:
        """Reads the folder of a run.

        Raises:
          UserError: if it is not one.
        """
        try:
            settings = json.loads((path / _SETTINGS).read_text())
            run = cls(path, Config(**settings["config"]), from_json(settings["model"]))
            metrics = path / "metrics.jsonl"
            if metrics.exists():
                run.rows = [json.loads(row) for row in metrics.read_text().splitlines()]
        except FileNotFoundError:
            raise UserError(f"{path} is not a run: it has no {_SETTINGS}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is damaged or not a run: {error}") from error
        return run

    def add(self, row: dict[str, Any]) -> None:
        """Adds an epoch's figures to metrics.jsonl and metrics.csv."""
        self.rows.append(row)
        if is_host0():
            write_json_lines(self.path / "metrics.jsonl", self.rows)
            write_csv(self.path / "metrics.csv", self.rows)

    def save(self, name: str, checkpoint: Checkpoint) -> None:
        """Begins to save a checkpoint; one of the same step is not written again.

        Args:
          name: "last" or "best".
          checkpoint: its arrays may be used up by the next step.

        Raises:
          UserError: if this one or the one before cannot be written; older ones are
            kept.
        """
        step = int(checkpoint.state.step)
        with self._telling(name):
            manager = self._manager(name)
            for each in self._managers.values():  # hosts meet for one save at a time
                each.wait_until_finished()
        there, _ = agreed(step in manager.all_steps(), 0)
        if there:
            return
        with self._telling(name):
            fields = checkpoint._asdict()
            tree = {name: fields.pop(name) for name in ("state", "totals")}
            arrays = ocp.args.StandardSave(tree)
            manager.save(step, args=arrays, custom_metadata=fields)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Closes; not if this host of several fails, as the others may wait for it."""
        if kind is None or jax.process_count() == 1:
            self.close()
        if self._lock is not None:
            self._lock.close()

    def close(self) -> None:
        """Waits until all checkpoints are written.

        Raises:
          UserError: if one cannot be written; older ones are kept.
        """
        for name, manager in self._managers.items():
            with self._telling(name):
                manager.close()
        self._managers = {}

    @contextlib.contextmanager
    def _telling(self, name: str) -> Iterator[None]:
        """Makes what goes wrong in writing one line."""
        try:
            yield
        except Exception as error:
            if jax.process_count() > 1:
                let_others_speak()
            raise self._not_written(name, error) from error

    def _not_written(self, name: str, error: Exception) -> UserError:
        steps = self.checkpoints(name)
        kept = f"the one of step {steps[-1]} is kept" if steps else "there is none"
        return UserError(
            f"a checkpoint could not be written to {self._folder(name)}: "
            f"{_first_line(error)}; {kept}"
        )

    def data(self, data: str | None = None, data_dir: str | None = None) -> Dataset:
        """The data set that the settings name, or where it is now.

        Raises:
          UserError: if it cannot be had, or is not of the network's images.
        """
        config = self.config
        found = load(
            data or config.data,
            data_dir=data_dir or config.data_dir,
            validation=config.validation,
        )
        check_fits(self.model, found)
        return found

    def restore(self, name: str, mesh: Mesh | None = None) -> Checkpoint:
        """The latest checkpoint `name`.

        Args:
          name: "last" or "best".
          mesh: on whose devices it is put, whatever those it was saved from; None: all
            devices share the batches.

        Raises:
          UserError: if there is none, or it is damaged or of another network.
        """
        step = self.latest(name)
        if step is None:
            raise UserError(f"{self._folder(name)} has no checkpoint")
        mesh = mesh or make_mesh()
        state = abstract_state(self.config, self.model, mesh)
        like = {"state": state, "totals": abstract_metrics(mesh)}
        try:
            with self._open(name, READING) as manager:
                # Orbax's own refusal leaves reads behind that fail later, and loudly.
                saved: Any = manager.item_metadata(step)
                if _shapes(saved.tree["state"]["params"]) != _shapes(state.params):
                    raise ValueError("its parameters have other names or shapes")
                found = manager.restore(step, args=ocp.args.StandardRestore(like))
                progress = manager.metadata(step).custom_metadata
            return Checkpoint(found["state"], found["totals"], **progress)
        except Exception as error:
            raise UserError(
                f"the checkpoint {self._folder(name) / str(step)} is damaged or "
                f"of another network: {_first_line(error)}"
            ) from error

    def latest(self, name: str) -> int | None:
        """The step of the latest checkpoint that the first host sees, if there is one.

        For all hosts to call: a folder over the network may look older to some.
        """
        step, _ = agreed(max(self.checkpoints(name), default=-1), 0)
        return None if step < 0 else step

    def checkpoints(self, name: str) -> list[int]:
        """Steps of the checkpoints that are there, oldest first."""
        folder = self._folder(name)
        if not folder.is_dir():
            return []
        return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())

    def _folder(self, name: str) -> Path:
        return self.path.absolute() / "checkpoints" / name

    def _manager(self, name: str) -> ocp.CheckpointManager:
        if name not in self._managers:
            options = ocp.CheckpointManagerOptions(
                preservation_policy=LatestN(self.keep if name == "last" else 1),
                cleanup_tmp_directories=True,  # of a run that was killed in a save
            )
            self._managers[name] = self._open(name, options)
        return self._managers[name]

    def _open(
        self, name: str, options: ocp.CheckpointManagerOptions
    ) -> ocp.CheckpointManager:
        fail = functools.partial(self._not_written, name)
        return open_manager(self._folder(name), options, fail)


def _comparable(config: Config) -> dict[str, Any]:
    """The settings but for where data lie."""
    kind = config.data.partition(":")[0]
    return dataclasses.asdict(dataclasses.replace(config, data=kind, data_dir=None))


def _shapes(params: Any) -> Any:
    return jax.tree.map(lambda leaf: tuple(leaf.shape), params)


def _first_line(error: Exception) -> str:
    if "No space left" in str(error):
        return "No space left on the disk"
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
