"""These tests run as users do: in single precision, with NumPy's promotion."""

import numpy as np
import pytest
from PIL import Image

from experiments.data import load


@pytest.fixture(autouse=True)
def strict():
    """Overrides the strict settings of the other tests."""


@pytest.fixture(scope="session")
def digits():
    return load("digits")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Two classes of 4x4 images, dark and bright."""
    root = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 5)):
        for label, level in (("dark", 40), ("bright", 200)):
            folder = root / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = draw.integers(level - 30, level + 30, (4, 4, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root
