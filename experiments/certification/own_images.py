"""Certificates of a user's images, with the nearest change that an attack finds."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..common.errors import UserError
from ..common.files import write_json
from ..data import Split
from ..data.own_images import LEVELS, OwnImage, files_of, read_image
from ..reporting.pictures import draw_change
from ..reporting.words import as_changes, rounded_down
from ..training.run_folder import RunFolder
from .attacks import attacks, nearest
from .certificates import prove, write_proof
from .certified_run import CertifiedRun

_STEPS = 50


def certify_images(
    folder: RunFolder, checkpoint: str, paths: Sequence[str], out: Path
) -> bool:
    """Certifies image files, attacks them, and writes and prints what was found.

    Args:
      folder: of the run.
      checkpoint: which of its weights.
      paths: files and folders of files.
      out: folder of the certificates and pictures.

    Returns:
      Whether all files could be read; those that could not are told in a line each.

    Raises:
      UserError: if none could, or the network cannot be certified.
    """
    images, refused = _read(paths, folder.model.image_shape)
    pixels = np.stack([image.pixels for image in images])
    split = Split(pixels, np.zeros(len(images), np.int32))
    state = folder.checkpoints().restore(checkpoint).state
    print("Proving the layers' norms ...", flush=True)
    certifier, parts = prove(folder, state, split, LEVELS)
    # no label is known: a certificate is of what the network says
    labels, runners_up, radii = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("prediction", "runner_up", "radius")
    )
    out.mkdir(parents=True, exist_ok=True)
    split = Split(pixels, labels.astype(np.int32))
    write_proof(out, certifier, parts, split, LEVELS)
    target = CertifiedRun(folder, None, out, checkpoint)
    print("Looking for the nearest change with an attack ...\n", flush=True)
    attack = attacks(target, _STEPS)["apgd_ce"]
    distances, changed = nearest(target, attack, seed=0, box=True)
    others = target.predict(changed)
    rows = []
    for i, image in enumerate(images):
        classes = tuple(
            folder.class_name(int(v[i])) for v in (labels, runners_up, others)
        )
        row = _row(image, classes, float(radii[i]), float(distances[i]))
        row["picture"] = f"{i:03}-{image.path.stem}.png"
        rows.append(row)
        titles = _titles(row)
        draw_change(out / row["picture"], target.x[i], changed[i], titles)
        print(_told(row, pixels[i].size), flush=True)
    write_json(out / "images.json", rows)
    print(_LEGEND)
    print(f"In {out}: certificates.jsonl, model.npz, images.npz, images.json, pictures")
    return not refused


_LEGEND = """\
Radii are l2: the root of the sum of the squared changes of all numbers of the image as
the network sees it, each from 0 (black) to 1 (white). "Proven" holds for every image
inside, rounding included (docs/guarantees.md). The nearest change is what one attack
found with pixels from 0 to 1: others may lie closer, but none inside the radius."""


def _read(
    paths: Sequence[str], shape: tuple[int, int, int]
) -> tuple[list[OwnImage], int]:
    """The images that can be read, and how many files cannot."""
    images, refused = [], 0
    for path in files_of(paths):
        try:
            images.append(read_image(path, shape))
        except UserError as error:
            refused += 1
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    if not images:
        raise UserError("none of the files is an image that can be certified")
    return images, refused


def _row(
    image: OwnImage, classes: tuple[str, ...], radius: float, distance: float
) -> dict[str, Any]:
    """What images.json says of an image.

    Args:
      image: the image.
      classes: names of its class, its runner-up and the class of the change.
      radius: proven.
      distance: of the change; infinite if none was found.
    """
    prediction, runner_up, other = classes
    found = math.isfinite(distance)
    return {
        "file": str(image.path),
        "notes": list(image.notes),
        "prediction": prediction,
        "runner_up": runner_up,
        "radius": radius,
        "nearest_change": distance if found else None,
        "changed_to": other if found else None,
    }


def _titles(row: dict[str, Any]) -> tuple[str, str]:
    first = f"{row['prediction']}, proven\nwithin {rounded_down(row['radius'])}"
    if row["nearest_change"] is None:
        return first, "no change found"
    return first, f"{row['changed_to']}\nat {row['nearest_change']:.4f}"


def _told(row: dict[str, Any], numbers: int) -> str:
    """What is said of an image, a few lines."""
    notes = f" ({'; '.join(row['notes'])})" if row["notes"] else ""
    lines = [f"{row['file']}{notes}"]
    if row["radius"] > 0:
        lines += [
            f"  {row['prediction']}, before {row['runner_up']}: no image within "
            f"{rounded_down(row['radius'])} is classified otherwise, proven.",
            f"  That is {as_changes(row['radius'], numbers)}.",
        ]
    else:
        lines.append(
            f"  {row['prediction']}, before {row['runner_up']}: nothing is proven, the "
            "two are too close."
        )
    if row["nearest_change"] is not None:
        found = f"{row['nearest_change']:.4f}, to {row['changed_to']}"
        lines.append(f"  The nearest change found by an attack: {found} (estimate).")
    return "\n".join(lines) + "\n"
