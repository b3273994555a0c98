"""Writes one file of packed images."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from ..common.errors import UserError
from .dataset import histogram, pixel_sums
from .folder import check_decoded, size_text
from .image_files import Name
from .packing_plan import PackingPlan, Shard, pixels
from .record_files import OPTIONS

_CHUNK = 256  # images that are decoded before any of them is written


def pack_shard(
    plan: PackingPlan, shard: Shard, out: Path, progress: Callable[[int], object]
) -> dict[str, Any]:
    """Writes one file under a temporary name, then renames it.

    Args:
      plan: the plan.
      shard: the images of the file.
      out: the folder of the file.
      progress: called with the number of images since the last call.

    Returns:
      A JSON object: the file's "records" and "bytes", the "stamp" of its images and,
      for each channel, the "sums" of their pixels.

    Raises:
      UserError: if images do not decode, or are of another size than the plan's.
      OSError: if the file cannot be written.
    """
    part = out / f".{shard.filename}.{uuid.uuid4().hex[:8]}.part"  # of this call alone
    stamp = shard.stamp()
    try:
        counts = _write(plan, shard, part, progress)
        made = {"records": len(shard.names), "bytes": part.stat().st_size}
        part.replace(out / shard.filename)
    finally:
        part.unlink(missing_ok=True)
    return made | {"stamp": stamp, "sums": pixel_sums(counts)}


def _write(plan: PackingPlan, shard: Shard, part: Path, progress) -> np.ndarray:
    """Writes the images that decode, then refuses if there are others."""
    counts, broken = np.zeros((3, 256), np.int64), []
    writer = _Writer(part)
    try:
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(shard.names), _CHUNK):
                names = shard.names[start : start + _CHUNK]
                load = functools.partial(pixels, plan.images, plan.side)
                found = dict(zip(names, pool.map(load, names), strict=True))
                broken += [name for name, image in found.items() if image is None]
                images = {n: image for n, image in found.items() if image is not None}
                _check_sizes(plan, images)
                counts += _append(writer, list(images.values()))
                progress(len(names))
        check_decoded(plan.images, broken)
    finally:
        writer.close()
    return counts


def _append(writer: _Writer, images: list[np.ndarray]) -> np.ndarray | int:
    for image in images:
        writer.write(image.tobytes())
    return histogram(np.stack(images)) if images else 0


class _Writer:
    """An array_record file that raises OSError where array_record does not."""

    def __init__(self, path: Path) -> None:
        self._writer = self._tried(lambda: ArrayRecordWriter(str(path), OPTIONS))

    def write(self, record: bytes) -> None:
        self._tried(lambda: self._writer.write(record))

    def close(self) -> None:
        if self._writer.is_open():
            self._tried(self._writer.close)

    @staticmethod
    def _tried(action: Callable[[], Any]) -> Any:
        try:
            return action()
        except RuntimeError as error:
            raise OSError(str(error).split(";")[0]) from error


def _check_sizes(plan: PackingPlan, images: dict[Name, np.ndarray]) -> None:
    height, width, _ = plan.image_shape
    for name, image in images.items():
        if image.shape != plan.image_shape:
            raise UserError(
                f"{plan.images}: {'/'.join(name)} is {size_text(image)}, but the first "
                f"image is {width}x{height} pixels: pass --side=PIXELS to resize them"
            )
