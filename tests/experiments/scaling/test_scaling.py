"""The scaling program's report and the arithmetic of its predictions."""

import dataclasses
import json

import pytest

from experiments.scaling.compiled_step import CompiledStep
from experiments.scaling.hlo_collectives import Sum
from experiments.scaling.predictions import AssumedDevice, efficiency, seconds
from helpers.programs import program, refused

STEP = CompiledStep(
    "TPU",
    4,
    1,
    8,
    0,
    0,
    0,
    [],
    traffic=3e9,
    rounds=6,
    operations=2e12,
    compile_seconds=1,
)
DEVICE = AssumedDevice(flops=1e12, bandwidth=1e9, hop=0.5)


def test_a_prediction_is_arithmetic():
    assert seconds(STEP, DEVICE) == (2.0, 3.0 + 6 * 0.5)
    assert efficiency(STEP, DEVICE) == 2 / 8
    assert efficiency(STEP, DEVICE, utilisation=0.1) == 20 / 26
    alone = dataclasses.replace(STEP, traffic=0.0, rounds=0)
    assert efficiency(alone, DEVICE) == 1


def test_virtual_devices(tmp_path):
    out = tmp_path / "new" / "scaling.json"
    small = ("--depth=1", "--side=2", "--width=2", "--images=4", "--dtype=float32")
    result = program(
        "scaling", "--devices=2,1", *small, "--predict=h200", f"--out={out}"
    )
    assert result.returncode == 0, result.stderr
    assert "| 2 x 1 | 8 |" in result.stdout and str(out) in result.stdout
    found = json.loads(out.read_text())
    assert "--predict=h200" in found["machine"]["command"]
    one, two = found["rows"]
    assert (one["data"], one["batch"], one["collectives"]) == (1, 4, [])
    assert (two["data"], two["batch"]) == (2, 8)
    sums = [Sum(**each) for each in two["collectives"]]
    assert {(each.kind, each.group_size) for each in sums} >= {("all-reduce", 2)}
    assert one["arguments"] == two["arguments"]  # copies of the state and of the data
    assert one["operations"] == two["operations"] > 0


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--devices=1,x"], "--devices=1,x"),
        (["--topology=v9:1x1"], "--topology=v9:1x1"),
        (["--topology=h100:8"], "--topology=h100:8: pass h100 or h200, as in h100:1x8"),
        (["--topology=h100:1x1"], "pip install 'jax[cuda13]'"),
        (["--devices=2", "--model_parallel=3"], "--model_parallel=3 does not divide"),
    ],
)
def test_mistakes_are_one_line(flags, line):
    assert line in refused("scaling", *flags)
