"""A certified run: its network, its images and their radii."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lipjax import exact_network
from lipjax.certify import Network, image_hash, read_network

from ..common.commands import command
from ..common.errors import UserError
from ..data import evenly
from ..training.run_folder import RunFolder

PROOF = ("certificates.jsonl", "model.npz", "images.npz")
"""The files of a proof, which belong together."""

_MOST = 500  # images a call
_FEW = 20  # how many are predicted in float64 at a time


class CertifiedRun:
    """A run's certified images, evenly spaced, its network and the radii.

    Args:
      folder: of the run.
      count: how many of the images; None: all.
      path: the folder of the certificates; None: the run's.
      checkpoint: of which weights they are.

    Attributes:
      index: the images' places among the test images.
      x: images, float64 in [0, 1].
      labels: labels of the images.
      prediction: of the images.
      radius: certified radii, 0 where the prediction is wrong or not certified.
      right: whether each prediction is the label.
      batch: images per call: one shape, compiled once.
    """

    def __init__(
        self,
        folder: RunFolder,
        count: int | None,
        path: Path | None = None,
        checkpoint: str = "last",
    ) -> None:
        state = folder.checkpoints().restore(checkpoint).state
        path = path or folder.path
        rows = _certificates(path)
        self.network: Network = exact_network(folder.model, state.variables)
        _check_same(path, rows, self.network)
        rows = [rows[i] for i in evenly(len(rows), count)]
        self.x, self.labels = _images(path, rows)
        self.batch = min(_MOST, len(rows))
        self.index, self.radius, self.prediction = (
            np.array([row[name] for row in rows])
            for name in ("index", "radius", "prediction")
        )
        self.right = self.prediction == self.labels
        self.logits: Any = functools.partial(folder.model.apply, state.variables)
        self._quick = jax.jit(functools.partial(_prediction_and_doubt, self.logits))

    def only(self, chosen: np.ndarray) -> CertifiedRun:
        """The same run with some of its images."""
        part = copy.copy(self)
        part.batch = min(_MOST, len(chosen))
        for name in ("index", "x", "labels", "prediction", "radius", "right"):
            setattr(part, name, getattr(self, name)[chosen])
        return part

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predictions of the certified network for a batch.

        Computed in float32, and again in float64 if the two largest logits differ by
        less than a thousandth of the logits' size. That is a thousand times the
        measured rounding of float32.
        """
        prediction, unsure = (np.array(v) for v in self._quick(x.astype(np.float32)))
        doubtful = np.flatnonzero(unsure)
        for start in range(0, len(doubtful), _FEW):
            rows = doubtful[start : start + _FEW]
            with jax.enable_x64(True):
                sure = _predict(self.network, jnp.asarray(filled(x[rows], _FEW)))
            prediction[rows] = sure[: len(rows)]
        return prediction


@jax.jit
def _predict(network: Network, x: jax.Array) -> jax.Array:
    return jnp.argmax(network.logits(x), axis=1)


def _prediction_and_doubt(logits, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    z = logits(x)
    first, second = jax.lax.top_k(z, 2)[0].T
    return jnp.argmax(z, axis=1), first - second < 1e-3 * jnp.max(jnp.abs(z), axis=1)


def filled(rows: np.ndarray, size: int) -> np.ndarray:
    """The rows, repeated up to so many."""
    return np.resize(rows, (size, *rows.shape[1:]))


def _certificates(path: Path) -> list[dict[str, Any]]:
    try:
        lines = (path / "certificates.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} has no certificates ({error}): {command('certify')} --run={path}"
        ) from error


def _images(path: Path, rows: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """The rows' images, float64 in [0, 1], and their labels."""
    again = f"certify again: {command('certify')} --run={path}"
    try:
        arrays = dict(np.load(path / "images.npz", allow_pickle=False))
        chosen = [row["index"] for row in rows]
        x = arrays["images"][chosen].astype(np.float64) / arrays["levels"]
        labels = arrays["labels"][chosen]
    except (OSError, ValueError, LookupError) as error:
        raise UserError(f"{path / 'images.npz'}: {error}; {again}") from error
    if any(image_hash(v) != row["image"] for v, row in zip(x, rows, strict=True)):
        raise UserError(f"the certificates in {path} are of other images: {again}")
    return x, labels


def _check_same(path: Path, rows: list[dict[str, Any]], network: Network) -> None:
    again = f"certify again: {command('certify')} --run={path}"
    try:
        record = (path / "model.npz").read_bytes()
        same = is_of(record, network)
    except (OSError, ValueError) as error:
        raise UserError(f"{path / 'model.npz'}: {error}; {again}") from error
    digest = hashlib.sha256(record).hexdigest()
    if not (rows and same and all(row.get("model") == digest for row in rows)):
        raise UserError(f"the certificates in {path} are of another network: {again}")


def proof_hashes(path: Path) -> list[tuple[str, str]]:
    """Name and SHA-256 of the files of the proof in a folder."""
    return [(n, hashlib.sha256((path / n).read_bytes()).hexdigest()) for n in PROOF]


def is_of(record: bytes, network: Network) -> bool:
    """Whether a model record is of the network, bit for bit.

    Raises:
      ValueError: if it is none.
    """
    ours, theirs = jax.tree.leaves(network), jax.tree.leaves(read_network(record))
    return len(ours) == len(theirs) and all(map(np.array_equal, ours, theirs))
