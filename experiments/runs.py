"""A run's folder: its settings, its checkpoints and its figures."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from lipjax import LipConvNet

from .configs import Config
from .data import Dataset, load
from .errors import UserError
from .files import write_csv, write_json, write_json_lines
from .models import check_fits, from_json, to_json
from .training import State, abstract_state


class Run:
    """A folder with config.json, metrics.jsonl, metrics.csv and checkpoints.

    `checkpoints/last` and `checkpoints/best` hold one checkpoint each, named by the
    number of epochs done; a new one is complete before the old one goes.

    Attributes:
      path: the folder.
      config: the run's settings.
      model: its network, in float32.
      rows: one dictionary of figures for each epoch done.
    """

    def __init__(self, path: Path, config: Config, model: LipConvNet) -> None:
        self.path = path
        self.config = config
        self.model = model
        self.rows: list[dict[str, Any]] = []

    @classmethod
    def create(cls, path: Path, config: Config, model: LipConvNet) -> Run:
        """Makes the folder.

        Raises:
          UserError: if it exists.
        """
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            raise UserError(
                f"{path} exists: choose another --run, or go on with --resume={path}"
            ) from None
        run = cls(path, config, model)
        settings = {"config": dataclasses.asdict(config), "model": to_json(model)}
        write_json(path / "config.json", settings | {"jax": jax.__version__})
        return run

    @classmethod
    def open(cls, path: Path) -> Run:
        """Reads the folder of a run.

        Raises:
          UserError: if it is not one.
        """
        try:
            settings = json.loads((path / "config.json").read_text())
            run = cls(path, Config(**settings["config"]), from_json(settings["model"]))
            metrics = path / "metrics.jsonl"
            if metrics.exists():
                run.rows = [json.loads(row) for row in metrics.read_text().splitlines()]
        except FileNotFoundError:
            raise UserError(f"{path} is not a run: it has no config.json") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is damaged or not a run: {error}") from error
        return run

    def add(self, row: dict[str, Any]) -> None:
        """Adds an epoch's figures to metrics.jsonl and metrics.csv."""
        self.rows.append(row)
        write_json_lines(self.path / "metrics.jsonl", self.rows)
        write_csv(self.path / "metrics.csv", self.rows)

    def save(self, name: str, epoch: int, state: State) -> None:
        """Saves the state as checkpoint `name` ("last" or "best"), then drops the old.

        Raises:
          UserError: if it cannot be written; the old one is kept.
        """
        folder = self._folder(name)
        try:
            # Of a save that fails, Orbax's threads print more than is raised.
            with contextlib.redirect_stderr(io.StringIO()):
                with ocp.StandardCheckpointer() as checkpointer:
                    checkpointer.save(folder / str(epoch), state, force=True)
        except Exception as error:
            raise UserError(
                f"the checkpoint of epoch {epoch} could not be written to {folder}: "
                f"{_first_line(error)}; {self._kept(name)}"
            ) from error
        for old in self.epochs(name):
            if old != epoch:
                shutil.rmtree(folder / str(old))

    def data(self) -> Dataset:
        """The data set that the settings name.

        Raises:
          UserError: if it cannot be had, or is not of the network's images.
        """
        config = self.config
        data = load(config.data, data_dir=config.data_dir, validation=config.validation)
        check_fits(self.model, data)
        return data

    def restore(self, name: str) -> tuple[int, State]:
        """The epochs done and the state of checkpoint `name`, on every device.

        Args:
          name: "last" or "best".

        Raises:
          UserError: if there is none, or it is damaged or of another network.
        """
        epochs = self.epochs(name)
        if not epochs:
            raise UserError(f"{self._folder(name)} has no checkpoint")
        folder = self._folder(name) / str(epochs[-1])
        like = abstract_state(self.config, self.model)
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                # Orbax's own refusal leaves reads behind that fail later, and loudly.
                saved = checkpointer.metadata(folder).item_metadata.tree["params"]
                if _shapes(saved) != _shapes(like.params):
                    raise ValueError("its parameters have other names or shapes")
                return epochs[-1], checkpointer.restore(folder, like)
        except Exception as error:
            raise UserError(
                f"the checkpoint {folder} is damaged or of another network: "
                f"{_first_line(error)}"
            ) from error

    def epochs(self, name: str) -> list[int]:
        """Which checkpoints are there, oldest first."""
        folder = self._folder(name)
        if not folder.is_dir():
            return []
        return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())

    def _folder(self, name: str) -> Path:
        return self.path.absolute() / "checkpoints" / name

    def _kept(self, name: str) -> str:
        epochs = self.epochs(name)
        return f"the one of epoch {epochs[-1]} is kept" if epochs else "there is none"


def _shapes(params: Any) -> Any:
    return jax.tree.map(lambda leaf: tuple(leaf.shape), params)


def _first_line(error: Exception) -> str:
    if "No space left" in str(error):
        return "No space left on the disk"
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
