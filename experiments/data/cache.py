"""A cache of decoded images, so that the next program starts quickly."""

from __future__ import annotations

import hashlib
import os
import pathlib
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]

_VERSION = 1  # increase it when decoding changes


def cached(
    name: str,
    source: os.PathLike[str],
    data_dir: str | None,
    build: Callable[[], Arrays],
) -> Arrays:
    """The arrays that `build` makes of the file `source`, from the cache if unchanged.

    A file has one entry, valid for its size and modification time. A damaged entry is
    built again. An entry that cannot be written is not an error.

    Args:
      name: the beginning of the entry's name.
      source: the file that the arrays are made of.
      data_dir: the entry is in data_dir/lipjax; None: in the user's cache folder.
      build: makes the arrays; none may be named "stamp".
    """
    status = os.stat(source)
    stamp = np.array([_VERSION, status.st_size, status.st_mtime_ns], np.int64)
    default = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = pathlib.Path(data_dir or default).expanduser() / "lipjax"
    key = hashlib.sha256(os.fsencode(os.path.realpath(source))).hexdigest()[:16]
    entry = folder / f"{name}-{key}.npz"
    arrays = _load(entry, stamp)
    if arrays is None:
        arrays = build()
        _save(entry, arrays | {"stamp": stamp})
    return arrays


def _load(entry: pathlib.Path, stamp: np.ndarray) -> Arrays | None:
    try:
        with entry.open("rb") as file, np.load(file) as arrays:
            if np.array_equal(arrays["stamp"], stamp):
                return {name: arrays[name] for name in arrays if name != "stamp"}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        pass
    return None


def _save(entry: pathlib.Path, arrays: dict[str, Any]) -> None:
    """Writes to a temporary name, then renames."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=entry.parent, delete=False) as file:
            part = pathlib.Path(file.name)
            try:
                np.savez(file, **arrays)
                file.close()
                part.replace(entry)
            finally:
                part.unlink(missing_ok=True)
    except OSError:
        pass
