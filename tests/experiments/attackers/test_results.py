"""Results survive kills; the program goes on, and tells of a broken certificate."""

import json

import numpy as np
import pytest

from experiments.attackers.balls import INSIDE, Balls
from experiments.attackers.networks import read_certified
from experiments.attackers.results import Results, Unit, table
from experiments.common.errors import UserError
from helpers.attackers import (
    linear_target,
    tiny_network,
    write_certified,
    write_rows,
)
from helpers.programs import program, refused

UNIT = Unit("linear", "foolbox pgd", INSIDE, 0, 20, 0)


def test_a_torn_line_is_removed(tmp_path):
    balls = Balls(linear_target(), INSIDE)
    first = Results(tmp_path)
    first.append(UNIT, balls, 1.0)
    with pytest.raises(UserError, match="another program"):
        Results(tmp_path)
    first.file.write(b'{"network": "li')
    first.file.close()
    again = Results(tmp_path)
    assert again.done == {UNIT} and again.points == 0
    again.append(UNIT._replace(round=1), balls, 1.0)
    again.file.close()
    last = Results(tmp_path)
    assert len(last.rows) == 2
    last.file.close()


def test_lines_that_are_no_results_are_refused(tmp_path):
    (tmp_path / "results.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match="move it away"):
        Results(tmp_path)


def test_table():
    row = UNIT._asdict() | {"attacked": 20, "points": 1000, "broken": 0, "successes": 0}
    rows = [row, row | {"factor": 1.5, "points": 0, "broken": 7}]
    first, line, last = table(rows, lambda row: row["attack"]).splitlines()
    assert "broken at 1.5" in first and "foolbox pgd" in line
    assert last.split() == ["all", "1,000", "0", "35.0%"]


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.long
def test_the_program_goes_on(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    write_certified(run, tiny_network(False, "maxmin", "max"))
    flags = [f"--out={tmp_path / 'out'}", f"--run={run}", "--images=3"]
    for points in (1, 1500):
        result = program("attackers", *flags, f"--points={points}")
        assert result.returncode == 0, result.stderr
    rows = rows_of(tmp_path / "out" / "results.jsonl")
    assert len({Unit(*(row[k] for k in Unit._fields)) for row in rows}) == len(rows)
    points = [row["points"] for row in rows]
    assert sum(points) >= 1500 > sum(points[:-1])
    assert "points inside" in result.stdout


@pytest.mark.long
def test_the_program_tells_of_a_broken_certificate(tmp_path):
    write_certified(tmp_path, tiny_network(False, "maxmin", "max"))
    rows = rows_of(tmp_path / "certificates.jsonl")
    write_rows(tmp_path, [row | {"radius": 3 * row["radius"]} for row in rows])
    flags = [f"--out={tmp_path}", f"--run={tmp_path}", "--images=3"]
    result = program("attackers", *flags, "--points=1500")
    assert result.returncode == 1, result.stderr
    found = np.load(next(tmp_path.glob("broken-*.npz")))
    image = np.load(tmp_path / "images.npz")["images"][found["image"]] / 255
    assert np.linalg.norm(found["point"] - image) < found["radius"]
    assert "please report" in result.stdout


def test_mistakes_are_one_line(tmp_path):
    assert "certify again" in refused("attackers", f"--out={tmp_path}", "--run=nope")
    write_certified(tmp_path, tiny_network(False, "maxmin", "max"), count=3)
    rows = rows_of(tmp_path / "certificates.jsonl")
    for wrong in ({"radius": 0.0}, {"model": "another"}):
        write_rows(tmp_path, [row | wrong for row in rows])
        with pytest.raises(UserError, match="nothing to attack|another network"):
            read_certified(tmp_path, "x")
