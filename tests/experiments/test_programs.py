"""The programs as a user meets them: mistakes, a whole small run."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from safetensors.numpy import load_file

from helpers.programs import ENVIRONMENT, ROOT, program, refused
from lipjax.verify import verify


def test_mistakes_are_one_line(tmp_path):
    existing = tmp_path / "existing"
    existing.mkdir()
    (existing / "mine").touch()
    assert "nope" in refused("train", "--nope")
    assert "multiple of the 3 stages" in refused("train", "--depth=7")
    assert "choose another --run" in refused("train", f"--run={existing}")
    assert "is not a run" in refused("certify", f"--run={existing}")
    assert "leave out --epochs" in refused("train", "--resume=x", "--epochs=3")
    assert "needs --init_from" in refused("train", "--train_only=head")


@pytest.fixture(scope="module")
def finished(pictures, tmp_path_factory):
    """A whole run on the pictures, and what it printed."""
    run = tmp_path_factory.mktemp("runs") / "run"
    result = program(
        "train",
        f"--data=folder:{pictures}",
        f"--run={run}",
        *("--epochs=2", "--batch_size=8", "--width=2", "--depth=2", "--validation=4"),
    )
    assert result.returncode == 0, result.stderr
    return run, result.stdout


def _json_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_leaves_what_it_promises(finished):
    run, printed = finished
    rows = _json_lines(run / "metrics.jsonl")
    assert [row["epoch"] for row in rows] == [1, 2]
    header, *table = (run / "metrics.csv").read_text().splitlines()
    assert header.split(",") == list(rows[0]) and len(table) == 2
    for name in ("training.png", "radii.png"):
        with Image.open(run / name) as picture:
            assert picture.size[0] > 300
    certificates = _json_lines(run / "certificates.jsonl")
    assert [c["index"] for c in certificates] == list(range(10))
    for c in certificates:
        assert str(c["prediction"]) not in c["classes"]
        assert c["radius"] == 0 or c["prediction"] == c["label"]
    test = json.loads((run / "test.json").read_text())
    clean = np.mean([c["prediction"] == c["label"] for c in certificates])
    assert test["accuracy"] == pytest.approx(clean)
    robust = np.mean([c["radius"] > 0.5 for c in certificates])
    assert test["0.5"] == pytest.approx(robust)
    assert "proven" in printed and "36/255" in printed
    assert not list(run.rglob("*.part")) and not list(run.rglob("*tmp*"))


def test_certify_repeats_the_end_of_the_run(finished):
    run, _ = finished
    before = (run / "certificates.jsonl").read_bytes()
    result = program("certify", f"--run={run}")
    assert result.returncode == 0, result.stderr
    assert (run / "certificates.jsonl").read_bytes() == before


def test_the_checker_accepts_the_proof(finished):
    run, _ = finished
    files = ["certificates.jsonl", "--model", "model.npz", "--data", "images.npz"]
    command = [sys.executable, ROOT / "lipjax" / "verify.py", *files]
    result = subprocess.run(command, cwd=run, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "accepted: 10 " in result.stdout


def test_another_head_on_the_trunk(finished, tmp_path):
    """The result is a run: it is resumed and certified; its trunk is the old one."""
    source, _ = finished
    run, data = tmp_path / "run", json.loads((source / "config.json").read_text())
    flags = ["--train_only=head", "--head=curvature", "--hidden=8", "--batch_size=8"]
    flags += [f"--data={data['config']['data']}", "--epochs=2", f"--run={run}"]
    result = program("train", f"--init_from={source}", *flags)
    assert result.returncode == 0, result.stderr
    with np.load(source / "model.npz") as old, np.load(run / "model.npz") as new:
        assert (old["layers.0.kernel"] == new["layers.0.kernel"]).all()
    settings = json.loads((run / "config.json").read_text())
    assert settings["model"]["last_pooling"] is True
    assert settings["config"]["augment"] is False
    before = (run / "certificates.jsonl").read_bytes()
    shutil.rmtree(max((run / "checkpoints" / "last").iterdir(), key=_step))
    result = program("train", f"--resume={run}")
    assert result.returncode == 0, result.stderr
    assert (run / "certificates.jsonl").read_bytes() == before


def _step(checkpoint):
    return int(checkpoint.name)


@pytest.mark.long
def test_attack(finished):
    run, _ = finished
    flags = [f"--run={run}", "--steps=3", "--points=20", "--images=6"]
    result = program("attack", *flags)
    assert result.returncode == 0, result.stderr
    found = json.loads((run / "attack.json").read_text())
    assert [row["radius"] for row in found["robust"]][:2] == ["36/255", "72/255"]
    for row in found["robust"]:
        assert row["certified"] <= row["empirical"] <= 1
    inside, beyond = found["inside"]
    assert inside["factor"] == 0.999 and inside["successes"] == 0
    assert inside["points"] >= 20 and beyond["points"] >= 2
    nearest = found["nearest"]
    assert nearest["images"] == 0 or nearest["certified"] < nearest["attacked"]


def test_guarantees(finished):
    run, _ = finished
    result = program("guarantees", f"--run={run}")
    assert result.returncode == 0, result.stderr
    found = json.loads((run / "guarantees.json").read_text())
    estimates, bounds = found["costs"]
    assert bounds["radius"] == pytest.approx(estimates["radius"], rel=1e-2)
    test = json.loads((run / "test.json").read_text())
    assert bounds["radius"] == pytest.approx(test["mean_radius"])
    measured = {row["execution"]: row["pixels"] for row in found.get("rounding", [])}
    if measured:
        assert 0 < measured["float64, JAX"] < measured["float64, proven"]
        assert measured["float64, in sequence"] < measured["float64, proven"] < 1e-8
        assert measured["float32, in sequence"] > measured["float64, in sequence"]


def test_certificates_of_another_network_are_not_attacked(finished, tmp_path):
    run, _ = finished
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    record = dict(np.load(copy / "model.npz"))
    record["head.bias"] += 1e-9
    np.savez(copy / "model.npz", **record)
    assert "certify again" in refused("attack", f"--run={copy}")
    (copy / "certificates.jsonl").unlink()
    assert "no certificates" in refused("attack", f"--run={copy}")


def test_certificates_of_other_images_are_not_attacked(finished, tmp_path):
    run, _ = finished
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    arrays = dict(np.load(copy / "images.npz"))
    np.savez(copy / "images.npz", **arrays | {"images": arrays["images"] ^ 1})
    assert "of other images" in refused("attack", f"--run={copy}")
    np.savez(copy / "images.npz", **arrays | {"images": arrays["images"][:1]})
    assert "images.npz" in refused("attack", f"--run={copy}")


@pytest.mark.long
def test_some_images_are_certified_and_attacked(finished, tmp_path):
    run, _ = finished
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    whole = _json_lines(copy / "certificates.jsonl")
    assert program("certify", f"--run={copy}", "--test_images=3").returncode == 0
    rows = _json_lines(copy / "certificates.jsonl")
    assert [row["image"] for row in rows] == [whole[i]["image"] for i in (0, 3, 6)]
    assert program("attack", f"--run={copy}", "--steps=2").returncode == 0
    assert json.loads((copy / "attack.json").read_text())["images"] == 3


def test_own_images_are_certified(finished, tmp_path):
    """One that is no image is told; the others' certificates are accepted."""
    run, _ = finished
    images = tmp_path / "images"
    images.mkdir()
    pixels = np.load(run / "images.npz")["images"][0]
    Image.fromarray(pixels).save(images / "own.png")
    (images / "text.png").write_text("no image")
    out = tmp_path / "out"
    flags = (f"--run={run}", f"--images={images}", f"--out={out}")
    result = program("certify", *flags)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    (line,) = (x for x in result.stderr.splitlines() if x.startswith("error"))
    assert line.endswith("text.png is no image that Pillow reads, or damaged")
    (row,) = json.loads((out / "images.json").read_text())
    assert row["file"].endswith("own.png") and row["notes"] == []
    assert {row["prediction"], row["runner_up"]} == {"bright", "dark"}
    assert row["radius"] == _json_lines(run / "certificates.jsonl")[0]["radius"]
    assert row["nearest_change"] is None or row["nearest_change"] > row["radius"]
    names = ("certificates.jsonl", "model.npz", "images.npz")
    report = verify(*(out / name for name in names))
    assert report.certificates == 1 and report.mean_radius == row["radius"]
    with Image.open(out / row["picture"]) as picture:
        assert np.ptp(np.asarray(picture)) == 255
    assert "no such file" in refused("certify", f"--run={run}", "--images=absent.png")


