"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name, then renames it."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:  # a full disk is not told by name
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes one JSON document."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Writes one JSON object a line."""
    write_bytes(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes rows that share their keys as comma-separated values with a header."""
    lines = [",".join(rows[0])] if rows else []
    lines += [",".join(str(value) for value in row.values()) for row in rows]
    write_bytes(path, "".join(line + "\n" for line in lines).encode())
