"""Images sorted into folders: PATH/train/CLASS/* and PATH/test/CLASS/*."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable

import numpy as np

from ..common.errors import UserError
from .cache import Arrays, cached
from .dataset import SPLITS, Dataset, Split
from .decode import decode
from .image_files import Name, read_files


def load_folder(where: str, data_dir: str | None) -> Dataset:
    """Reads a folder of images, or a tar archive, whose decoded images are cached.

    All images must have one size. They become RGB, or one channel if every one of
    them is single-channel. Images are in the order of their names.

    Args:
      where: a folder, or a .tar, .tar.gz, .tar.bz2 or .tar.xz file.
      data_dir: folder of the cache; None: the user's cache folder.

    Returns:
      Images uint8 [N, H, W, C], labels int32 [N] in the order of the class names.

    Raises:
      UserError: if anything cannot be read, or the classes or sizes do not agree.
    """
    path = pathlib.Path(where).expanduser()
    if path.is_file():
        arrays = cached(path.name, path, data_dir, lambda: _read(path))
    else:
        arrays = _read(path)
    train, test = (Split(arrays[f"{s}_images"], arrays[f"{s}_labels"]) for s in SPLITS)
    names = tuple(str(name) for name in arrays["class_names"])
    padding = min(train.images.shape[1:3]) // 8
    none = train.spread(0)
    return Dataset(f"folder:{where}", train, none, test, names, crop_padding=padding)


def _read(path: pathlib.Path) -> Arrays:
    if not path.exists():
        raise UserError(f"{path} does not exist")
    images, classes = _decode_all(path)
    names = class_names(path, images, classes)
    _check_sizes(path, images)
    if any(image.ndim == 3 for image in images.values()):
        images = {name: rgb(image) for name, image in images.items()}
    arrays: Arrays = {"class_names": np.array(names)}
    for split in SPLITS:
        of_split = {name: image for name, image in images.items() if name[0] == split}
        stacked = np.stack(list(of_split.values()))
        height, width = stacked.shape[1:3]
        arrays[f"{split}_images"] = stacked.reshape(len(stacked), height, width, -1)
        labels = [names.index(name[1]) for name in of_split]
        arrays[f"{split}_labels"] = np.array(labels, np.int32)
    return arrays


def _decode_all(path: pathlib.Path) -> tuple[dict[Name, np.ndarray], set[Name]]:
    """Pixels by name, training images first, and every (split, class)."""
    images, broken, classes = {}, [], set()
    for name, content in read_files(path):
        classes.add(name[:2])
        if content is None:
            continue
        image = decode(content)
        if image is None:
            broken.append(name)
        else:
            images[name] = image
    check_decoded(path, broken)
    order = sorted(images, key=lambda name: (SPLITS.index(name[0]), name))
    return {name: images[name] for name in order}, classes


def check_decoded(path: pathlib.Path, broken: list[Name]) -> None:
    """Refuses images that do not decode; the message has the first three names."""
    if broken:
        first = ", ".join("/".join(name) for name in sorted(broken)[:3])
        more = ", …" if len(broken) > 3 else ""
        does = "image does" if len(broken) == 1 else "images do"
        raise UserError(
            f"{path}: {len(broken)} {does} not decode to 8 bits per channel: "
            f"{first}{more}: fix or remove"
        )


def class_names(
    path: pathlib.Path, images: Iterable[Name], classes: set[Name]
) -> list[str]:
    """Sorted names of the training classes; the test classes must be among them.

    Args:
      path: the folder or archive, for messages.
      images: (split, class, file) of every image.
      classes: (split, class) of every class folder and image.

    Raises:
      UserError: if a split or a class has no images, or the splits do not agree.
    """
    train, test = ({name[1] for name in classes if name[0] == s} for s in SPLITS)
    for split, found in zip(SPLITS, (train, test), strict=True):
        if not found:
            raise UserError(f"{path} has no images at {split}/CLASS/*")
    if empty := classes - {name[:2] for name in images}:
        raise UserError(f"{path}: no images in {_listed('/'.join(e) for e in empty)}")
    if unknown := test - train:
        raise UserError(f"{path}: test/ has classes not in train/: {_listed(unknown)}")
    if len(train) < 2:
        raise UserError(f"{path}: train/ has one class only: {_listed(train)}")
    return sorted(train)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _check_sizes(path: pathlib.Path, images: dict[Name, np.ndarray]) -> None:
    first, reference = next(iter(images.items()))
    for name, image in images.items():
        if image.shape[:2] != reference.shape[:2]:
            raise UserError(
                f"{path}: {'/'.join(name)} is {size_text(image)}, but "
                f"{'/'.join(first)} is {size_text(reference)} pixels: all images must "
                "have one size"
            )


def size_text(image: np.ndarray) -> str:
    """The size as text, width x height."""
    return f"{image.shape[1]}x{image.shape[0]}"


def rgb(image: np.ndarray) -> np.ndarray:
    """The image [H, W] or [H, W, 3] with three channels."""
    return image if image.ndim == 3 else np.repeat(image[..., np.newaxis], 3, axis=2)
