"""The network that ships with lipjax keeps its promises."""

import hashlib
import json
import re

import numpy as np

from lipjax import pretrained
from lipjax.certify import Certifier
from lipjax.verify import verify


def test_the_digits_are_certified():
    """Our radii are the shipped ones, to what another order of sums changes."""
    shipped = pretrained.digits()
    lines = (shipped.folder / "certificates.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == len(shipped.images) == len(shipped.labels) == 360
    found = Certifier(shipped.network)(shipped.images[:5])
    for row, prediction, radius, label in zip(
        rows[:5], found.prediction, found.radius, shipped.labels[:5], strict=True
    ):
        assert prediction == row["prediction"] and label == row["label"]
        assert row["radius"] == 0 or abs(radius - row["radius"]) < 1e-9


def test_the_checker_accepts_them_and_the_card_is_true():
    folder = pretrained.digits().folder
    names = ("certificates.jsonl", "model.npz", "images.npz")
    report = verify(*(folder / name for name in names))
    rows = [json.loads(row) for row in (folder / names[0]).read_text().splitlines()]
    right = np.array([row["prediction"] == row["label"] for row in rows])
    radius = np.array([row["radius"] for row in rows])
    radii = [36 / 255, 72 / 255, 108 / 255, 0.5, 1.0, 1.5]
    shares = [right.mean(), *(np.mean(right & (radius > r)) for r in radii)]
    card = (folder / "README.md").read_text()
    figures = re.search(r"\| correct and certified.*?\| (.*) \|\n", card)
    due = [f"{100 * share:.2f}" for share in shares] + [f"{report.mean_radius:.4f}"]
    assert figures and figures[1].split(" | ") == due
    for name in names:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() in card
    assert sum(file.stat().st_size for file in folder.iterdir()) < 1e6
