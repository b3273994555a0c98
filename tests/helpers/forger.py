"""A forger: changes small honest proofs in one of hundreds of ways, at random.

A forgery changes what the files say (this file) or how they say it (`forged_bytes`),
and its hashes agree with its contents, or not.
"""

import base64
import contextlib
import json
import warnings
from typing import Any, NamedTuple

import numpy as np

from helpers.forged_bytes import CONTAINERS, TEXTS, rewritten_hash
from helpers.forged_values import FACTORS, forged_array, forged_tree, scaled
from helpers.small_proofs import Proof, files_of, set_radius

Random = np.random.Generator


class Forgery(NamedTuple):
    kind: str
    proof: str  # the name of the honest proof that was changed
    files: dict[str, bytes]


def forge(proofs: dict[str, Proof], rng: Random, kind: str | None = None) -> Forgery:
    """A random forgery of one of the proofs, of a random kind."""
    name, kind = str(rng.choice(list(proofs))), kind or str(rng.choice(KINDS))
    others = [proof for n, proof in proofs.items() if n != name]
    with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
        if kind in CONTENTS:
            files = changed_contents(proofs[name].copy(), kind, rng, others)
        else:
            files = changed_bytes(proofs[name], kind, rng)
    return Forgery(kind, name, files)


def changed_contents(proof: Proof, kind: str, rng: Random, others: list) -> dict:
    CONTENTS[kind](proof, rng, others)
    if rng.random() < 0.2:
        with contextlib.suppress(Exception):  # what is forged may not bear another
            CONTENTS[kind](proof, rng, others)
    return proof.files(rehash=bool(rng.random() < 0.8))


def changed_bytes(proof: Proof, kind: str, rng: Random) -> dict[str, bytes]:
    files = dict(files_of(proof))
    if kind in TEXTS and rng.random() < 0.3:
        proof = proof.copy()
        proof.header = TEXTS[kind](json.dumps(proof.header).encode(), rng)
        return proof.files(rehash=True)
    if kind in TEXTS:
        text = files["certificates.jsonl"]
        return files | {"certificates.jsonl": TEXTS[kind](text, rng)}
    target = str(rng.choice(["model.npz", "images.npz"]))
    files[target] = CONTAINERS[kind](files[target], rng)
    return rewritten_hash(files, proof) if rng.random() < 0.9 else files


def rows_of(proof: Proof) -> list[dict[str, Any]]:
    """The certificates that prove a radius."""
    return [row for row in proof.rows if row["classes"]]


def a_row(proof: Proof, rng: Random) -> dict[str, Any]:
    rows = rows_of(proof)
    return rows[rng.integers(len(rows))]


def larger_radius(proof: Proof, rng: Random, others: list) -> None:
    row, factor = a_row(proof, rng), rng.choice(FACTORS)
    t = rng.choice(list(row["classes"]))
    changed = rng.choice(["entry", "image", "both", "all"])
    for u, entry in row["classes"].items():
        if changed == "all" or (changed != "image" and u == t):
            entry["radius"] = scaled(entry["radius"], factor)
    if changed == "image":
        row["radius"] = scaled(row["radius"], factor)
    elif changed != "entry" or rng.random() < 0.5:
        set_radius(row)


def entries_swapped(proof: Proof, rng: Random, others: list) -> None:
    row, other = a_row(proof, rng), a_row(proof, rng)
    t, u = rng.choice(list(row["classes"])), rng.choice(list(other["classes"]))
    row["classes"][t], other["classes"][u] = other["classes"][u], row["classes"][t]
    if rng.random() < 0.7:
        set_radius(row)
        set_radius(other)


def classes_permuted(proof: Proof, rng: Random, others: list) -> None:
    """In the head, in the certificates, or in both, where it is only another name."""
    order = rng.permutation(3)
    where = rng.choice(["head", "certificates", "labels", "all"])
    if where in ("head", "all"):
        for name in ("kernel", "bias", "curvatures"):
            if (name := f"head.{name}") in proof.arrays:
                proof.arrays[name] = proof.arrays[name][..., order]
        if "head.curvatures" in proof.arrays and rng.random() < 0.8:
            proof.arrays["head.curvatures"] = proof.arrays["head.curvatures"][order]
    place = np.argsort(order).tolist()
    if where in ("certificates", "all"):
        for row in proof.rows:
            for key in ("label", "prediction"):
                row[key] = place[row[key]]
            items = [(str(place[int(t)]), e) for t, e in row["classes"].items()]
            row["classes"] = dict(sorted(items))
    if where in ("labels", "all"):
        proof.data["labels"] = np.array(place)[proof.data["labels"]]


