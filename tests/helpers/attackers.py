"""Certified networks as the attackers' programs read them."""

import json
from types import SimpleNamespace

import numpy as np

from experiments.attackers.balls import Target
from experiments.attackers.execution import Execution
from lipjax.certify import Certifier, certificate_rows, model_record
from lipjax.verify import read_model


def linear_target(seed=0, count=20, classes=5, shape=(4, 4, 3), scale=1.0):
    """A linear classifier, and images with `scale` times their true radius."""
    draw = np.random.default_rng(seed)
    depth = int(np.prod(shape))
    model = SimpleNamespace(
        mean=np.full(3, 0.5), std=np.full(3, 0.5), layers=[], curved=False,
        classes=classes, kernel=draw.normal(size=(depth, classes)),
        bias=draw.normal(size=classes),
    )  # fmt: skip
    x = draw.uniform(size=(count, *shape))
    logits = (x.reshape(count, -1) - 0.5) / 0.5 @ model.kernel + model.bias
    labels = logits.argmax(axis=1)
    gaps = logits.max(axis=1, keepdims=True) - logits
    slopes = 2 * np.linalg.norm(
        model.kernel.T[labels][:, None] - model.kernel.T[None], axis=2
    )
    others = np.arange(classes) != labels[:, None]
    ratios = np.divide(gaps, slopes, out=np.full(gaps.shape, np.inf), where=others)
    radius = scale * (1 - 1e-9) * ratios.min(axis=1)
    index = np.arange(count)
    return Target("linear", model, Execution(model), index, x, labels, radius)


def write_certified(folder, network, images, levels=255):
    """Writes a network and certificates of images [n, h, w, c], uint8."""
    certifier = Certifier(network)
    x = images / levels
    found = certifier(x)
    record = model_record(certifier, found.curvatures)
    (folder / "model.npz").write_bytes(record)
    labels = found.prediction.astype(np.int64)
    levels = np.array(levels)
    np.savez(folder / "images.npz", images=images, levels=levels, labels=labels)
    rows = certificate_rows(found, x, labels, read_model(record).sha256)
    write_rows(folder, rows)


def write_rows(folder, rows):
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "certificates.jsonl").write_text(lines)
