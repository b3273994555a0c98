"""How a folder's images are cut into files, and how one file is written."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image, ImageOps

from ..errors import UserError
from .dataset import SPLITS, histogram, pixel_sums
from .decode import decode
from .folder import check_decoded, class_names, rgb, size_text
from .shards import OPTIONS, Info, shard_name
from .tree import Name, paths

_SHARD_BYTES = 1 << 29
_CHUNK = 256  # images that are decoded before any of them is written


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is packed and how; nothing of it may change before all is done.

    Attributes:
      images: the folder.
      side: to resize to; None: no resizing.
      image_shape: height, width, 3 of the packed images.
      shard_images: images a file.
      class_names: name of each label.
      class_counts: for each split, its number of images of each class.
      names: sha256 of the names of all images.
    """

    images: Path
    side: int | None
    image_shape: tuple[int, int, int]
    shard_images: int
    class_names: list[str]
    class_counts: dict[str, list[int]]
    names: str

    def to_json(self) -> dict[str, Any]:
        """What must be equal when packing goes on, wherever the images lie by then."""
        kept = ("side", "shard_images", "names")
        values: dict[str, Any] = {name: getattr(self, name) for name in kept}
        return {"image_shape": list(self.image_shape)} | values

    def info(self, shards: list[Shard], done: list[dict[str, Any]]) -> Info:
        """What to write when all shards are done."""
        sizes: dict[str, list[list[int]]] = {split: [] for split in SPLITS}
        counts = np.zeros((3, 256), np.int64)
        for shard, made in zip(shards, done, strict=True):
            sizes[shard.split].append([made["records"], made["bytes"]])
            if shard.split == "train":
                counts += np.array(made["histogram"])
        return Info(
            self.image_shape,
            tuple(self.class_names),
            self.class_counts,
            sizes,
            pixel_sums(counts),
            self.to_json(),
        )


@dataclasses.dataclass(frozen=True)
class Shard:
    """The images of one file."""

    images: Path
    filename: str
    names: list[Name]

    @property
    def split(self) -> str:
        """What the images are for."""
        return self.names[0][0]

    def stamp(self) -> str:
        """Changes when one of the images does: sha256 of their sizes and times."""
        digest = hashlib.sha256()
        for name in self.names:
            status = _path(self.images, name).stat()
            digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()


def make_plan(
    images: Path, side: int | None, shard_images: int | None
) -> tuple[Plan, list[Shard]]:
    """Lists a folder of images, training images first, and cuts it into shards.

    Raises:
      UserError: if it cannot be read, or the classes do not agree.
    """
    names, classes = _listed(images)
    shape = (side, side, 3) if side else _shape(images, names[0])
    size = shard_images or max(1, _SHARD_BYTES // math.prod(shape))
    of_split = {s: [name for name in names if name[0] == s] for s in SPLITS}
    counts = {split: _counts(of_split[split], classes) for split in SPLITS}
    plan = Plan(images, side, shape, size, classes, counts, _digest(names))
    return plan, [s for split in SPLITS for s in _cut(images, of_split[split], size)]


def _listed(images: Path) -> tuple[list[Name], list[str]]:
    """Names of all images, and of the classes."""
    if images.is_file():
        raise UserError(f"{images} is not a folder: if it is an archive, unpack it")
    if not images.exists():
        raise UserError(f"{images} does not exist")
    found = paths(images)
    names = [name for name, path in found.items() if path]
    names.sort(key=lambda name: (SPLITS.index(name[0]), name))
    return names, class_names(images, names, {name[:2] for name in found})


def _shape(images: Path, name: Name) -> tuple[int, int, int]:
    image = _pixels(images, None, name)
    if image is None:
        check_decoded(images, [name])
        raise AssertionError
    height, width, channels = image.shape
    return height, width, channels


def _counts(names: list[Name], classes: list[str]) -> list[int]:
    numbers = {name: number for number, name in enumerate(classes)}
    labels = [numbers[name[1]] for name in names]
    return np.bincount(labels, minlength=len(classes)).tolist()


def _digest(names: Iterable[Name]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update("/".join(name).encode(errors="surrogateescape") + b"\0")
    return digest.hexdigest()


def _cut(images: Path, names: list[Name], size: int) -> Iterator[Shard]:
    shards = -(-len(names) // size)
    for i in range(shards):
        part = names[i * size : (i + 1) * size]
        yield Shard(images, shard_name(part[0][0], i, shards), part)


def pack_shard(
    plan: Plan, shard: Shard, out: Path, progress: Callable[[int], object]
) -> dict[str, Any]:
    """Writes one file under a temporary name, then renames it.

    Args:
      plan: the plan.
      shard: which file.
      out: the folder it is to be in.
      progress: told how many more images are done.

    Returns:
      Its "records", "bytes", the "stamp" of its images and the "histogram" of their
      bytes per channel, [3, 256].

    Raises:
      UserError: if images do not decode, or are of another size than the plan's.
      OSError: if the file cannot be written.
    """
    part = out / f".{shard.filename}.part"
    stamp = shard.stamp()
    try:
        counts = _write(plan, shard, part, progress)
        made = {"records": len(shard.names), "bytes": part.stat().st_size}
        part.replace(out / shard.filename)
    finally:
        part.unlink(missing_ok=True)
    return made | {"stamp": stamp, "histogram": counts.tolist()}


def _write(plan: Plan, shard: Shard, part: Path, progress) -> np.ndarray:
    """Writes the images that decode, and then complains of the others."""
    counts, broken = np.zeros((3, 256), np.int64), []
    writer = _Writer(part)
    try:
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(shard.names), _CHUNK):
                names = shard.names[start : start + _CHUNK]
                load = functools.partial(_pixels, plan.images, plan.side)
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
    """An array_record file; what goes wrong with it is an OSError."""

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


def _pixels(images: Path, side: int | None, name: Name) -> np.ndarray | None:
    """An image uint8 [H, W, 3], of this side if it is given; None if it is broken."""
    try:
        image = decode(_path(images, name).read_bytes())
    except OSError as error:
        raise UserError(f"{images} cannot be read: {error}") from error
    if image is None or side is None:
        return None if image is None else rgb(image)
    square = ImageOps.fit(
        Image.fromarray(image), (side, side), Image.Resampling.LANCZOS
    )
    return rgb(np.asarray(square))


def _path(images: Path, name: Name) -> Path:
    return images.joinpath(*name)


def _check_sizes(plan: Plan, images: dict[Name, np.ndarray]) -> None:
    height, width, _ = plan.image_shape
    for name, image in images.items():
        if image.shape != plan.image_shape:
            raise UserError(
                f"{plan.images}: {'/'.join(name)} is {size_text(image)}, but the first "
                f"image is {width}x{height} pixels: give --side=PIXELS to resize them"
            )