def numbers_exchanged(proof: Proof, rng: Random, others: list) -> None:
    """A field of one certificate, or of all, has the value of another one."""
    key = rng.choice(["index", "label", "prediction", "model", "image"])
    row, other = (proof.rows[i] for i in rng.integers(len(proof.rows), size=2))
    key = str(key)
    if key in ("label", "prediction") and rng.random() < 0.7:
        row[key] = int(rng.integers(3))
        if rng.random() < 0.5:
            row["label" if key == "prediction" else "prediction"] = row[key]
    else:
        row[key], other[key] = other[key], row[key]


def rows_rearranged(proof: Proof, rng: Random, others: list) -> None:
    how = rng.choice(
        ["order", "missing", "twice", "none", "nothing claimed", "foreign"]
    )
    rows = proof.rows
    if not rows:  # this is the second change
        return
    if how == "order":
        rng.shuffle(rows)  # pyright: ignore[reportArgumentType]
    elif how == "missing":
        del rows[rng.integers(len(rows))]
    elif how == "twice":
        rows.append(json.loads(json.dumps(rows[rng.integers(len(rows))])))
    elif how == "none":
        rows.clear()
    elif how == "foreign":
        foreign = others[rng.integers(len(others))].copy().rows
        rows[rng.integers(len(rows))] = foreign[rng.integers(len(foreign))]
    else:
        rows[0] |= {"radius": 0.0, "classes": {}}


def fields_changed(proof: Proof, rng: Random, others: list) -> None:
    forged_tree(proof.rows, rng)


def header_changed(proof: Proof, rng: Random, others: list) -> None:
    forged_tree(proof.header, rng)


def dual_changed(proof: Proof, rng: Random, others: list) -> None:
    entries = [e for row in proof.rows for e in row["classes"].values()]
    duals = [e for e in entries if "eta" in e]
    if not duals:
        entry = entries[rng.integers(len(entries))]
        entry |= {"eta": float(rng.random()), "delta": "AAAAAAAAAAA="}
        return
    entry, how = duals[rng.integers(len(duals))], rng.integers(8)
    delta = np.frombuffer(base64.b64decode(entry["delta"]), "<f4").copy()
    if how == 0:
        entry["eta"] = scaled(entry["eta"], rng.choice(FACTORS))
    elif how == 1:
        entry["eta"] = float(rng.choice([0.0, -0.0, 1e300, 5e-324, np.inf, np.nan]))
    elif how == 2:
        delta *= np.float32(rng.choice([0, -1, 1.001, 0.999, 2, 1e30, 1e-30]))
    elif how == 3:
        delta[rng.integers(len(delta))] = rng.choice([np.nan, np.inf, -np.inf, 3e38])
    elif how == 4:
        delta = np.append(delta, delta) if rng.random() < 0.5 else delta[:-1]
    elif how == 5:
        del entry[str(rng.choice(["eta", "delta"]))]
        if rng.random() < 0.5:
            entry.pop("eta", entry.pop("delta", None))
        return
    packed = base64.b64encode(delta.tobytes()).decode()
    if how == 6:
        packed = packed.rstrip("=") + str(rng.choice(["", "=", "\n", "A", "===", " ="]))
    if how == 7:  # the last letter's lowest bits are not used
        stem = packed.rstrip("=")
        last = chr(ord(stem[-1]) + 1)
        packed = stem[:-1] + last + packed[len(stem) :]
    entry["delta"] = packed


def bounds_changed(proof: Proof, rng: Random, others: list) -> None:
    """Claims of layers and curvatures that are lower, a little or much, or higher."""
    claims: list[Any] = [
        (x, place)
        for name, x in proof.arrays.items()
        if name.endswith(("claims", "curvatures"))
        for place in np.ndindex(x.shape)
    ]
    if not claims:
        return larger_radius(proof, rng, others)
    claimant, key = claims[rng.integers(len(claims))]
    factor = rng.choice([1 - 1e-12, 1 - 1e-8, 1 - 1e-6, 0.999, 0.5, 0.0, -1.0, 1.5])
    claimant[key] = scaled(claimant[key], factor)


