"""A run's checkpoints, written in the background by Orbax."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax
import orbax.checkpoint as ocp
from jax.sharding import Mesh
from orbax.checkpoint.checkpoint_managers import LatestN

from lipjax import LipConvNet

from ..common.errors import UserError
from ..configs import Config
from ..parallel.mesh import make_mesh
from ..parallel.processes import abort, agreed, lost_a_process
from .state import Metrics, TrainState, abstract_metrics, abstract_state

_READING = ocp.CheckpointManagerOptions(
    read_only=True, save_interval_steps=0, create=False
)


class Checkpoint(NamedTuple):
    """All that a run needs to continue.

    Attributes:
      state: the training state.
      metrics: sums over the images of the epoch so far.
      input: determines, with the step, which images come next; see `Trainer.input`.
      epoch: number of completed epochs.
      seconds: duration of the epoch so far.
    """

    state: TrainState
    metrics: Metrics
    input: dict[str, int]
    epoch: int
    seconds: float = 0.0


class Checkpoints:
    """The checkpoints "last" (a few) and "best" (one) of a run, named by their step.

    Checkpoints are renamed once complete. Older ones are deleted afterwards.

    Args:
      folder: absolute path of the folder that holds `last` and `best`.
      config: the run's settings.
      model: its network.
      keep: how many checkpoints `last` holds.
    """

    def __init__(
        self, folder: Path, config: Config, model: LipConvNet, keep: int
    ) -> None:
        self._folder, self._config, self._model = folder, config, model
        self._keep = keep
        self._managers: dict[str, ocp.CheckpointManager] = {}

    def save(self, name: str, checkpoint: Checkpoint) -> None:
        """Starts to save a checkpoint, unless there is one of the same step.

        Args:
          name: "last" or "best".
          checkpoint: its arrays may be donated to the next step.

        Raises:
          UserError: if this checkpoint or the previous one cannot be written; older
            ones are kept.
        """
        step = int(checkpoint.state.step)
        with self._explained(name):
            manager = self._manager(name)
            for each in self._managers.values():  # one save at a time on all hosts
                each.wait_until_finished()
        exists, _ = agreed(step in manager.all_steps(), 0)
        if exists:
            return
        with self._explained(name):
            fields = checkpoint._asdict()
            tree = {name: fields.pop(name) for name in ("state", "metrics")}
            arrays = ocp.args.StandardSave(tree)
            manager.save(step, args=arrays, custom_metadata=fields)

    def restore(self, name: str, mesh: Mesh | None = None) -> Checkpoint:
        """Restores the latest checkpoint `name`.

        Args:
          name: "last" or "best".
          mesh: the devices to restore to; they may differ from those that saved it.
            None: all devices share the batches.

        Raises:
          UserError: if there is none, or it is damaged or of another network.
        """
        step = self.latest(name)
        if step is None:
            raise UserError(f"{self._folder / name} has no checkpoint")
        mesh = mesh or make_mesh()
        state = abstract_state(self._config, self._model, mesh)
        try:
            with _manager(self._folder / name, _READING) as manager:
                # Orbax's own check leaves reads behind that fail later, with a trace.
                saved: Any = manager.item_metadata(step)
                if _shapes(saved.tree["state"]["params"]) != _shapes(state.params):
                    raise ValueError("its parameters have other names or shapes")
                # Runs from before version 0.2 call the metrics "totals".
                metrics = "metrics" if "metrics" in saved.tree else "totals"
                like = {"state": state, metrics: abstract_metrics(mesh)}
                found = manager.restore(step, args=ocp.args.StandardRestore(like))
                progress = manager.metadata(step).custom_metadata
            return Checkpoint(found["state"], found[metrics], **progress)
        except Exception as error:
            if lost_a_process(error):
                raise
            raise UserError(
                f"the checkpoint {self._folder / name / str(step)} is damaged or "
                f"of another network: {_first_line(error)}"
            ) from error

    def latest(self, name: str) -> int | None:
        """The step of the latest checkpoint that host 0 sees; None if there is none.

        All hosts must call this: a network file system may show some an older state.
        """
        step, _ = agreed(max(self.steps(name), default=-1), 0)
        return None if step < 0 else step

    def steps(self, name: str) -> list[int]:
        """Steps of the complete checkpoints, oldest first."""
        folder = self._folder / name
        if not folder.is_dir():
            return []
        return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())

    def close(self) -> None:
        """Waits until all checkpoints are written.

        Raises:
          UserError: if one cannot be written; older ones are kept.
        """
        for name, manager in self._managers.items():
            with self._explained(name):
                manager.close()
        self._managers = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Closes, unless one of several hosts failed: the others may wait for it."""
        if kind is None or jax.process_count() == 1:
            self.close()

    def _manager(self, name: str) -> ocp.CheckpointManager:
        if name not in self._managers:
            options = ocp.CheckpointManagerOptions(
                preservation_policy=LatestN(self._keep if name == "last" else 1),
                cleanup_tmp_directories=True,  # of a run that was killed in a save
            )
            explain = functools.partial(self._not_written, name)
            self._managers[name] = _manager(self._folder / name, options, explain)
        return self._managers[name]

    @contextlib.contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        """Turns an error of writing into one line."""
        try:
            yield
        except Exception as error:
            if lost_a_process(error):
                raise
            raise self._not_written(name, error) from error

    def _not_written(self, name: str, error: Exception) -> UserError:
        steps = self.steps(name)
        kept = f"the one of step {steps[-1]} is kept" if steps else "there is none"
        return UserError(
            f"a checkpoint could not be written to {self._folder / name}: "
            f"{_first_line(error)}; {kept}"
        )


def _manager(
    folder: Path,
    options: ocp.CheckpointManagerOptions,
    explain: Callable[[Exception], Exception] | None = None,
) -> ocp.CheckpointManager:
    handler = ocp.StandardCheckpointHandler()
    if explain and jax.process_count() > 1:
        handler = _AbortingHandler(explain)
    registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
    for args in (ocp.args.StandardSave, ocp.args.StandardRestore):
        registry.add("default", args, handler)
    return ocp.CheckpointManager(folder, options=options, handler_registry=registry)


class _AbortingHandler(ocp.StandardCheckpointHandler):
    """Ends this process, one of several, as soon as it cannot write its part.

    Orbax would keep the error until a barrier that the hosts then never pass.
    """

    def __init__(self, explain: Callable[[Exception], Exception]) -> None:
        super().__init__()
        self._explain = explain

    async def async_save(self, *args: Any, **settings: Any) -> Any:
        futures = await super().async_save(*args, **settings)
        return [_AbortingFuture(future, self._explain) for future in futures or ()]


@dataclasses.dataclass(frozen=True)  # not a tuple, whose parts Orbax would flatten
class _AbortingFuture:
    """A part of a save, whose failure ends the process."""

    future: Any
    explain: Callable[[Exception], Exception]

    def result(self, timeout: float | None = None) -> Any:
        """Waits until the part is written."""
        try:
            return self.future.result(timeout)
        except Exception as error:
            abort(str(self.explain(error)))

    def cancel(self) -> bool | None:
        """Cancels the part."""
        return self.future.cancel()


def _shapes(params: Any) -> Any:
    return jax.tree.map(lambda leaf: tuple(leaf.shape), params)


def _first_line(error: Exception) -> str:
    if "No space left" in str(error):
        return "No space left on the disk"
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