def test_an_exported_network_needs_no_lipjax(finished, tmp_path):
    """Its loader needs jax, onnxruntime nothing; the card has the hashes."""
    run, _ = finished
    out = tmp_path / "exported"
    result = program("export", f"--run={run}", f"--out={out}")
    assert result.returncode == 0, result.stderr
    card = (out / "README.md").read_text()
    for name in ("certificates.jsonl", "model.npz", "images.npz"):
        assert hashlib.sha256((run / name).read_bytes()).hexdigest() in card
    test = json.loads((run / "test.json").read_text())
    assert f"| {100 * test['accuracy']:.2f} | {100 * test['36/255']:.2f} |" in card
    code = (
        "import sys, json, numpy as np; from load import classify\n"
        "assert not {'lipjax', 'flax'} & set(sys.modules)\n"
        f"data = np.load({str(run / 'images.npz')!r})\n"
        "found = classify(data['images'] / data['levels'])\n"
        "print(json.dumps({k: np.asarray(v).tolist() for k, v in found.items()}))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=out, env=ENVIRONMENT, capture_output=True
    )
    assert loaded.returncode == 0, loaded.stderr.decode()
    found = json.loads(loaded.stdout)
    rows = _json_lines(run / "certificates.jsonl")
    assert found["prediction"] == [row["prediction"] for row in rows]
    for row, radius in zip(rows, found["radius"], strict=True):
        right = row["prediction"] == row["label"]
        # weights rounded to float32, whose proven norms leave other room: 2e-5 seen
        assert not right or radius == pytest.approx(row["radius"], rel=1e-4, abs=1e-5)
    data = np.load(run / "images.npz")
    images = (data["images"] / data["levels"]).astype(np.float32)
    session = onnxruntime.InferenceSession(out / "network.onnx")
    radius, logits = map(
        np.asarray, session.run(["radius", "logits"], {"images": images})
    )
    np.testing.assert_allclose(radius, found["radius"], atol=1e-5)
    np.testing.assert_allclose(logits, found["logits"], atol=1e-5)
    settings = json.loads((out / "settings.json").read_text())
    assert settings["config"]["data"] == "folder"  # where it lies is nobody's business
    weights = load_file(out / "weights.safetensors")
    with np.load(run / "model.npz") as record:
        bias = weights["params/initial/conv/bias"]
        assert (record["layers.0.bias"] == bias).all()
    assert "not an empty folder" in refused("export", f"--run={run}", f"--out={out}")


