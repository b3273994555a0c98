"""Files that the checker refuses: one thing wrong with a proof by hand."""

import hashlib
import json
import math

import numpy as np
import pytest

from helpers.proof_by_hand import NEAREST, changed, check, write_example
from lipjax import verify as checker

pytestmark = pytest.mark.usefixtures("quiet")


def test_a_file_by_hand(tmp_path):
    row = write_example(tmp_path, NEAREST * (1 - 1e-10))
    report = check(tmp_path, row)
    assert (report.certificates, report.images) == (1, 2)
    assert report.mean_radius == row["radius"]
    assert 0 < report.margin < 1e-10
    row = write_example(tmp_path, NEAREST * (1 + 1e-10))
    with pytest.raises(checker.Rejected, match="image 0: .* not proven"):
        check(tmp_path, row)


BROKEN = [
    (["label"], 1), (["label"], True), (["prediction"], 1), (["radius"], 0.1),
    (["radius"], 0), (["radius"], float("nan")), (["radius"], "0.2"), (["index"], 2),
    (["index"], 1), (["model"], "0"), (["image"], "0"), (["classes"], {}),
    (["radius"], -0.0), (["radius"], 2**64), (["radius"], "\ud800\x1b[31m"),
    (["radius"], 2.0**-101), (["classes", "2", "radius"], 2**64),
    (["classes", "2", "radius"], 1), (["slack"], 0.0), (["label"], 0.0),
    (["classes", "1"], None), (["classes", "0"], {"radius": 9.0}),
    (["classes", "2", "radius"], 0.36), (["classes", "2", "radius"], float("inf")),
    (["classes", "2", "radius"], -1.0), (["classes", "2", "radius"], None),
    (["classes", "2", "delta"], ""), (["classes", "2", "delta"], []),
    (["classes", "2", "eta"], 0.0), (["extra"], 1), (["runner_up"], 1),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "value"), BROKEN)
def test_broken_certificates_are_rejected(tmp_path, keys, value):
    row = write_example(tmp_path, 0.2)
    with pytest.raises(checker.Rejected, match=r"line 1|image 0") as caught:
        check(tmp_path, changed(row, keys, value))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("line", ["", "{", "[]", "1", '"x"', "null", "[" * 10**5])
def test_lines_that_are_no_certificates_are_rejected(tmp_path, line):
    row = write_example(tmp_path, 0.2)
    with pytest.raises(checker.Rejected, match="line 2"):
        check(tmp_path, row, line)


def test_duplicates_are_rejected_and_a_radius_of_zero_is_not(tmp_path):
    row = write_example(tmp_path, 0.2)
    with pytest.raises(checker.Rejected, match="line 2: there is another"):
        check(tmp_path, row, row)
    with pytest.raises(checker.Rejected, match="not JSON as Python writes it"):
        check(tmp_path, json.dumps(row).replace("{", '{"radius": 9, ', 1))
    with pytest.raises(ValueError, match="no certificate"):
        check(tmp_path)
    nothing = row | {"radius": 0.0, "classes": {}}
    assert check(tmp_path, nothing) == (1, 2, 0.0, math.inf)
    for classes in ("", [], None):
        with pytest.raises(checker.Rejected, match="line 1"):
            check(tmp_path, nothing | {"classes": classes})


def test_an_image_must_be_labelled_so_and_have_pixels_up_to_1(tmp_path):
    row = write_example(tmp_path, 0.2)
    nothing = row | {"radius": 0.0, "classes": {}}
    with pytest.raises(checker.Rejected, match="label"):
        check(tmp_path, nothing | {"label": 1})
    arrays = dict(np.load(tmp_path / "images.npz"))
    np.savez(tmp_path / "images.npz", **arrays | {"labels": np.array([2, 2])})
    check(tmp_path, nothing | {"label": 2})
    with pytest.raises(checker.Rejected, match="prediction is wrong"):
        check(tmp_path, row | {"label": 2})
    np.savez(tmp_path / "images.npz", **arrays | {"levels": np.array(8)})
    sha256 = hashlib.sha256((arrays["images"][0] / 8.0).tobytes()).hexdigest()
    with pytest.raises(checker.Rejected, match="pixel"):
        check(tmp_path, nothing | {"image": sha256})


def test_a_tie_may_break_either_way_and_has_no_radius(tmp_path):
    row = write_example(tmp_path, 0.2)
    images = np.full((1, 1, 2, 1), 8, np.uint8)
    labels = np.array([1])
    np.savez(tmp_path / "images.npz", images=images, labels=labels, levels=10)
    row["image"] = hashlib.sha256((images / 10.0).tobytes()).hexdigest()
    nothing = row | {"label": 1, "radius": 0.0, "classes": {}}
    for prediction in (0, 1):
        check(tmp_path, nothing | {"prediction": prediction})
    with pytest.raises(checker.Rejected, match="prediction 0 is due"):
        check(tmp_path, nothing | {"prediction": 2})
    entry = {"radius": 1e-12}
    tie = {"label": 1, "prediction": 1, "radius": 1e-12}
    with pytest.raises(checker.Rejected, match="not proven"):
        check(tmp_path, row | tie | {"classes": {"0": entry, "2": entry}})


@pytest.mark.parametrize("std", [0.0, -0.25, float("nan"), float("inf")])
def test_a_model_that_cannot_be_is_rejected(tmp_path, std):
    row = write_example(tmp_path, 0.2)
    arrays = dict(np.load(tmp_path / "model.npz"))
    np.savez(tmp_path / "model.npz", **arrays | {"std": np.array([std])})
    refusal = checker.Rejected if np.isfinite(std) else ValueError
    with pytest.raises(refusal, match="std"):
        check(tmp_path, row)
