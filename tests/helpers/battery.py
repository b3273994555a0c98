"""Files whose verdict is known, for mutants of the checker.

    PYTHONPATH=.:tests python -m helpers.battery

writes the proven limits of radii to tests/verify/limits.json: a change of the checker
that moves one by more than 1e-9 of itself is seen.
"""

import base64
import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from helpers import unclaimed_proofs
from helpers.campaign import honest_proofs
from helpers.checker import make_layer, torus_norm
from helpers.edge_proofs import EDGES
from helpers.exact_proofs import NETWORKS, exact_proof
from helpers.forger import forge
from helpers.map_proofs import map_proof
from helpers.polynomials import extremes
from helpers.small_proofs import (
    ROOM,
    SKEW,
    Proof,
    check,
    drawn_proof,
    files_of,
    limit,
    set_radius,
    tighten,
    true_curvature,
)
from lipjax import verify as checker

ANGLES = checker.ANGLES
LIMITS = Path(__file__).parents[1] / "verify" / "limits.json"
FORGERIES = 250


class Case(NamedTuple):
    name: str
    files: dict[str, bytes]
    accepted: bool


def all_proofs(folder: Path) -> dict[str, Proof]:
    exact = {
        f"exact {name}{' curved' * curved}": exact_proof(name, curved)
        for name in NETWORKS
        for curved in (False, True)
    }
    maps = {f"exact map {kind}": map_proof(kind, folder) for kind in ANGLES}
    honest = honest_proofs(folder)
    off = {
        f"exact {n}, off": off_center(honest[n], folder) for n in ("curved", "pooled")
    }
    return honest | exact | maps | off


def off_center(proof: Proof, folder: Path) -> Proof:
    """With deltas that are not the best: residuals count."""
    proof = proof.copy()
    for row in proof.rows:
        for entry in row["classes"].values():
            if "delta" in entry:
                delta = np.frombuffer(base64.b64decode(entry["delta"]), "<f4") * 0.98
                packed = base64.b64encode(delta.astype("<f4").tobytes())
                entry["delta"] = packed.decode()
        if row["classes"]:
            tighten(proof, row, folder)
    return proof


def limits(proofs: dict[str, Proof], folder: Path) -> dict[str, float]:
    """The proven limit of each radius of each certificate."""
    return {
        f"{name}, image {row['index']}, class {t}": limit(proof, row, t, folder)
        for name, proof in proofs.items()
        for row in proof.rows
        for t in row["classes"]
    }


def cases(folder: Path) -> Iterator[Case]:
    """First those that are quick, or refused by little."""
    proofs = all_proofs(folder)
    honest = {name: p for name, p in proofs.items() if not name.startswith("exact")}
    for name, proof in honest.items():
        yield Case(name, files_of(proof), True)
    for count in (128, 129, 200):
        many = many_images(proofs["plain"], count)
        yield Case(f"{count} images", many.files(rehash=True), True)
        for row in many.rows[-1:]:
            for entry in (row, *row["classes"].values()):
                entry["radius"] *= 1.1
        yield Case(f"{count} images, a false claim", many.files(rehash=True), False)
    yield from near_radii(proofs)
    for name, proof in honest.items():
        yield from near_bounds(name, proof)
    taps = drawn_proof((3, 3, 1), [(SKEW, {"k": 5}), ("max", {})], False, folder)
    yield from near_bounds("five taps", taps)
    for name, (change, accepted) in EDGES.items():
        of = {"layer": "convolutions", "plain": "torus"}.get(name.split(":")[0])
        proof = honest[of or "curved"].copy()
        for row in proof.rows:  # the change may cost much of the radii
            for entry in (row, *row["classes"].values()):
                entry["radius"] /= 64
        proof = change(proof) or proof
        yield Case(name, proof.files(rehash=True), accepted)
    for name, proof, accepted in unclaimed_proofs.proofs():
        yield Case(name, proof.files(rehash=True), accepted)
    for seed in range(FORGERIES):
        forgery = forge(honest, np.random.default_rng(10**7 + seed))
        if forgery.files != files_of(honest[forgery.proof]):
            try:
                check(forgery.files, folder)
            except (checker.Rejected, ValueError):
                yield Case(f"forgery {seed}: {forgery.kind}", forgery.files, False)


