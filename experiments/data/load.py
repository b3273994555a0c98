"""Loads a data set by its name."""

from __future__ import annotations

import dataclasses

from ..common.errors import UserError
from .dataset import Dataset, hold_out

_CHOICES = "digits, cifar10, cifar100, folder:PATH, records:DIR"
_FOLDER, _RECORDS = "folder:", "records:"
_VALIDATION = {"digits": 180}  # others: 2 % of the training images


def load(
    name: str, *, data_dir: str | None = None, validation: int | None = None
) -> Dataset:
    """Reads a data set and holds a validation set out of its training images.

    Args:
      name: "digits", "cifar10", "cifar100", "folder:PATH" or "records:DIR".
      data_dir: folder of prepared data; None: the default of tensorflow-datasets, and
        the user's cache folder for "folder:ARCHIVE".
      validation: number of training images to hold out, the same share of every
        class; None: 180 of digits, else 2 % and at least one per class if possible.

    Returns:
      The data set; images are uint8 [N, H, W, C], labels int32 [N]. Those of
      "records:DIR" stay on the disk: see `records.RecordImages`.

    Raises:
      UserError: if the name is unknown, the data cannot be read, or `validation` leaves
        a class without training images.

    Example:
      >>> digits = load("digits")
      >>> digits.train.images.shape, digits.num_classes, digits.levels
      ((1257, 8, 8, 1), 10, 16)
    """
    dataset = _read(name, data_dir)
    if dataset.std == 0:
        raise UserError(f"{name}: all training pixels are equal")
    count = _default_validation(dataset) if validation is None else validation
    train, held_out = hold_out(dataset.train, count)
    return dataclasses.replace(dataset, train=train, validation=held_out)


def _read(name: str, data_dir: str | None) -> Dataset:
    """Imports the reader of `name` only here: tensorflow-datasets is slow to import."""
    if name == "digits":
        from .digits import load_digits

        return load_digits()
    if name in ("cifar10", "cifar100"):
        from .cifar import load_cifar

        return load_cifar(name, data_dir)
    if name.startswith(_FOLDER) and name != _FOLDER:
        from .folder import load_folder

        return load_folder(name.removeprefix(_FOLDER), data_dir)
    if name.startswith(_RECORDS) and name != _RECORDS:
        from .records import load_records

        return load_records(name.removeprefix(_RECORDS))
    raise UserError(f"unknown data set {name!r}: choose one of {_CHOICES}")


def _default_validation(dataset: Dataset) -> int:
    images, classes = len(dataset.train), dataset.num_classes
    wanted = max(round(0.02 * images), classes)
    return min(_VALIDATION.get(dataset.name, wanted), images - classes)
