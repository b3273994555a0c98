"""Small honest proofs, which the checker takes a few milliseconds for.

Their claims are tight: the dense norms and the radii that the checker proves, lowered
(the norms: raised) by 1e-9 of themselves.
"""

import base64
import contextlib
import copy
import functools
import hashlib
import io
import itertools
import json
import math
import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from helpers.checker import plain_layer, proven_layer
from helpers.oracle_by_definition import NUMPY, Definition
from lipjax import verify as checker

NAMES = "certificates.jsonl", "model.npz", "images.npz"
TAYLOR = [1 / math.factorial(k) for k in range(4)]
PEAK = [0.0, 1.0, 0.0, 0.5]  # |p(i theta)| has its largest value inside
ROOM = 1 - 1e-9
PROVEN = re.compile(r"against class (\d+) is not proven \((\S+) is\)")


@dataclass(eq=False)
class Proof:
    """The contents of the three files, before they are written."""

    header: Any  # or bytes, where it is written otherwise
    arrays: dict[str, np.ndarray]
    data: dict[str, np.ndarray]
    rows: list[dict[str, Any]]

    def copy(self) -> "Proof":
        return pickle.loads(pickled(self))

    def model(self) -> bytes:
        text = self.header
        if not isinstance(text, (bytes, np.ndarray)):
            text = json.dumps(text).encode()
        if isinstance(text, bytes):
            text = np.frombuffer(text, np.uint8)
        return npz(self.arrays | {"header": text})

    def files(self, rehash: bool = False) -> dict[str, bytes]:
        """The three files; `rehash` writes hashes that fit into the certificates."""
        model = self.model()
        if rehash:
            self.rehash(model)
        lines = "".join(json.dumps(row) + "\n" for row in self.rows).encode()
        return dict(zip(NAMES, (lines, model, npz(self.data)), strict=True))

    def rehash(self, model: bytes) -> None:
        digest = hashlib.sha256(model).hexdigest()
        for row in self.rows:
            if isinstance(row, dict):
                row["model"] = digest
                with contextlib.suppress(Exception):  # a forged index or forged images
                    row["image"] = image_hash(self.pixels(row["index"]))

    @property
    def count(self) -> int:
        images = self.data["images"]
        return len(images) if images.ndim else 0

    def pixels(self, index: int) -> np.ndarray:
        return self.data["images"][index] / float(self.data["levels"])


@functools.cache
def pickled(proof: Proof) -> bytes:
    return pickle.dumps(proof)


@functools.cache
def files_of(proof: Proof) -> dict[str, bytes]:
    """The files of an honest proof, which does not change any more."""
    return proof.files()


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)  # pyright: ignore[reportArgumentType]
    return content.getvalue()


def image_hash(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels, "<f8").tobytes()).hexdigest()


WRITTEN: dict[Path, bytes] = {}  # opening a file takes longer than comparing it


def check(files: dict[str, bytes], folder: Path, verify: Any = checker.verify) -> Any:
    for name, content in files.items():
        if WRITTEN.get(folder / name) != content:
            (folder / name).write_bytes(content)
            WRITTEN[folder / name] = content
    return verify(*(folder / name for name in NAMES))


def random_proof(kind: str, folder: Path, seed: int = 0) -> Proof:
    """An honest proof of four images; the last one is misclassified."""
    return drawn_proof(*SHAPES[kind], folder, seed)


def drawn_proof(
    shape: tuple[int, int, int], layers: list[tuple[str, dict]], curved: bool,
    folder: Path, seed: int = 0,
) -> Proof:  # fmt: skip
    rng = np.random.default_rng(seed)
    header = {"format": "lipjax model 2", "image_shape": list(shape), "layers": []}
    channels = shape[2]
    arrays = {
        "mean": rng.uniform(0.3, 0.6, channels),
        "std": rng.uniform(0.2, 0.5, channels),
    }
    size = shape
    for i, (name, settings) in enumerate(layers):
        fields, parts, size = random_layer(rng, name, size, **settings)
        header["layers"].append(fields)
        arrays |= {f"layers.{i}.{key}": value for key, value in parts.items()}
    arrays |= random_head(rng, math.prod(size), curved)
    images = rng.integers(0, 17, (4, *shape)).astype(np.uint8)
    data = {"images": images, "labels": np.zeros(4, np.int64), "levels": np.array(16)}
    proof = Proof(header, arrays, data, [])
    logits = Definition(header, arrays, NUMPY).logits(images / 16.0)
    data["labels"][:] = logits.argmax(-1)
    data["labels"][3] = (data["labels"][3] + 1) % 3
    return certify(proof, logits, folder)


