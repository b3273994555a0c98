"""A certified network that ships with lipjax: a first radius without any training."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from lipjax.certify import Network, read_network


class Pretrained(NamedTuple):
    """A network, and the test images that it is certified on.

    Attributes:
      network: the exact network of the model record, as `Certifier` takes it.
      images: [n, height, width, channels], float64 in [0, 1].
      labels: [n].
      folder: with certificates.jsonl, model.npz, images.npz for `lipjax/verify.py`, and
        a README.md that says how the network was made.
    """

    network: Network
    images: np.ndarray
    labels: np.ndarray
    folder: Path


def digits() -> Pretrained:
    """The network that `make train` makes, and scikit-learn's 360 test digits of 8x8.

    Guarantee: none by itself. `lipjax.certify.Certifier` proves radii of the network,
    and `lipjax/verify.py` checks the certificates in the folder.

    Example:
      >>> from lipjax.certify import Certifier
      >>> shipped = digits()
      >>> found = Certifier(shipped.network)(shipped.images[:1])
      >>> found.prediction[0] == shipped.labels[0], found.radius.round(3)
      (np.True_, array([0.185]))
    """
    folder = Path(__file__).parent / "digits"
    network = read_network((folder / "model.npz").read_bytes())
    with np.load(folder / "images.npz", allow_pickle=False) as data:
        images = data["images"].astype(np.float64) / data["levels"]
        return Pretrained(network, images, data["labels"], folder)
