"""Certificates of a run's test images, and their proof in files."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from lipjax import exact_network
from lipjax.certify import Certificates, Certifier, certificate_rows, model_record

from ..common.commands import command
from ..common.errors import UserError
from ..common.files import locked, write_json, written
from ..data import Dataset, Split
from ..reporting import pictures, tables
from ..reporting.summary import RADIUS_NAMES, summarize
from ..training.run_folder import RunFolder
from ..training.state import TrainState

_BATCH = 100


def certify(
    folder: RunFolder, state: TrainState, data: Dataset, count: int | None = None
) -> None:
    """Proves radii of `count` of a run's test images (None: all), and prints CRA."""
    print("\nProving the layers' norms ...", flush=True)
    test = data.test.spread(count)
    certifier, parts = prove(folder, state, test, data.levels)
    write_proof(folder.path, certifier, parts, test, data.levels)
    prediction = np.concatenate([part.prediction for part in parts])
    radius = np.concatenate([part.radius for part in parts])
    summary = summarize(prediction, radius, test.labels)
    figures = {"accuracy": summary.accuracy, "mean_radius": summary.mean_radius}
    figures |= dict(zip(RADIUS_NAMES, summary.cra, strict=True))
    write_json(folder.path / "test.json", figures)
    certified = np.where(prediction == test.labels, radius, -1)
    title = f"{data.name}: {len(test)} test images, proven"
    pictures.draw_radii(folder.path / "radii.png", certified, title)
    print(f"{len(test)} test images of {data.name}: certified robust accuracy, %,")
    print("at l2 radii in pixels of [0, 1], proven\n")
    print(tables.summary_table(summary))
    slack = max(_largest_slack(part) for part in parts)
    print(
        f"\nThe features are {certifier.bound.lipschitz:.6f}-Lipschitz, proven. "
        f"Rounding in float64 costs a\nradius at most {slack:.1e}, which is taken "
        "off. What is guaranteed: docs/guarantees.md."
    )
    names = "certificates.jsonl, model.npz, images.npz, test.json, radii.png"
    print(f"In {folder.path}: {names}")
    print(f"As a page: {command('page')} --run={folder.path}")


def _largest_slack(part: Certificates) -> float:
    """The largest amount that rounding takes off a radius."""
    return float(part.slack[np.arange(len(part.radius)), part.runner_up].max())


def ieee_device() -> contextlib.AbstractContextManager[Any]:
    """Has a machine with TPUs, which have no IEEE float64, compute on its CPU.

    Raises:
      UserError: if JAX was told to leave the CPU alone.
    """
    if jax.default_backend() != "tpu":
        return contextlib.nullcontext()
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:
        raise UserError(
            "a TPU has no IEEE float64 to certify with: run "
            f"{command('certify')} with JAX_PLATFORMS=cpu"
        ) from None


def prove(
    folder: RunFolder, state: TrainState, test: Split, levels: int
) -> tuple[Certifier, list[Certificates]]:
    """Certificates of images by a run's network, a batch in each.

    Raises:
      UserError: if the network cannot be certified.
    """
    bar = tqdm(total=len(test), unit="image", disable=None, leave=False)
    try:
        with ieee_device(), bar:
            variables = jax.device_get(state.variables)
            certifier = Certifier(exact_network(folder.model, variables))
            parts, curvatures = [], certifier.curvatures
            for x in _pixels(test, levels):
                parts.append(certifier(x, curvatures))
                curvatures = parts[-1].curvatures
                bar.update(len(x))
    except ValueError as error:
        raise UserError(f"{folder.path} cannot be certified: {error}") from error
    return certifier, parts


def _pixels(test: Split, levels: int) -> Iterator[np.ndarray]:
    """The images as float64 numbers in [0, 1], a batch at a time."""
    for start in range(0, len(test), _BATCH):
        yield test.images[start : start + _BATCH].astype(np.float64) / levels


def write_proof(
    path: Path,
    certifier: Certifier,
    parts: list[Certificates],
    test: Split,
    levels: int,
) -> None:
    """Writes the record, the images and the certificates, which belong together.

    Each is complete before the first is renamed, so that a full disk costs nothing, and
    two programs do not mix theirs. A program that is killed between two renames leaves
    files that the checker refuses.
    """
    record = model_record(certifier, parts[-1].curvatures)
    digest = hashlib.sha256(record).hexdigest()
    labels = np.asarray(test.labels, np.int64)
    with locked(path), contextlib.ExitStack() as files:
        certificates, images, model = (
            files.enter_context(written(path / name))
            for name in ("certificates.jsonl", "images.npz", "model.npz")
        )
        model.write(record)
        np.savez(images, images=test.images, labels=labels, levels=np.int64(levels))
        for row in _rows(parts, test, levels, digest):
            certificates.write((json.dumps(row) + "\n").encode())
        for file in (model, images, certificates):
            file.flush()


def _rows(
    parts: list[Certificates], test: Split, levels: int, digest: str
) -> Iterator[dict[str, Any]]:
    first = 0
    for part, x in zip(parts, _pixels(test, levels), strict=True):
        labels = test.labels[first : first + len(x)]
        yield from certificate_rows(part, x, labels, digest, first)
        first += len(x)
