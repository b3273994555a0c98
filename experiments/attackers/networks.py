"""Certified networks to attack: small random ones of every kind, or a run's."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lipjax import LipConvNet, exact_network
from lipjax.certify import Certifier, certificate_rows, model_record
from lipjax.verify import read_images, read_model, verify

from ..common.errors import UserError
from ..common.files import write_bytes, write_json_lines, written
from .balls import Target
from .execution import Execution

HEADS = ("normalized", "orthogonal", "curvature")
POOLINGS = ("max", "projection")
ACTIVATIONS = ("maxmin", "householder", "householder2")
KINDS = tuple(itertools.product(HEADS, POOLINGS, ACTIVATIONS))
FILES = ("certificates.jsonl", "model.npz", "images.npz")
_SHAPE, _CLASSES, _IMAGES, _LEVELS = (8, 8, 1), 5, 400, 255


def name_of(kind: tuple[str, str, str], seed: int) -> str:
    """The name of a random network, and of its folder."""
    return "-".join([*kind, str(seed)])


def make_network(folder: Path, kind: tuple[str, str, str], seed: int) -> None:
    """Writes a random network and certificates of random images, as runs have them.

    Args:
      folder: for the files; one that has certificates is complete, and left as it is.
      kind: head, pooling and activation.
      seed: of weights and images.
    """
    if (folder / FILES[0]).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    certifier = Certifier(_random_network(kind, seed))
    draw = np.random.default_rng(seed)
    images = draw.integers(0, _LEVELS, (_IMAGES, *_SHAPE), np.uint8, endpoint=True)
    x = images / _LEVELS
    found = certifier(x)
    record = model_record(certifier, found.curvatures)
    write_bytes(folder / "model.npz", record)
    with written(folder / "images.npz") as file:
        labels = found.prediction.astype(np.int64)
        np.savez(file, images=images, labels=labels, levels=np.int64(_LEVELS))
    digest = read_model(record).sha256
    rows = certificate_rows(found, x, found.prediction, digest)
    write_json_lines(folder / FILES[0], rows)
    verify(*(folder / name for name in FILES))


def _random_network(kind: tuple[str, str, str], seed: int) -> Any:
    head, pooling, activation = kind
    model = LipConvNet(
        _SHAPE, _CLASSES, stages=3, width=2, hidden=16, mean=(0.3,), std=(0.4,),
        head=head, pooling=pooling, activation=activation,
    )  # fmt: skip
    x = jnp.zeros((1, *_SHAPE), jnp.float32)
    quick = {"xla_backend_optimization_level": 0}
    init = jax.jit(lambda key: model.init(key, x), compiler_options=quick)
    return exact_network(model, init(jax.random.key(seed, impl="unsafe_rbg")))


class Certified(NamedTuple):
    """A network with all its certified images.

    Attributes:
      name: of the network.
      model: as `lipjax.verify.read_model` reads it.
      execution: of the model, in PyTorch.
      images: as `lipjax.verify.read_images` reads them.
      rows: the certificates whose radius is positive.
    """

    name: str
    model: Any
    execution: Execution
    images: Any
    rows: list[dict[str, Any]]

    def target(self, start: int, count: int) -> Target:
        """The network with `count` images from the certificate `start` on.

        They go round: after the last certificate comes the first one.
        """
        count = min(count, len(self.rows))
        rows = [self.rows[(start + i) % len(self.rows)] for i in range(count)]
        index, labels, radius = (
            np.array([row[key] for row in rows])
            for key in ("index", "prediction", "radius")
        )
        x = self.images.bytes[index] / self.images.levels
        return Target(self.name, self.model, self.execution, index, x, labels, radius)


def read_certified(folder: Path, name: str) -> Certified:
    """Reads the certificates, the model record and the images in a folder.

    Raises:
      UserError: if they cannot be read, or certify nothing.
    """
    try:
        content, record, images = ((folder / name).read_bytes() for name in FILES)
        model = read_model(record)
        rows = [json.loads(line) for line in content.splitlines()]
        if any(row["model"] != model.sha256 for row in rows):
            raise ValueError("the certificates are of another network")
        read = read_images(images, model.shape)
        rows = [row for row in rows if row["radius"] > 0]
    except (OSError, ValueError, LookupError) as error:
        raise UserError(f"{folder}: {error}: certify again") from error
    if min(model.shape[:2]) < 5:
        raise UserError(f"{folder}: AutoAttack needs images of at least 5x5 pixels")
    if not rows:
        raise UserError(f"no image in {folder} is certified: nothing to attack")
    return Certified(name, model, Execution(model), read, rows)
