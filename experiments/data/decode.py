"""Decodes the bytes of one image file."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

_SINGLE_CHANNEL = ("1", "L", "LA")
_EIGHT_BIT = (*_SINGLE_CHANNEL, "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


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
            return _pixels(image) if image.mode in _EIGHT_BIT else None
    except Exception:  # on a damaged file Pillow may raise nearly anything
        return None


def _pixels(image: Image.Image) -> np.ndarray:
    if image.mode in _SINGLE_CHANNEL:
        return np.asarray(image.convert("L"))
    if image.has_transparency_data:  # Pillow warns if a palette loses it in one step
        image = image.convert("RGBA")
    return np.asarray(image.convert("RGB"))
