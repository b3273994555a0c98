"""Plans a packing: lists a folder's images and assigns them to files."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ..common.errors import UserError
from .dataset import SPLITS, PixelSums
from .decode import decode
from .folder import check_decoded, class_names, rgb
from .image_files import Name, list_files
from .record_files import RecordsInfo, shard_name

_SHARD_BYTES = 1 << 29


@dataclasses.dataclass(frozen=True)
class PackingPlan:
    """The settings of a packing and its images; they must not change until it ends.

    Attributes:
      images: the folder.
      side: pixels a side after resizing; None: no resizing.
      image_shape: height, width, 3 of the packed images.
      shard_images: images per file.
      class_names: name of each label.
      class_counts: number of images of each class, for each split.
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
        """The settings that must not change; the folder may be moved."""
        return {
            "side": self.side,
            "image_shape": list(self.image_shape),
            "shard_images": self.shard_images,
            "names": self.names,
        }

    def info(self, shards: list[Shard], done: list[dict[str, Any]]) -> RecordsInfo:
        """The contents of info.json, once all shards are done."""
        sizes: dict[str, list[list[int]]] = {split: [] for split in SPLITS}
        for shard, made in zip(shards, done, strict=True):
            sizes[shard.split].append([made["records"], made["bytes"]])
        train = [made["sums"] for made in done[: len(sizes["train"])]]
        return RecordsInfo(
            self.image_shape,
            tuple(self.class_names),
            self.class_counts,
            sizes,
            tuple(_added(channel) for channel in zip(*train, strict=True)),
            self.to_json(),
        )


def _added(parts: Iterable[PixelSums]) -> PixelSums:
    count, first, second = (sum(numbers) for numbers in zip(*parts, strict=True))
    return count, first, second


@dataclasses.dataclass(frozen=True)
class Shard:
    """The images of one file."""

    images: Path
    filename: str
    names: list[Name]

    @property
    def split(self) -> str:
        """The split that the images are of."""
        return self.names[0][0]

    def stamp(self) -> str:
        """The sha256 of the images' sizes and times: it changes if an image does.

        Raises:
          UserError: if an image cannot be read.
        """
        digest = hashlib.sha256()
        try:
            for name in self.names:
                status = self.images.joinpath(*name).stat()
                digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
        except OSError as error:
            raise _unreadable(self.images, error) from error
        return digest.hexdigest()


def make_plan(
    images: Path, side: int | None, shard_images: int | None
) -> tuple[PackingPlan, list[Shard]]:
    """Lists a folder of images, training images first, and divides it into shards.

    Raises:
      UserError: if it cannot be read, or the classes do not agree.
    """
    names, classes = _listed(images)
    shape = (side, side, 3) if side else _shape(images, names[0])
    size = shard_images or max(1, _SHARD_BYTES // math.prod(shape))
    of_split = {s: [name for name in names if name[0] == s] for s in SPLITS}
    counts = {split: _counts(of_split[split], classes) for split in SPLITS}
    plan = PackingPlan(images, side, shape, size, classes, counts, _digest(names))
    return plan, [s for split in SPLITS for s in _cut(images, of_split[split], size)]


def _listed(images: Path) -> tuple[list[Name], list[str]]:
    """Names of all images, and of the classes."""
    if images.is_file():
        raise UserError(f"{images} is not a folder: if it is an archive, unpack it")
    if not images.exists():
        raise UserError(f"{images} does not exist")
    found = list_files(images)
    names = [name for name in found if len(name) == 3]
    names.sort(key=lambda name: (SPLITS.index(name[0]), name))
    return names, class_names(images, names, {name[:2] for name in found})


def _shape(images: Path, name: Name) -> tuple[int, int, int]:
    image = pixels(images, None, name)
    check_decoded(images, [name] if image is None else [])
    assert image is not None
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


def pixels(images: Path, side: int | None, name: Name) -> np.ndarray | None:
    """Reads one image, and resizes it.

    Args:
      images: the folder.
      side: pixels a side to which the largest square in the middle is resized; None:
        the whole image, unchanged.
      name: the image in the folder.

    Returns:
      uint8 [H, W, 3]; None if it does not decode.

    Raises:
      UserError: if the file cannot be read.
    """
    try:
        image = decode(images.joinpath(*name).read_bytes())
    except OSError as error:
        raise _unreadable(images, error) from error
    if image is None or side is None:
        return None if image is None else rgb(image)
    square = ImageOps.fit(
        Image.fromarray(image), (side, side), Image.Resampling.LANCZOS
    )
    return rgb(np.asarray(square))


def _unreadable(images: Path, error: OSError) -> UserError:
    return UserError(f"{images} cannot be read: {error}")
