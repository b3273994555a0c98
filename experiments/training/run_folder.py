"""The folder of a run: settings, checkpoints, figures."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax

from lipjax import LipConvNet

from ..common.errors import UserError
from ..common.files import is_empty, write_json
from ..configs import Config
from ..data import Dataset, load
from ..parallel.processes import agreed, is_host0
from .checkpoints import Checkpoints
from .model import check_fits, from_json, to_json

SETTINGS = "config.json"


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """A folder with config.json, checkpoints, metrics.jsonl and metrics.csv.

    All hosts of a run see the folder. Host 0 writes everything except arrays.

    Attributes:
      path: the folder.
      config: the run's settings.
      model: its network, in float32.
      classes: names of the classes; None: not known.
    """

    path: Path
    config: Config
    model: LipConvNet
    classes: tuple[str, ...] | None = None

    @classmethod
    def create(
        cls,
        path: Path,
        config: Config,
        model: LipConvNet,
        classes: tuple[str, ...] | None = None,
    ) -> RunFolder:
        """Makes the folder, or opens it if the same run was started there.

        Runs are the same if all settings are, except the location of the data.

        Raises:
          UserError: if the path holds anything else.
        """
        there, _ = agreed((path / SETTINGS).exists(), 0)
        if there:
            folder = cls.open(path)
            folder._check_same(config, model)
            return folder
        if is_host0():
            if path.exists() and not is_empty(path):
                raise UserError(f"{path} exists and is not a run: choose another --run")
            path.mkdir(parents=True, exist_ok=True)
            settings = {"config": dataclasses.asdict(config), "model": to_json(model)}
            settings |= {"classes": classes, "jax": jax.__version__}
            write_json(path / SETTINGS, settings)
        return cls(path, config, model, classes)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Reads the folder of a run.

        Raises:
          UserError: if it is not the folder of a run.
        """
        try:
            settings = json.loads((path / SETTINGS).read_text())
            config, model = Config(**settings["config"]), from_json(settings["model"])
            classes = settings.get("classes")
            return cls(path, config, model, classes and tuple(map(str, classes)))
        except FileNotFoundError:
            raise UserError(f"{path} is not a run: it has no {SETTINGS}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is damaged or not a run: {error}") from error

    def _check_same(self, config: Config, model: LipConvNet) -> None:
        mine, others = without_location(self.config), without_location(config)
        differ = [f"--{name}={value}" for name, value in mine.items() - others.items()]
        if differ or to_json(self.model) != to_json(model):
            raise UserError(
                f"{self.path} exists, with other settings"
                f"{': ' * bool(differ)}{' '.join(sorted(differ))}: choose another "
                f"--run, or continue it with --resume={self.path}"
            )

    def class_name(self, label: int) -> str:
        """The name of a class, or its number."""
        return self.classes[label] if self.classes else f"class {label}"

    def checkpoints(self, keep: int = 3) -> Checkpoints:
        """The checkpoints of the run; the last `keep` of them stay."""
        folder = self.path.absolute() / "checkpoints"
        return Checkpoints(folder, self.config, self.model, keep)

    def load_data(
        self, data: str | None = None, data_dir: str | None = None
    ) -> Dataset:
        """Loads the data set of the settings; `data` and `data_dir` replace its place.

        Raises:
          UserError: if it cannot be loaded, or does not fit the network.
        """
        found = load(
            data or self.config.data,
            data_dir=data_dir or self.config.data_dir,
            validation=self.config.validation,
        )
        check_fits(self.model, found)
        return found


def without_location(config: Config) -> dict[str, Any]:
    """The settings without the location of the data."""
    kind = config.data.partition(":")[0]
    return dataclasses.asdict(dataclasses.replace(config, data=kind, data_dir=None))
