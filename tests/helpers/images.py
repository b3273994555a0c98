"""Small folders of images."""

import io

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
