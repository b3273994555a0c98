"""Packed images: array_record files of raw pixels, and the info.json beside them.

The files of a split are SPLIT-00000-of-000NN.array_record and so on. A record is the
bytes of one image, uint8 [H, W, 3]. Records are in the order of the classes, so the
number of images of each class, in info.json, gives the labels. info.json is written
last: a folder that has one is complete.

Records are raw pixels, each compressed by zstd, because reading must keep up with
training. Measured on one CPU core, at random, and on photographs:

    format              images/s             kB per image
                    64x64   224x224        64x64   224x224
    raw, zstd      29,000     3,500          8.6       100
    PNG             6,300       750          6.1        67
    JPEG (75)       8,700     2,300          2.2        17    with loss

The 1.28 million training images of ImageNet take 11 GB at 64x64, 130 GB at 224x224.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import threading
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from ..common.commands import command
from ..common.errors import UserError
from .dataset import SPLITS, PixelSums

INFO = "info.json"
OPTIONS = "group_size:1,zstd:1"
_FORMAT = {"format": "lipjax records", "version": 1}
_AT_RANDOM = "readahead_buffer_size:0,max_parallelism:0"
_BUFFER = 1 << 15


@dataclasses.dataclass(frozen=True)
class RecordsInfo:
    """The contents of info.json.

    Attributes:
      image_shape: height, width, 3.
      class_names: name of each label.
      class_counts: number of images of each class, for each split.
      shards: number of records and bytes of each file, for each split.
      sums: sums over the training pixels, for each channel.
      plan: the settings with which the images were packed.
    """

    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    class_counts: dict[str, list[int]]
    shards: dict[str, list[list[int]]]
    sums: tuple[PixelSums, ...]
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


def to_json(info: RecordsInfo) -> dict[str, Any]:
    """The JSON object that `read_info` reads."""
    return _FORMAT | dataclasses.asdict(info)


def read_info(folder: pathlib.Path) -> RecordsInfo:
    """Reads the info.json of packed images.

    Raises:
      UserError: if the folder is missing or incomplete, or info.json is damaged.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist")
    path = folder / INFO
    if not path.exists():
        raise UserError(
            f"{folder} has no {INFO}, so its images are not (all) packed: run "
            f"{command('pack')} --images=PATH --out={folder}"
        )
    try:
        return _from_json(json.loads(path.read_bytes()))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged, or of another version: pack the images again"
        ) from error


def _from_json(values: dict[str, Any]) -> RecordsInfo:
    if any(values[name] != due for name, due in _FORMAT.items()):
        raise ValueError
    height, width, channels = map(int, values["image_shape"])
    info = RecordsInfo(
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


class RecordFiles:
    """The records of a split's files, by number; threads may read concurrently.

    Args:
      folder: the folder of the files.
      split: "train" or "test".
      info: the contents of its info.json.

    Raises:
      UserError: if a file is missing, or its size is not the one in `info`.
    """

    def __init__(self, folder: pathlib.Path, split: str, info: RecordsInfo) -> None:
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
    """The error for a record of the file that cannot be read."""
    return UserError(f"{path} is damaged: pack the images again, or copy it again")
