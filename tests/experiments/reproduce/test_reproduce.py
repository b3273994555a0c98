"""The program: whole tables of the digits, and mistakes."""

import json

import pytest

from experiments.reproduce.sizes import SIZES
from experiments.reproduce.tables import TABLES
from helpers.programs import program, refused

SMOKE = SIZES["smoke"]()


def reproduced(name, out, *flags):
    result = program("reproduce", f"--table={name}", f"--out={out}", *flags)
    assert result.returncode == 0, result.stdout + result.stderr
    assert not result.stderr
    return result.stdout, json.loads((out / name / "results.json").read_text())


def check(name, out):
    _, results = reproduced(name, out)
    cells = TABLES[name](SMOKE).cells
    assert [run["cell"] for run in results["runs"]] == [cell.name for cell in cells]
    for run in results["runs"]:
        assert run["state"] == "finished", run
        figures = run["figures"]
        assert 0 <= figures["108/255"] <= figures["36/255"] <= figures["clean"] <= 100
        assert figures["images"] == 60 and figures["parameters"] > 1000
        assert figures["device"] == "1 x cpu" and figures["seconds an epoch"] > 0
    text = (out / name / "table.md").read_text()
    assert all(f"| {cell.label} |" in text for cell in cells)
    assert (out / name / "table.png").stat().st_size > 5000
    again, same = reproduced(name, out)  # there is nothing left to do
    assert "[1/" not in again and same["runs"] == results["runs"]


def test_a_table_of_the_digits(tmp_path):
    check("pooling", tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(set(TABLES) - {"pooling"}))
def test_the_other_tables_of_the_digits(tmp_path, name):
    """Some cells take a minute; a command goes on with those of the one before."""
    count = len(TABLES[name](SMOKE).cells)
    for _ in range(count):
        program("reproduce", f"--table={name}", f"--out={tmp_path}", "--minutes=5")
    check(name, tmp_path)


@pytest.mark.long
def test_a_piece_without_time_for_a_run_goes_on(tmp_path):
    told, results = reproduced("pooling", tmp_path, "--minutes=0.001")
    assert "The same command goes on" in told
    assert {run["state"] for run in results["runs"]} == {"not run"}
    check("pooling", tmp_path)


def test_mistakes_are_one_line(tmp_path):
    line = refused("reproduce", "--table=nope")
    assert all(name in line for name in TABLES)
    small = ("--table=pooling", f"--out={tmp_path}")
    assert "--minutes=0" in refused("reproduce", *small, "--minutes=0")
    assert "max; projection" in refused("reproduce", *small, "--only=average")
    assert "unknown data set" in refused("reproduce", *small, "--data=nope")
    path = tmp_path / "pooling" / "results.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"table": "pooling", "size": "cpu", "runs": []}))
    assert "--size=cpu, not smoke" in refused("reproduce", *small)
