"""The independent checker accepts what lipjax certifies and rejects what is changed."""

import base64
import hashlib
import io
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

import lipjax
from helpers.dense import normal
from helpers.networks import KINDS, small_network
from lipjax.certify import Certifier, certificate_rows, model_record, read_network

VERIFY = pathlib.Path(lipjax.__file__).parent / "verify.py"
# Runs the checker where only NumPy and the standard library can be imported.
ALONE = """
import runpy, sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top != "numpy" and top not in sys.stdlib_module_names:
            raise ImportError(f"{name} is not installed")
import numpy
sys.meta_path.insert(0, Nothing())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def write_proof(folder, network, starts=(0,), count=12):
    """The three files of a proof, in batches of 12 / len(starts) images, in this order.

    The labels are the predictions, except for two images.
    """
    rng = np.random.default_rng(0)
    images = rng.integers(0, 17, (count, *network.image_shape)).astype(np.uint8)
    x, labels = images / 16.0, np.zeros(count, np.int64)
    certifier = Certifier(network)
    curvatures, parts = certifier.curvatures, {}
    for start in starts:
        batch = slice(start, start + count // len(starts))
        parts[start] = certifier(x[batch], curvatures)
        curvatures = parts[start].curvatures
        labels[batch] = parts[start].prediction
    labels[:2] = (labels[:2] + 1) % 5
    record = model_record(certifier, curvatures)
    (folder / "model.npz").write_bytes(record)
    np.savez(folder / "images.npz", images=images, labels=labels, levels=16)
    digest = hashlib.sha256(record).hexdigest()
    rows = [
        row
        for start, part in parts.items()
        for row in certificate_rows(
            part, x[start:], labels[start : start + len(part.radius)], digest, start
        )
    ]
    write_rows(folder, rows)


def write_rows(folder, rows):
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "certificates.jsonl").write_text(lines)


def read_rows(folder):
    lines = (folder / "certificates.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def check(folder, verify=VERIFY):
    command = [sys.executable, "-I", "-W", "error", "-c", ALONE, str(verify)]
    names = ["certificates.jsonl", "--model", "model.npz", "--data", "images.npz"]
    done = subprocess.run(
        command + names, cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.stderr == "" or done.returncode == 2, done.stderr
    return done.returncode, (done.stdout + done.stderr).strip()


@pytest.fixture(scope="module", params=KINDS)
def proof(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    write_proof(folder, small_network(request.param, stages=2, width=2))
    return folder


@pytest.fixture
def copy(proof, tmp_path):
    return pathlib.Path(shutil.copytree(proof, tmp_path / "copy"))


def test_accepted_as_a_plain_file(proof, tmp_path):
    lone = shutil.copy(VERIFY, tmp_path / "verify.py")
    code, message = check(proof, lone)
    assert code == 0, message
    assert message.startswith("accepted: 12 ")


def test_certificates_and_records_are_reproducible(proof, tmp_path):
    network = read_network((proof / "model.npz").read_bytes())
    write_proof(tmp_path, network)
    for name in ("model.npz", "certificates.jsonl"):
        assert (tmp_path / name).read_bytes() == (proof / name).read_bytes()


@pytest.mark.parametrize(
    "starts", [pytest.param((0, 4, 8), marks=pytest.mark.long), (9, 3, 6, 0)]
)
def test_any_batches_in_any_order_are_accepted(tmp_path, starts):
    write_proof(tmp_path, small_network("curvature", stages=2, width=2), starts)
    code, message = check(tmp_path)
    assert code == 0, message
    assert message.startswith("accepted: 12 ")


def rejected(folder, *words):
    code, message = check(folder)
    assert code == 1, message
    assert message.startswith("rejected: ") and len(message.splitlines()) == 1
    for word in words:
        assert word in message


def change_row(folder, change, positive=True):
    """Changes the first certificate of a positive radius; returns its line's number."""
    rows = read_rows(folder)
    number = next(i for i, row in enumerate(rows) if (row["radius"] > 0) == positive)
    change(rows[number])
    write_rows(folder, rows)
    return number + 1


def nearest(row):
    return min(row["classes"], key=lambda t: row["classes"][t]["radius"])


def test_a_larger_radius(copy):
    def grow(row):
        row["radius"] *= 1.001
        row["classes"][nearest(row)]["radius"] *= 1.001

    rejected(copy, f"image {change_row(copy, grow) - 1}")


def test_the_radius_of_one_class(copy):
    def grow(row):
        other = next(t for t in row["classes"] if t != nearest(row))
        row["classes"][other]["radius"] *= 4

    rejected(copy, f"image {change_row(copy, grow) - 1}")


