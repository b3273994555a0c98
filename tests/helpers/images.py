"""Small images, and folders of them."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

CLASSES = ("ant", "bee", "cat")


def encode(seed, size=(8, 6), mode="RGB"):
    shape = (size[1], size[0], *((3,) if mode == "RGB" else ()))
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def write_images(root, train=7, test=2, **options):
    """Writes `train` and `test` images of each of three classes to a folder `root`."""
    for split, count in (("train", train), ("test", test)):
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                seed = (split == "test", label, index)
                (folder / f"{index:02}.png").write_bytes(encode(seed, **options))
    return root


def _chunk(kind, content):
    check = zlib.crc32(kind + content).to_bytes(4, "big")
    return len(content).to_bytes(4, "big") + kind + content + check


# One pixel of 16 bits a colour, of which Pillow would drop the lower 8 without a word.
SIXTEEN_BITS = b"".join(
    [
        b"\x89PNG\r\n\x1a\n",
        _chunk(b"IHDR", (1).to_bytes(4, "big") * 2 + bytes([16, 2, 0, 0, 0])),
        _chunk(b"IDAT", zlib.compress(bytes(1 + 6))),
        _chunk(b"IEND", b""),
    ]
)

# Red and blue, in 5, 6 and 5 bits.
SIXTEEN_BITS_A_PIXEL = b"".join(
    [
        struct.pack("<2sIII", b"BM", 70, 0, 66),
        struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 16, 3, 4, 0, 0, 0, 0),
        struct.pack("<IIIHH", 0xF800, 0x07E0, 0x001F, 0xF800, 0x001F),
    ]
)