def layers_rearranged(proof: Proof, rng: Random, others: list) -> None:
    """Layers, or what is claimed of them, are swapped, dropped or doubled."""
    layers, arrays = proof.header["layers"], proof.arrays
    if not layers:
        kind = str(rng.choice(["flatten", "maxmin", "max", "x"]))
        layers += [{"kind": kind, "stride": 1}]
        return
    i, j = rng.integers(len(layers), size=2)
    how = rng.choice(["swap", "arrays", "drop", "double", "kind", "stride"])
    if how == "swap":
        layers[i], layers[j] = layers[j], layers[i]
    elif how == "arrays":
        mine, theirs = (names_of(arrays, k, rng.random() < 0.5) for k in (i, j))
        for name, other in zip(mine, theirs, strict=False):
            arrays[name], arrays[other] = arrays[other], arrays[name]
    elif how == "drop":
        del layers[i]
    elif how == "double":
        layers.insert(i, dict(layers[j]))
    elif how == "stride":
        layers[i]["stride"] = int(rng.choice([0, -1, 1, 2, 3, 2**40]))
    else:
        kinds = ["max", "maxmin", "householder", "projection", "flatten", "MAX", None]
        layers[i]["kind"] = kinds[rng.integers(len(kinds))]


def names_of(arrays: dict, i: int, only_claims: bool) -> list[str]:
    names = [name for name in arrays if name.startswith(f"layers.{i}.")]
    return [name for name in names if not only_claims or name.endswith("claims")]


def weights_changed(proof: Proof, rng: Random, others: list) -> None:
    name = str(rng.choice(list(proof.arrays)))
    value = proof.arrays[name]
    noise = rng.normal(size=value.shape) * 10.0 ** rng.choice([-17, -12, -6, -2, 0])
    is_square = value.ndim == 4 and value.shape[2] == value.shape[3]
    if name.endswith("kernel") and is_square and rng.random() < 0.7:  # stays skew
        noise = noise - noise[::-1, ::-1].swapaxes(2, 3)
    proof.arrays[name] = value + noise * (
        rng.random(value.shape) < rng.choice([0.3, 1])
    )


def arrays_changed(proof: Proof, rng: Random, others: list) -> None:
    group = proof.arrays if rng.random() < 0.6 else proof.data
    name, how = str(rng.choice(list(group))), rng.random()
    if how < 0.85:
        group[name] = forged_array(group[name], rng)
    elif how < 0.9:
        del group[name]
    elif how < 0.95:
        group[str(rng.choice(["extra", "", "a/b", "../mean", name + ".npy"]))] = group[
            name
        ]
    else:
        other = str(rng.choice(list(group)))
        group[name], group[other] = group[other], group[name]


def images_changed(proof: Proof, rng: Random, others: list) -> None:
    data, how = proof.data, rng.integers(7)
    i, j = rng.integers(4, size=2)
    images, labels = data["images"], data["labels"]
    if how == 0:
        images[i] = images[j]
    elif how == 1:
        images[[i, j]] = images[[j, i]]
    elif how == 2:
        images.reshape(-1)[rng.integers(images.size)] += rng.choice(
            [1, 16, 255], 1
        ).astype("u1")[0]
    elif how == 3:
        data["levels"] = np.array(
            rng.choice([0, -16, 1, 8, 15, 17, 32, 255, 256, 2**40])
        )
    elif how == 4:
        labels[i] = rng.choice([-1, 0, 1, 2, 3, 2**62])
    elif how == 5:
        data["images"], data["labels"] = images[::-1].copy(), labels[::-1].copy()
    else:
        data["images"], data["labels"] = images[: i + 1], labels[: i + 1]


def other_model(proof: Proof, rng: Random, others: list) -> None:
    other = others[rng.integers(len(others))]
    part = rng.choice(["header", "arrays", "model", "data", "head"])
    if part in ("header", "model"):
        proof.header = other.copy().header
    if part in ("arrays", "model"):
        proof.arrays = other.copy().arrays
    if part == "head":
        mine = {k: v for k, v in proof.arrays.items() if not k.startswith("head.")}
        proof.arrays = mine | {
            k: v for k, v in other.arrays.items() if k.startswith("head.")
        }
    if part == "data":
        proof.data = other.copy().data


CONTENTS = {
    function.__name__.replace("_", " "): function
    for function in (
        larger_radius, entries_swapped, classes_permuted, numbers_exchanged,
        rows_rearranged, fields_changed, header_changed, dual_changed, bounds_changed,
        layers_rearranged, weights_changed, arrays_changed, images_changed, other_model,
    )
}  # fmt: skip
KINDS = [*CONTENTS, *TEXTS, *CONTAINERS]
