"""scikit-learn's handwritten digits, which need no network."""

from __future__ import annotations

from typing import Any

import numpy as np
import sklearn.datasets

from .dataset import Dataset, Split, hold_out

_TEST = 360


def load_digits() -> Dataset:
    """1797 digits, uint8 [N, 8, 8, 1] with values 0 to 16; 360 are the test images.

    Example:
      >>> len(load_digits().train), len(load_digits().test)
      (1437, 360)
    """
    bunch: Any = sklearn.datasets.load_digits()
    images = np.asarray(bunch.images, np.uint8)[..., np.newaxis]
    everything = Split(images, np.asarray(bunch.target, np.int32))
    train, test = hold_out(everything, _TEST)
    names = tuple(str(name) for name in bunch.target_names)
    none = train.spread(0)
    return Dataset("digits", train, none, test, names, 16, flip=False, crop_padding=1)
