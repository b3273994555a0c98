"""Decodes the bytes of one image file."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

GREY = ("1", "L", "LA")
"""Pillow's modes of one channel."""
_EIGHT_BIT = (*GREY, "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


def decode(data: bytes) -> np.ndarray | None:
    """Decodes an image of 8 bits per channel; transparency is dropped.

    Args:
      data: a file in any format that Pillow reads.

    Returns:
      uint8 [H, W] for a grey or black-and-white image, [H, W, 3] for any other;
      None if it does not decode, or has more than 8 bits per channel.

    Example:
      >>> decode(b"no image") is None
      True
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            return _pixels(image) if has_eight_bits(image) else None
    except Exception:  # on a damaged file Pillow may raise nearly anything
        return None


def has_eight_bits(image: Image.Image) -> bool:
    """Whether an opened file has at most 8 bits a channel.

    Of 16 bits a colour, Pillow drops the lower ones: only the file's layout tells, as
    "RGB;16B" does. "BGR;16" are 16 bits a pixel.
    """
    layouts = " ".join(str(tile[3]) for tile in getattr(image, "tile", ()))
    return image.mode in _EIGHT_BIT and ";16" not in layouts.replace("BGR;16", "")


def _pixels(image: Image.Image) -> np.ndarray:
    if image.mode in GREY:
        return np.asarray(image.convert("L"))
    if image.has_transparency_data:  # Pillow warns if a palette loses it in one step
        image = image.convert("RGBA")
    return np.asarray(image.convert("RGB"))
