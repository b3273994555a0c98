"""What a table says of its runs, and its picture."""

import pytest
from PIL import Image

from experiments.reproduce import picture, report
from experiments.reproduce.cells import SECONDS, Cell, Comparison, Table
from experiments.reproduce.runs import Run
from experiments.reproduce.verdicts import verdicts
from helpers.reproduced import finished

MAX, PROJECTION = Cell("max", group="width 8"), Cell("projection", group="width 8")
TABLE = Table(
    "Pooling",
    (MAX, PROJECTION),
    (
        Comparison("projection", "max", "clean", "it helps"),
        Comparison("projection", "max", SECONDS, "it saves", least=30.0),
    ),
    ("A network: 1 / 2.",),
)
MACHINE = {
    "command": "python -m experiments.reproduce",
    "date": "today",
    "cores": 2,
    "cpu": "CPU",
    "memory_gib": 3.0,
    "accelerator": None,
    "versions": {},
    "commit": None,
}
RESULTS = {"size": "cpu", "data": "cifar10", "certify_images": 5, "machine": MACHINE}


def runs(tmp_path, count):
    return [
        finished(cell, seed, tmp_path, clean + seed, seconds)
        for seed in range(count)
        for cell, clean, seconds in ((MAX, 50.0, 10.0), (PROJECTION, 52.0, 8.0))
    ]


def test_a_table_has_every_cell(tmp_path):
    document = report.document(TABLE, runs(tmp_path, 3), RESULTS, False)
    line = next(v for v in document.splitlines() if v.startswith("| width 8 | max"))
    assert line == (
        "| width 8 | max | 3 of 3 | 51.00 ± 2.48 | 41.00 ± 2.48 | 41.00 ± 2.48 | "
        "41.00 ± 2.48 | 0.2500 ± 0.0000 | 10.00 ± 0.00 | 1,234 |"
    )
    assert "50 test images certified" in document and "Trained on: 1 x cpu" in document
    assert "Not finished" not in document and "A network: 1 / 2." in document


def test_claims_are_decided_by_intervals(tmp_path):
    clean, seconds = verdicts(TABLE.comparisons, runs(tmp_path, 3))
    assert (clean.gain.mean, clean.sign) == (2.0, "confirmed")
    assert seconds.gain.mean == pytest.approx(20) and seconds.sign == "denied"
    single = [v.sign for v in verdicts(TABLE.comparisons, runs(tmp_path, 1))]
    assert single == ["open: fewer than 3 seeds"] * 2


def test_only_the_same_seeds_are_compared(tmp_path):
    first, second, third, fourth = runs(tmp_path, 2)
    assert not list(verdicts(TABLE.comparisons, [first, fourth]))
    (clean, _) = verdicts(TABLE.comparisons, [first, second, third])
    assert clean.gain.size == 1


def test_failures_are_shown_with_their_reason(tmp_path):
    bad = Run(PROJECTION, 0, tmp_path)
    bad.fail("the loss\nis not finite")
    document = report.document(TABLE, [runs(tmp_path, 1)[0], bad], RESULTS, True)
    assert "- width 8, projection, seed 0: failed: the loss is not finite" in document
    assert "| width 8 | projection | 0 of 1, 1 failed | – |" in document
    assert "| 0.5 |" in document


def test_the_picture_has_a_part_for_each_group(tmp_path):
    path = tmp_path / "table.png"
    picture.draw(path, [Run(MAX, 0, tmp_path)], "nothing")
    assert not path.exists()
    picture.draw(path, runs(tmp_path, 2), "one")
    with Image.open(path) as one:
        width = one.width
    other = finished(Cell("max", group="width 16"), 0, tmp_path, 60.0)
    picture.draw(path, [*runs(tmp_path, 2), other], "two")
    with Image.open(path) as two:
        assert two.width == 2 * width
