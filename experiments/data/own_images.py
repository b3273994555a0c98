"""Image files of a user, made into inputs of a network."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..common.errors import UserError
from .decode import GREY, has_eight_bits

_ORIENTATION = 0x0112  # the tag of EXIF
_UPRIGHT = 1
LEVELS = 255


class OwnImage(NamedTuple):
    """An image as a network takes it.

    Attributes:
      path: of its file.
      pixels: uint8 [height, width, channels]; pixels / 255 lie in [0, 1].
      notes: what was done to it, a few words each.
    """

    path: Path
    pixels: np.ndarray
    notes: tuple[str, ...]


def files_of(paths: Iterable[str]) -> Iterator[Path]:
    """The files among the paths, and those in the folders among them, by name.

    Raises:
      UserError: if there is no such path, or a folder has no files.
    """
    for path in map(Path, paths):
        if path.is_dir():
            found = [f for f in sorted(path.iterdir()) if _is_visible(f)]
            if not found:
                raise UserError(f"{path} has no files")
            yield from found
        elif path.exists():
            yield path
        else:
            raise UserError(f"{path}: no such file or folder")


def _is_visible(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")


def read_image(path: Path, shape: tuple[int, int, int]) -> OwnImage:
    """Reads an image of any size for a network.

    It is turned upright as its EXIF says, cut to the middle part with the network's
    proportions and resized; colours are made grey, or grey is taken for every colour;
    transparency is dropped. Everything done is noted.

    Args:
      path: of the file, in any format that Pillow reads.
      shape: (height, width, channels) of the network's images; 1 or 3 channels.

    Raises:
      UserError: if it is no image, damaged, an animation, or has more than 8 bits a
        channel; or if the network takes other channels.
    """
    if shape[2] not in (1, 3):
        raise UserError(
            f"the network takes {shape[2]} channels: image files have 1 or 3"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return _read(path, image, shape)
    except UnidentifiedImageError:
        raise UserError(f"{path} is no image that Pillow reads, or damaged") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UserError(f"{path} is too large: {error}") from error
    except UserError:
        raise
    except Exception as error:  # on a damaged file Pillow may raise nearly anything
        raise UserError(f"{path} cannot be read, or is damaged: {error}") from error


def _read(path: Path, image: Image.Image, shape: tuple[int, int, int]) -> OwnImage:
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise UserError(f"{path} is an animation of {frames} images: save one of them")
    if not has_eight_bits(image):
        raise UserError(f"{path} has more than 8 bits a channel: save it with 8")
    notes = []
    if image.getexif().get(_ORIENTATION, _UPRIGHT) != _UPRIGHT:
        notes.append("turned upright as its EXIF says")
    is_grey = image.mode in GREY
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        notes.append("transparency dropped")
        image = image.convert("RGBA")  # Pillow warns if a palette loses it in one step
    height, width, channels = shape
    if is_grey != (channels == 1):
        notes.append("colours made grey" if channels == 1 else "grey in every colour")
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        notes.append(_resizing(image.size, (width, height)))
        image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    return OwnImage(path, np.asarray(image).reshape(shape), tuple(notes))


def _resizing(before: tuple[int, int], after: tuple[int, int]) -> str:
    """What is cut off and resized.

    Example:
      >>> _resizing((640, 480), (32, 32))
      'the middle 480x480 of 640x480, resized to 32x32'
      >>> _resizing((8, 8), (32, 32))
      'resized from 8x8 to 32x32'
    """
    scale = min(before[0] / after[0], before[1] / after[1])
    middle = tuple(round(scale * side) for side in after)
    sizes = ["x".join(map(str, size)) for size in (middle, before, after)]
    if middle == before:
        return f"resized from {sizes[1]} to {sizes[2]}"
    return f"the middle {sizes[0]} of {sizes[1]}, resized to {sizes[2]}"