def many_images(proof: Proof, count: int) -> Proof:
    """The proof's first image many times: the checker executes 128 at once."""
    proof = proof.copy()
    proof.data["images"] = np.repeat(proof.data["images"][:1], count, axis=0)
    proof.data["labels"] = np.repeat(proof.data["labels"][:1], count)
    proof.rows = [proof.rows[0] | {"index": i} for i in range(count)]
    return proof


def right(case: Case, folder: Path, verify: Any = checker.verify) -> bool:
    """Whether the checker's verdict is right. All its refusals are ValueErrors here."""
    try:
        report = check(case.files, folder, verify)
    except (checker.Rejected, ValueError):
        return not case.accepted
    except Exception as error:  # of a mutant: its own Rejected, or a crash
        return not case.accepted and type(error).__name__ == "Rejected"
    lines = case.files["certificates.jsonl"].splitlines()
    mean = np.mean([json.loads(line)["radius"] for line in lines])
    counted = report.certificates == len(lines) and report.margin >= 0
    return case.accepted and counted and abs(report.mean_radius - mean) <= 1e-9 * mean


def near_radii(proofs: dict[str, Proof]) -> Iterator[Case]:
    """Radii by 1e-9 below and above what is proven."""
    known = json.loads(LIMITS.read_text())
    for name, proof in proofs.items():
        for i, row in enumerate(proof.rows):
            for t in row["classes"]:
                proven = known[f"{name}, image {row['index']}, class {t}"]
                for factor in (ROOM, 2 - ROOM):
                    claim = one_claim(proof, i, t, proven * factor)
                    name_ = f"{name}, {i}, {t}: {factor}"
                    yield Case(name_, claim.files(), factor == ROOM)


def one_claim(proof: Proof, i: int, t: str, radius: float) -> Proof:
    proof = proof.copy()
    row = proof.rows[i]
    proof.rows = [row]
    for u, entry in row["classes"].items():
        entry["radius"] = radius if u == t else 2.0**-99
    set_radius(row)
    return proof


def near_bounds(name: str, proof: Proof) -> Iterator[Case]:
    """Claims by 1e-9 below and above the dense truth."""
    for i, key, truth in true_bounds(proof):
        for factor in (1 - 1e-9, 1 + 1e-9):
            forged = proof.copy()
            forged.arrays[i][key] = truth * factor
            for row in forged.rows:  # far from their limits
                for entry in row["classes"].values():
                    entry["radius"] *= 0.99
                row["radius"] *= 0.99
            files = forged.files(rehash=True)
            yield Case(f"{name}: {i} {key} {factor}", files, factor > 1)


def true_bounds(proof: Proof) -> Iterator[tuple[Any, Any, Any]]:
    h, w, _ = proof.header["image_shape"]
    for i, fields in enumerate(proof.header["layers"]):
        if fields["kind"] == "flatten":
            h = w = 1
        h, w = h // fields["stride"], w // fields["stride"]
        if fields["kind"] in ("convolution", "circular_convolution"):
            kernel = proof.arrays[f"layers.{i}.kernel"]
            layer = checker.Record(kind=fields["kind"], kernel=kernel, size=(h, w, 0))
            yield f"layers.{i}.claims", 0, torus_norm(layer)
        if fields["kind"] == "skew_convolution":
            layer = make_layer(proof.arrays[f"layers.{i}.kernel"], (h, w))
            norm = torus_norm(layer)
            claims = proof.arrays[f"layers.{i}.claims"]
            coefficients = proof.arrays[f"layers.{i}.coefficients"].tolist()
            yield f"layers.{i}.claims", 0, norm
            yield f"layers.{i}.claims", 1, extremes(coefficients, claims[0])[1]
    if "head.curvatures" in proof.arrays:
        hidden, output = (proof.arrays[f"head.{n}kernel"] for n in ("hidden_", ""))
        for row in proof.rows:
            for t in map(int, row["classes"]):
                pair = row["prediction"], t
                yield "head.curvatures", pair, true_curvature(hidden, output, *pair)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        found = limits(all_proofs(Path(name)), Path(name))
    assert all(math.isfinite(x) and x > 0 for x in found.values())
    LIMITS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
