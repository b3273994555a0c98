"""The folder of a table, and whose it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..common.errors import UserError

RESULTS = "results.json"


def opened(out: Path, settings: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Makes or opens the folder of a table.

    Args:
      out: the folder of all tables of a size.
      settings: "table", "size", "data" and "certify_images" of the table.

    Returns:
      The folder of the table, and its results so far; {} if there are none.

    Raises:
      UserError: if the folder is of something else.
    """
    if (out / RESULTS).exists():
        raise UserError(f"--out={out} is the folder of one table: name its parent")
    path = out / settings["table"]
    path.mkdir(parents=True, exist_ok=True)
    if not (path / RESULTS).exists():
        return path, {}
    results = _read(path / RESULTS)
    for name, value in settings.items():
        if _kind(results.get(name)) != _kind(value):
            raise UserError(
                f"{path} has results with --{name}={results.get(name)}, not {value}: "
                "name another --out"
            )
    return path, results


def _read(path: Path) -> dict[str, Any]:
    try:
        results = json.loads(path.read_text())
        return {**results, "runs": list(results["runs"])}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged or not a table's: {error!r}") from error


def _kind(value: Any) -> Any:
    """A setting without a location: a folder of images may move."""
    return value.partition(":")[0] if isinstance(value, str) else value