def random_layer(
    rng: np.random.Generator, kind: str, shape: tuple[int, ...], k: int = 3,
    stride: int = 1, polynomial: Any = TAYLOR, width: int = 2, outputs: int = 2,
    taps: tuple[int, int] = (3, 3),
) -> tuple[dict, dict, tuple[int, ...]]:  # fmt: skip
    h, w, c = shape
    fields = {"kind": kind, "stride": stride}
    if kind == "skew_convolution":
        layer = proven_layer(rng, polynomial, (h, w), stride, k, width)
        parts = {"kernel": layer.kernel, "bias": rng.normal(size=outputs) / 4}
        parts |= {"coefficients": layer.coefficients, "claims": layer.claims}
        return fields, parts, (h // stride, w // stride, outputs)
    if kind in checker.PARTS:
        h, w, c = h // stride, w // stride, c * stride**2
        layer = plain_layer(rng, kind, taps, (h, w), c, outputs)
        parts = {"kernel": layer.kernel, "bias": layer.bias, "claims": layer.claims}
        return fields, parts, (h, w, outputs)
    if kind == "flatten":
        return fields, {}, (1, 1, h * w * c)
    count = checker.ANGLES[kind]
    parts = {f"angle{j}": rng.uniform(0, np.pi, c // 2) for j in range(count)}
    return fields, parts, (h, w, c // 2 if kind in ("max", "projection") else c)


def random_head(rng: np.random.Generator, depth: int, curved: bool) -> dict[str, Any]:
    if not curved:
        kernel = rng.normal(size=(depth, 3))
        return {"head.kernel": kernel, "head.bias": rng.normal(size=3) / 4}
    hidden, output = rng.normal(size=(depth, 3)), rng.normal(size=(3, 3))
    curvatures = np.zeros((3, 3))
    for y, t in itertools.permutations(range(3), 2):
        curvatures[y, t] = true_curvature(hidden, output, y, t) / ROOM
    return {
        "head.hidden_kernel": hidden, "head.hidden_bias": rng.normal(size=3),
        "head.curvatures": curvatures, "head.kernel": output,
        "head.bias": rng.normal(size=3) / 4,
    }  # fmt: skip


def true_curvature(hidden: np.ndarray, output: np.ndarray, y: int, t: int) -> float:
    lost = np.maximum(output[:, t] - output[:, y], 0)
    return np.linalg.eigvalsh((hidden * lost) @ hidden.T)[-1] / 4


def certify(proof: Proof, logits: np.ndarray, folder: Path) -> Proof:
    """Adds certificates with the radii that the checker proves."""
    for index, (label, row) in enumerate(
        zip(proof.data["labels"], logits, strict=True)
    ):
        y = int(row.argmax())
        fields = {"index": index, "label": int(label), "prediction": y, "radius": 0.0}
        fields |= {"model": "", "image": "", "classes": {}}
        proof.rows.append(fields)
        proof.rehash(proof.model())
        if y == label:
            for t in sorted({0, 1, 2} - {y}):
                entry: dict[str, Any] = {"radius": 2.0**-99}
                if "head.curvatures" in proof.arrays and (t + index) % 2:
                    entry |= dual_point(proof, index, y, t)
                fields["classes"][str(t)] = entry
            tighten(proof, fields, folder)
    return proof


def tighten(proof: Proof, row: dict, folder: Path, room: float = ROOM) -> None:
    """Sets a certificate's radii to `room` times what the checker proves."""
    found = {t: limit(proof, row, t, folder) for t in row["classes"]}
    for t, radius in found.items():
        row["classes"][t]["radius"] = radius * room
    set_radius(row)


def set_radius(row: dict) -> None:
    """Makes the radius the least of the classes'."""
    row["radius"] = min(entry["radius"] for entry in row["classes"].values())


def limit(proof: Proof, row: dict, t: str, folder: Path) -> float:
    """The largest radius against class t that the checker accepts, as it says."""
    row = copy.deepcopy(row)
    for entry in row["classes"].values():
        entry["radius"] = 2.0**-99
    alone = Proof(proof.header, proof.arrays, proof.data, [row])
    proven = math.sqrt(math.prod(proof.header["image_shape"]))
    for factor in (
        1,
        2,
        2,
        2,
        1 + 1e-6,
    ):  # what is proven depends on the claim, a little
        row["classes"][t]["radius"] = proven * factor
        set_radius(row)
        try:
            check(alone.files(), folder)
            proven *= factor
        except checker.Rejected as error:
            match = PROVEN.search(str(error))
            assert match and match[1] == t and float(match[2]) > 0, error
            proven = float(match[2])
    return proven


def dual_point(proof: Proof, index: int, y: int, t: int) -> dict[str, Any]:
    """The eta and delta that prove most, of some; delta by gradient descent."""
    features = features_of(proof, proof.pixels(index)[None])[0]
    parts = {k.removeprefix("head."): value for k, value in proof.arrays.items()}
    a = SimpleNamespace(**parts)
    weights = a.kernel[:, y] - a.kernel[:, t]
    best = (-math.inf, 0.0, features)
    for eta in np.array([0.03, 0.1, 0.3, 0.5, 0.7]) / a.curvatures[y, t]:
        delta, z = np.zeros_like(features), a.hidden_bias
        for _ in range(300):
            z = (features + delta) @ a.hidden_kernel + a.hidden_bias
            gradient = a.hidden_kernel @ (weights / (1 + np.exp(-z)))
            delta = 0.9 * delta - 0.1 * eta * gradient
        margin = np.logaddexp(0, z) @ weights + a.bias[y] - a.bias[t]
        found = delta @ delta + 2 * eta * margin, eta, delta
        best = max(best, found, key=lambda b: b[0])
    packed = base64.b64encode(best[2].astype("<f4").tobytes()).decode()
    return {"eta": float(best[1]), "delta": packed}


def features_of(proof: Proof, x: np.ndarray) -> np.ndarray:
    depth = len(proof.arrays["head.hidden_kernel"])
    head = {"head.kernel": np.eye(depth), "head.bias": np.zeros(depth)}
    arrays = {k: v for k, v in proof.arrays.items() if not k.startswith("head.")}
    return Definition(proof.header, arrays | head, NUMPY).logits(x)


SKEW = "skew_convolution"
SHAPES: dict[str, tuple[tuple[int, int, int], list[tuple[str, dict]], bool]] = {
    "plain": ((1, 2, 1), [], False),
    "convolutions": (
        (2, 2, 1),
        [
            (SKEW, {}),
            ("maxmin", {}),
            (SKEW, {"k": 1, "polynomial": PEAK}),
            ("max", {}),
            ("flatten", {}),
        ],
        False,
    ),
    "curved": ((1, 1, 2), [(SKEW, {"k": 1}), ("householder", {})], True),
    "torus": (
        (2, 4, 1),
        [
            ("circular_convolution", {"taps": (2, 3), "stride": 2}),
            ("maxmin", {}),
            ("convolution", {"taps": (3, 4), "outputs": 4}),
            ("max", {}),
            ("flatten", {}),
            ("convolution", {"taps": (1, 1), "outputs": 3}),  # a dense layer
        ],
        False,
    ),
    "pooled": (
        (2, 2, 1),
        [
            (SKEW, {"stride": 2, "width": 4, "outputs": 4}),
            ("householder2", {}),
            ("projection", {}),
        ],
        True,
    ),
}
