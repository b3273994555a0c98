"""A proof of one image, written by hand, for the checker to accept."""

import hashlib
import json
import math

import numpy as np

from lipjax import verify as checker


def write_example(path, radius):
    """A model without layers: two pixels z = (x - 0.5) / 0.25, logits z and 0.2."""
    header = {"format": "lipjax model 2", "image_shape": [1, 2, 1], "layers": []}
    arrays = {
        "mean": np.array([0.5]),
        "std": np.array([0.25]),
        "head.kernel": np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        "head.bias": np.array([0.0, 0.0, 0.2]),
        "header": np.frombuffer(json.dumps(header).encode(), np.uint8),
    }
    np.savez(path / "model.npz", **arrays)
    images = np.array([[[[9], [6]]], [[[6], [9]]]], np.uint8)
    np.savez(path / "images.npz", images=images, labels=np.array([0, 1]), levels=10)
    x = images[0] / 10.0
    classes = {
        "1": {"radius": radius},
        "2": {"radius": max(radius, 0.35 * (1 - 1e-9))},
    }
    sha256 = hashlib.sha256((path / "model.npz").read_bytes()).hexdigest()
    return {
        "index": 0, "label": 0, "prediction": 0, "radius": radius,
        "model": sha256,
        "image": hashlib.sha256(x.tobytes()).hexdigest(), "classes": classes,
    }  # fmt: skip


# The boundary to class 1 is where the pixels are equal, 0.3 / sqrt 2 away.
NEAREST = 0.3 / math.sqrt(2)


def check(path, *rows):
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (path / "certificates.jsonl").write_text("".join(line + "\n" for line in lines))
    names = "certificates.jsonl", "model.npz", "images.npz"
    return checker.verify(*(path / name for name in names))


def changed(row, keys, value):
    row = json.loads(json.dumps(row))
    inner = row
    for key in keys[:-1]:
        inner = inner[key]
    if value is None:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    return row
