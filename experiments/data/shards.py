"""Packed images: array_record files of raw pixels, and the info.json beside them.

A split is SPLIT-00000-of-000NN.array_record and so on. A record is the bytes of one
image, uint8 [H, W, 3]; records are in the order of the classes, so that the number of
images of each class, in info.json, is all there is to know about labels. info.json is
written last: a folder that has one is complete.

Why raw pixels, in chunks of one image under zstd: reading must keep up with training.
One core of this project's CPU reads 29,000 images of 64x64 and 3,500 of 224x224 in a
second, at random; the same images as PNG decode at 6,300 and 750, as JPEG at 8,700 and
2,300, and JPEG loses something. The price is the disk: on photographs 8.6 and 100 kB
an image where PNG takes 6.1 and 67, JPEG (quality 75) 2.2 and 17. ImageNet's 1.28
million training images take 11 GB at 64x64, 130 GB at 224x224.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import threading
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from ..common.errors import UserError
from .dataset import SPLITS, Sums

INFO = "info.json"
OPTIONS = "group_size:1,zstd:1"
_FORMAT = {"format": "lipjax records", "version": 1}
_AT_RANDOM = "readahead_buffer_size:0,max_parallelism:0"
_BUFFER = 1 << 15


@dataclasses.dataclass(frozen=True)
class Info:
    """What info.json says.

    Attributes:
      image_shape: height, width, 3.
      class_names: name of each label.
      class_counts: for each split, its number of images of each class.
      shards: for each split, the records and the bytes of each of its files.
      sums: of the pixels of the training images, for each channel.
      plan: how the images were packed.
    """

    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    class_counts: dict[str, list[int]]
    shards: dict[str, list[list[int]]]
    sums: tuple[Sums, ...]
    plan: dict[str, Any]

    def labels(self, split: str) -> np.ndarray:
        """Labels of a split's images, int32 [N]."""
        classes = np.arange(len(self.class_names), dtype=np.int32)
        return np.repeat(classes, self.class_counts[split])


def shard_name(split: str, number: int, shards: int) -> str:
    """Name of a split's file.

    Example:
      >>> shard_name("train", 2, 30)
      'train-00002-of-00030.array_record'
    """
    return f"{split}-{number:05}-of-{shards:05}.array_record"


def to_json(info: Info) -> dict[str, Any]:
    """What `read_info` reads."""
    return _FORMAT | dataclasses.asdict(info)


def read_info(folder: pathlib.Path) -> Info:
    """Reads the info.json of packed images.

    Raises:
      UserError: if the folder is not there, not complete, or info.json is damaged.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist")
    path = folder / INFO
    if not path.exists():
        raise UserError(
            f"{folder} has no {INFO}, so its images are not (all) packed: run "
            f"python -m experiments.pack --images=PATH --out={folder}"
        )
    try:
        return _from_json(json.loads(path.read_bytes()))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged, or of another version: pack the images again"
        ) from error


def _from_json(values: dict[str, Any]) -> Info:
    if any(values[name] != due for name, due in _FORMAT.items()):
        raise ValueError
    height, width, channels = map(int, values["image_shape"])
    info = Info(
        image_shape=(height, width, channels),
        class_names=tuple(map(str, values["class_names"])),
        class_counts={s: list(map(int, values["class_counts"][s])) for s in SPLITS},
        shards={s: [[int(n), int(b)] for n, b in values["shards"][s]] for s in SPLITS},
        sums=tuple((int(n), int(a), int(b)) for n, a, b in values["sums"]),
        plan=dict(values["plan"]),
    )
    for split in SPLITS:
        records = sum(records for records, _ in info.shards[split])
        if len(info.labels(split)) != records or not records:
            raise ValueError
    if len(info.sums) != channels:
        raise ValueError
    return info


class Shards:
    """The records of a split's files, by number; threads may read at once.

    Args:
      folder: where the files lie.
      split: "train" or "test".
      info: of the folder.

    Raises:
      UserError: if a file is missing, or of another size than it was made with.
    """

    def __init__(self, folder: pathlib.Path, split: str, info: Info) -> None:
        shards = info.shards[split]
        names = [shard_name(split, i, len(shards)) for i in range(len(shards))]
        self._paths = [folder / name for name in names]
        for path, (_, size) in zip(self._paths, shards, strict=True):
            _check_file(path, size)
        self._starts = np.cumsum([0, *(records for records, _ in shards)])
        self._readers: dict[int, ArrayRecordReader] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, rows: np.ndarray) -> list[bytes]:
        """The records with these numbers, in this order.

        Raises:
          UserError: if one cannot be read.
        """
        records = [b""] * len(rows)
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        for shard in np.unique(shards):
            places = np.flatnonzero(shards == shard)
            local = (rows[places] - self._starts[shard]).tolist()
            found = self._read(int(shard), local)
            for place, record in zip(places, found, strict=True):
                records[place] = record
        return records

    def _read(self, shard: int, rows: list[int]) -> list[bytes]:
        try:
            return self._reader(shard).read(rows)
        except (RuntimeError, IndexError, ValueError) as error:
            raise damaged(self._paths[shard]) from error

    def _reader(self, shard: int) -> ArrayRecordReader:
        with self._lock:
            if shard not in self._readers:
                self._readers[shard] = ArrayRecordReader(
                    str(self._paths[shard]),
                    options=_AT_RANDOM,
                    file_reader_buffer_size=_BUFFER,
                )
            return self._readers[shard]


def _check_file(path: pathlib.Path, size: int) -> None:
    if not path.exists():
        raise UserError(f"{path} is missing: pack the images again, or copy it again")
    if (found := path.stat().st_size) != size:
        raise UserError(
            f"{path} has {found} bytes instead of {size}, it is cut short or another "
            "file: pack the images again, or copy it again"
        )


def damaged(path: pathlib.Path) -> UserError:
    """What is raised where a record of the file cannot be read."""
    return UserError(f"{path} is damaged: pack the images again, or copy it again")
