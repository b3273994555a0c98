"""Images packed by `experiments.pack`, read from the disk when they are indexed."""

from __future__ import annotations

import math
import pathlib
from typing import Any

import numpy as np

from ..common.errors import UserError
from .dataset import SPLITS, Dataset, Split
from .record_files import RecordFiles, read_info


class RecordImages:
    """Images on the disk, indexed like an array uint8 [N, H, W, C].

    An index along the first axis (a number, a slice or an array) reads these images
    and returns an array; `np.asarray` reads all of them. Threads may read concurrently.

    Args:
      files: the records.
      rows: the record of each image, int64 [N].
      image_shape: height, width and channels of every image.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self, files: RecordFiles, rows: np.ndarray, image_shape: tuple[int, int, int]
    ) -> None:
        self._files = files
        self._rows = rows
        self._image_shape = image_shape

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """N, height, width and channels."""
        return len(self._rows), *self._image_shape

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels, which are not in memory."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> np.ndarray:
        rows = np.asarray(self._rows[index])
        records = self._files.read(rows.ravel())
        pixels = np.frombuffer(bytearray().join(records), np.uint8)
        if pixels.size != rows.size * math.prod(self._image_shape):
            raise UserError("records are not of the images' size: pack them again")
        return pixels.reshape(*rows.shape, *self._image_shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def take(self, rows: np.ndarray, axis: int = 0) -> RecordImages:
        """The images with these numbers, as NumPy's `take`; reads none of them."""
        return RecordImages(self._files, self._rows[rows], self._image_shape)


def load_records(where: str) -> Dataset:
    """Opens images that `python -m experiments.pack` wrote; reads none of them.

    Args:
      where: the folder.

    Returns:
      The data set, its images `RecordImages`, in the order of the class names.

    Raises:
      UserError: if the folder is incomplete, or a file has another size than it had.
    """
    folder = pathlib.Path(where).expanduser()
    info = read_info(folder)

    def opened(split: str) -> Split:
        files = RecordFiles(folder, split, info)
        images = RecordImages(files, np.arange(len(files)), info.image_shape)
        return Split(images, info.labels(split))

    train, test = (opened(split) for split in SPLITS)
    return Dataset(
        f"records:{where}",
        train,
        train.spread(0),
        test,
        info.class_names,
        crop_padding=min(info.image_shape[:2]) // 8,
        sums=info.sums,
    )
