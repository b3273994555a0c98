"""How checkpoints are written: in the background, and by all hosts or none."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from ..parallel.processes import abort

READING = ocp.CheckpointManagerOptions(
    read_only=True, save_interval_steps=0, create=False
)


def open_manager(
    folder: Path,
    options: ocp.CheckpointManagerOptions,
    fail: Callable[[Exception], Exception],
) -> ocp.CheckpointManager:
    """Orbax's manager of the checkpoints in a folder.

    Args:
      folder: an absolute path.
      options: Orbax's.
      fail: says, by the text of its exception, that a host of several cannot write.
    """
    handler = ocp.StandardCheckpointHandler()
    if jax.process_count() > 1:
        _hear(handler, fail)
    return ocp.CheckpointManager(folder, options=options, item_handlers=handler)


def _hear(handler: Any, fail: Callable[[Exception], Exception]) -> None:
    """Has a handler end this host at once if it cannot write, as `fail` says it.

    Orbax would keep the error until all hosts have met, which they then never do.
    """
    save = handler.async_save

    async def heard(*args: Any, **settings: Any) -> list[Any]:
        futures = await save(*args, **settings)
        return [_Heard(future, fail) for future in futures or ()]

    handler.async_save = heard


@dataclasses.dataclass(frozen=True)  # no tuple, whose parts Orbax would flatten
class _Heard:
    """A part of a save, whose failure ends the process."""

    future: Any
    fail: Callable[[Exception], Exception]

    def result(self, timeout: float | None = None) -> Any:
        """Waits until it is done."""
        try:
            return self.future.result(timeout)
        except Exception as error:
            abort(str(self.fail(error)))

    def cancel(self) -> bool | None:
        """Gives it up."""
        return self.future.cancel()
