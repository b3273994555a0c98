"""Honest proofs of one activation or pooling, at points in all of its sectors."""

from pathlib import Path
from typing import Any

import numpy as np

from helpers.oracle_by_definition import NUMPY, Definition
from helpers.small_proofs import Proof, certify, random_head
from lipjax.verify import ANGLES

ENDS = np.array([-1.0, 0.4, 1.3, 2.5, 3.9, 7.0])
"""Angles of the pairs, in other orders for each angle: two are clamped by some maps."""


def map_proof(kind: str, folder: Path) -> Proof:
    rng, pairs = np.random.default_rng(5), len(ENDS)
    header: Any = {"format": "lipjax model 2", "image_shape": [1, 1, 2 * pairs]}
    header["layers"] = [{"kind": kind, "stride": 1}]
    arrays = {"mean": np.full(2 * pairs, 0.5), "std": np.full(2 * pairs, 0.25)}
    for j in range(ANGLES[kind]):
        arrays[f"layers.0.angle{j}"] = np.roll(ENDS, 2 * j)
    depth = pairs if kind in ("max", "projection") else 2 * pairs
    arrays |= random_head(rng, depth, False)
    images = rng.integers(0, 17, (8, 1, 1, 2 * pairs)).astype(np.uint8)
    logits = Definition(header, arrays, NUMPY).logits(images / 16.0)
    labels = logits.argmax(-1).astype(np.int64)
    data = {"images": images, "labels": labels, "levels": np.array(16)}
    return certify(Proof(header, arrays, data, []), logits, folder)