@pytest.mark.long
def test_nothing_certified_is_nothing_to_attack(finished, tmp_path):
    run, _ = finished
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    rows = _json_lines(copy / "certificates.jsonl")
    none = [json.dumps(row | {"radius": 0.0, "classes": {}}) + "\n" for row in rows]
    (copy / "certificates.jsonl").write_text("".join(none))
    assert "nothing to attack" in refused("attack", f"--run={copy}", "--points=9")
    for name in ("attack", "guarantees"):
        assert "--images" in refused(name, f"--run={copy}", "--images=0")
    assert "--test_images" in refused("certify", f"--run={copy}", "--test_images=0")


def test_a_damaged_checkpoint_is_one_line(finished, tmp_path):
    run, _ = finished
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", run, copy], check=True)
    for file in (copy / "checkpoints" / "last").rglob("*"):
        if file.is_file() and file.stat().st_size > 100:
            file.write_bytes(file.read_bytes()[:50])
    assert "damaged" in refused("certify", f"--run={copy}")


@pytest.mark.long
def test_a_loss_that_is_not_finite_stops_the_run(pictures, tmp_path):
    line = refused(
        "train",
        f"--data=folder:{pictures}",
        f"--run={tmp_path / 'run'}",
        *("--epochs=2", "--batch_size=8", "--width=2", "--depth=2"),
        "--learning_rate=1e38",
    )
    assert "not finite" in line