def test_a_radius_beside_its_classes(copy):
    rejected(copy, f"line {change_row(copy, lambda row: row.update(radius=0.5))}")


@pytest.mark.parametrize("positive", [True, False])
def test_a_label(copy, positive):
    def other(row):
        row["label"] = (row["label"] + 1) % 5

    rejected(copy, f"line {change_row(copy, other, positive)}")


def test_a_prediction(copy):
    def other(row):
        row["prediction"] = row["label"] = (row["label"] + 1) % 5

    rejected(copy, f"line {change_row(copy, other)}")


def test_a_class_left_out(copy):
    def drop(row):
        del row["classes"][next(t for t in row["classes"] if t != nearest(row))]

    rejected(copy, f"line {change_row(copy, drop)}")


def test_an_image(copy):
    with np.load(copy / "images.npz") as data:
        arrays = dict(data)
    arrays["images"][5, 0, 0, 0] ^= 1
    np.savez(copy / "images.npz", **arrays)
    rejected(copy, "line 6", "another image")


def larger_eta(proof):
    proof["eta"] *= 1.05


def longer_delta(proof):
    delta = np.frombuffer(base64.b64decode(proof["delta"]), "<f4") * 1.1
    proof["delta"] = base64.b64encode(delta.astype("<f4")).decode()


@pytest.mark.parametrize("change", [larger_eta, longer_delta])
def test_a_dual(copy, change):
    rows = read_rows(copy)
    for row in rows:
        for proof in row["classes"].values():
            if "delta" in proof:
                change(proof)
                write_rows(copy, rows)
                rejected(copy, f"image {row['index']}")
                return
    with np.load(copy / "model.npz") as model:
        assert "head.curvatures" not in model.files  # only there is a dual needed


def change_model(folder, change):
    """Changes the record, and the hash of it in every certificate."""
    with np.load(folder / "model.npz") as model:
        arrays = dict(model)
    header = json.loads(arrays["header"].tobytes())
    change(arrays, header)
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    content = io.BytesIO()
    np.savez(content, **arrays)
    (folder / "model.npz").write_bytes(content.getvalue())
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    write_rows(folder, [row | {"model": digest} for row in read_rows(folder)])


def test_a_weight(copy):
    content = bytearray((copy / "model.npz").read_bytes())
    with np.load(copy / "model.npz") as model:
        place = content.find(model["layers.0.bias"].tobytes())
    content[place] ^= 1
    (copy / "model.npz").write_bytes(content)
    code, message = check(copy)
    assert code in (1, 2), message  # its hash, or the archive's own checksum


def test_a_weight_under_a_new_hash(copy):
    def change(arrays, header):
        name = next(n for n in arrays if n.startswith("head.") and arrays[n].ndim == 2)
        arrays[name] = arrays[name] + 0.01 * normal(0, *arrays[name].shape)

    change_model(copy, change)
    rejected(copy)


@pytest.mark.parametrize("claim", [0, 1])
def test_a_layer_bound_smaller_by_a_thousandth(copy, claim):
    def change(arrays, header):
        arrays["layers.0.claims"][claim] *= 0.999

    change_model(copy, change)
    rejected(copy, "layers.0")


def test_a_kernel_that_is_not_skew(copy):
    def change(arrays, header):
        arrays["layers.0.kernel"][0, 0, 0, 0] += 1e-12

    change_model(copy, change)
    rejected(copy, "layers.0")


def test_a_curvature(copy):
    def change(arrays, header):
        if "head.curvatures" in arrays:
            arrays["head.curvatures"] *= 0.999

    change_model(copy, change)
    with np.load(copy / "model.npz") as model:
        curved = "head.curvatures" in model.files
    assert check(copy)[0] == (1 if curved else 0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(copy, value):
    def change(arrays, header):
        arrays["layers.0.bias"][0] = value

    change_model(copy, change)
    assert check(copy)[0] in (1, 2)


def test_an_image_twice(copy):
    rows = read_rows(copy)
    write_rows(copy, [*rows, rows[3]])
    rejected(copy, f"line {len(rows) + 1}")


@pytest.mark.parametrize("name", ["model.npz", "images.npz", "certificates.jsonl"])
def test_files_that_are_not_there_or_cut(copy, name):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    code, message = check(copy)
    assert code in (1, 2) and len(message.splitlines()) == 1, message
    (copy / name).unlink()
    code, message = check(copy)
    assert code == 2 and name in message and len(message.splitlines()) == 1
