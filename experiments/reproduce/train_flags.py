"""The flags of a cell's training run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ..configs import PRESETS, Config


def arguments(config: Config, preset: str, run: Path, start: Path | None) -> list[str]:
    """The flags of `experiments.train` for a config.

    Args:
      config: the settings of the run.
      preset: a preset; settings that it has need no flag.
      run: the folder of the run.
      start: the folder of the run from whose network it starts.

    Example:
      >>> config = PRESETS["digits"]()
      >>> changed = dataclasses.replace(config, width=4, augment=True)
      >>> arguments(changed, "digits", Path("runs/a"), None)
      ['--preset=digits', '--run=runs/a', '--width=4', '--augment=True']
    """
    before = dataclasses.asdict(PRESETS[preset]())
    changed = {
        name: value
        for name, value in dataclasses.asdict(config).items()
        if value != before[name]
    }
    flags = [f"--preset={preset}", f"--run={run}"]
    flags += [f"--init_from={start}"] if start else []
    return flags + [f"--{name}={value}" for name, value in changed.items()]
