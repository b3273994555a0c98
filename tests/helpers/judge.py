"""Whether what the checker accepted is harmless: the same claims, weaker or true ones.

It reads the files with NumPy and JSON, and evaluates the network by its definition.
"""

import io
import json
import re
import zipfile

import numpy as np

from helpers.oracle_by_definition import EXACT, NUMPY, Definition, jacobian
from helpers.polynomials import extremes
from helpers.small_proofs import Proof, npz, true_curvature

CLAIMS = re.compile(r"layers\.\d+\.claims|head\.curvatures")


def read(files: dict[str, bytes]) -> Proof:
    arrays, data = (read_arrays(files[name]) for name in ("model.npz", "images.npz"))
    header = json.loads(arrays.pop("header").tobytes())
    lines = files["certificates.jsonl"].decode().splitlines()
    return Proof(header, arrays, data, [json.loads(line) for line in lines])


def read_arrays(content: bytes) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {
            name.removesuffix(".npy"): np.load(io.BytesIO(archive.read(name)))
            for name in archive.namelist()
        }


def in_one_form(files: dict[str, bytes], archives: bool = True) -> bool:
    """Whether each file is what Python and NumPy write for its contents."""
    lines = files["certificates.jsonl"].decode().split("\n")
    lines, end = lines[:-1], lines[-1]
    header = read_arrays(files["model.npz"])["header"].tobytes().decode()
    same = all(json.dumps(json.loads(line)) == line for line in [header, *lines])
    names = ("model.npz", "images.npz") if archives else ()
    return (
        same and not end and all(npz(read_arrays(files[n])) == files[n] for n in names)
    )


def judge(files: dict[str, bytes], honest: Proof) -> str:
    """Says why an accepted forgery is harmless: same, weaker or true; or fails."""
    proof = read(files)
    same = same_function(proof, honest)
    if not same or claims(proof) != claims(honest):
        bounds_are_true(proof)
    verdicts = {verdict(proof, row, honest if same else None) for row in proof.rows}
    indices = [row["index"] for row in proof.rows]
    assert len(set(indices)) == len(indices), "an image has two certificates"
    return next(v for v in ("true", "weaker", "same") if v in verdicts)


def same_function(proof: Proof, honest: Proof) -> bool:
    names = {
        n for n in proof.arrays.keys() | honest.arrays.keys() if not CLAIMS.match(n)
    }
    return proof.header == honest.header and all(
        n in proof.arrays and n in honest.arrays
        and np.array_equal(proof.arrays[n], honest.arrays[n])
        for n in names
    )  # fmt: skip


def claims(proof: Proof) -> dict[str, list]:
    return {n: x.tolist() for n, x in proof.arrays.items() if CLAIMS.match(n)}


def bounds_are_true(proof: Proof) -> None:
    """Compares what is claimed of layers and curvatures with dense matrices."""
    h, w, _ = proof.header["image_shape"]
    up = 1 + 1e-12
    for i, fields in enumerate(proof.header["layers"]):
        if fields["kind"] == "flatten":
            h = w = 1
        h, w = h // fields["stride"], w // fields["stride"]
        if fields["kind"] in ("convolution", "circular_convolution"):
            kernel, circular = (
                proof.arrays[f"layers.{i}.kernel"],
                "circ" in fields["kind"],
            )
            matrix = jacobian(kernel, h, w, circular)
            (norm,) = proof.arrays[f"layers.{i}.claims"].tolist()
            assert np.linalg.norm(matrix, 2) <= norm * up
        if fields["kind"] == "skew_convolution":
            matrix = jacobian(proof.arrays[f"layers.{i}.kernel"], h, w)
            np.testing.assert_array_equal(matrix, -matrix.T)
            norm, lipschitz = proof.arrays[f"layers.{i}.claims"].tolist()
            assert np.linalg.norm(matrix, 2) <= norm * up
            coefficients = proof.arrays[f"layers.{i}.coefficients"].tolist()
            gain = extremes(coefficients, np.linalg.norm(matrix, 2))[1]
            assert gain <= lipschitz * up
    if "head.curvatures" in proof.arrays:
        hidden, output = (proof.arrays[f"head.{n}kernel"] for n in ("hidden_", ""))
        for row in proof.rows:  # only these pairs are used
            for t in map(int, row["classes"]):
                y = row["prediction"]
                claim = proof.arrays["head.curvatures"][y, t]
                assert claim * up >= true_curvature(hidden, output, y, t)


def verdict(proof: Proof, row: dict, honest: Proof | None) -> str:
    """Whether a certificate's claims are an honest one's, weaker ones, or true ones."""
    x = proof.pixels(row["index"])
    assert row["label"] == proof.data["labels"][row["index"]]
    for other in honest.rows if honest else []:
        assert honest
        if not np.array_equal(x, honest.pixels(other["index"])):
            continue
        if row["prediction"] == other["prediction"] and weaker(row, other):
            return "same" if row["classes"] == other["classes"] else "weaker"
    is_true(proof, row, x)
    return "true"


def weaker(row: dict, other: dict) -> bool:
    radii = [(e["radius"], other["classes"].get(t)) for t, e in row["classes"].items()]
    return row["radius"] <= other["radius"] and all(
        entry is not None and radius <= entry["radius"] for radius, entry in radii
    )


def is_true(proof: Proof, row: dict, x: np.ndarray) -> None:
    """By 200-bit evaluation, at x and at the worst points that a search finds."""
    exact = Definition(proof.header, proof.arrays, EXACT)
    logits, y = exact.logits(EXACT.number(x[None]))[0], row["prediction"]
    if not row["classes"]:
        assert row["radius"] == 0
        assert logits[y] >= max(logits) - 2.0**-29 * max(abs(v) for v in logits)
        return
    assert {int(t) for t in row["classes"]} == set(range(len(logits))) - {y}
    assert row["radius"] == min(e["radius"] for e in row["classes"].values())
    for t, entry in row["classes"].items():
        assert logits[y] > logits[int(t)], "the prediction is not the largest logit's"
        worst = search(proof, x, y, int(t), entry["radius"])
        there = exact.logits(EXACT.number(worst))[0]
        assert there[y] > there[int(t)], f"class {t} is nearer than {entry['radius']}"


def search(proof: Proof, x: np.ndarray, y: int, t: int, radius: float) -> np.ndarray:
    """A point within the radius where the margin of y over t is as small as we find."""
    network, rng = (
        Definition(proof.header, proof.arrays, NUMPY),
        np.random.default_rng(0),
    )
    steps, spread = rng.normal(size=(400, *x.shape)), 1.0
    best = steps[0]
    for _ in range(12):
        lengths = np.sqrt(np.square(steps).sum((1, 2, 3), keepdims=True))
        steps *= radius * (1 - 1e-13) / np.maximum(lengths, 1e-300)
        logits = network.logits(x + steps)
        best = steps[(logits[:, y] - logits[:, t]).argmin()]
        spread /= 3
        noise = rng.normal(size=(200, *x.shape)) * radius / np.sqrt(x.size)
        steps = np.concatenate([best[None], best + spread * noise])
    return (x + best)[None]
