"""The benchmark counts, takes turns and writes as documented. No timings."""

import dataclasses
import json
import statistics
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from experiments.benchmark import (
    gradient_errors,
    measurement,
    multiply_adds,
    tables,
    timing,
)
from experiments.benchmark.inputs import initial_state, random_data
from experiments.benchmark.settings import Setting, Variant
from experiments.benchmark.suites import SUITES
from experiments.benchmark.timing import Rounds, Runnable, alternated
from experiments.configs import PUBLISHED, Config
from experiments.training.model import build, exp_approximation
from helpers import registry
from helpers.programs import ROOT, program, refused

DEGREE = 5
ABSENT = (
    *("array_record", "safetensors", "sklearn", "tensorflow", "tensorflow_datasets"),
    *("torch", "hypothesis", "mpmath", "pytest"),
)
BLOCKED = f"""
import importlib.abc, runpy, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
runpy.run_module("experiments.benchmark", run_name="__main__", alter_sys=True)
"""


def products(side, kernel):
    """Multiply-adds of a convolution, one by one."""
    taps = range(-(kernel[0] // 2), kernel[0] // 2 + 1)
    inside = range(side)
    met = sum(
        i + di in inside and j + dj in inside
        for i in inside
        for j in inside
        for di in taps
        for dj in taps
    )
    return met * kernel[2] * kernel[3]


@pytest.mark.parametrize("side", [1, 2, 3, 8])
@pytest.mark.parametrize("taps", [1, 3, 5])
def test_a_convolution_counts_the_taps_that_meet_the_image(side, taps):
    kernel = (taps, taps, 4, 6)
    assert multiply_adds.convolution(side, side, kernel) == products(side, kernel)


@pytest.mark.parametrize(
    "gradient, weights", [("fast", 1), ("low_rank", 2), ("exact", 5)]
)
@pytest.mark.parametrize(
    "head, features, last",
    [
        ("normalized", 16 * 10, []),
        ("curvature", 32 * 7 + 7 * 10, []),
        ("orthogonal", 0, [(1, (1, 1, 16, 16))]),
    ],
)
def test_a_network_counts_its_applications(gradient, weights, head, features, last):
    exp = PUBLISHED | {"gradient": gradient}
    config = Config(depth=3, width=2, head=head, hidden=7, **exp)
    data = random_data(8, 8)
    model, state = build(config, data), initial_state(config, data)
    convolutions = [
        (8, (3, 3, 3, 3)),  # the image has three channels, the network two
        (4, (3, 3, 8, 8)),
        (2, (3, 3, 16, 16)),
        (1, (1, 1, 32, 32)),
        *last,
    ]
    once = sum(products(*each) for each in convolutions)
    step = once * (2 * DEGREE + weights) + 3 * features
    assert multiply_adds.of_step(model, state.params) == step
    assert multiply_adds.of_evaluation(model, state.params) == 14 * once + features


def test_the_published_settings_are_the_published_polynomials():
    assert exp_approximation(Config(**PUBLISHED)) == registry.PUBLISHED


class Machine:
    """Its jobs advance its own clock by known seconds, and it records their order."""

    def __init__(self):
        self.now, self.ran = 0.0, ""

    def job(self, name, seconds):
        def run(units):
            self.now += seconds * units
            self.ran += name

        return run


def test_implementations_take_turns(monkeypatch):
    machine = Machine()
    monkeypatch.setattr(timing, "perf_counter", lambda: machine.now)
    jobs = [machine.job("A", 1.0), machine.job("B", 2.0)]
    assert alternated(jobs, [3, 1], Rounds(10, 1, 9, 0)) == [[1, 1], [2, 2]]
    assert machine.ran == "ABAB"
    assert len(alternated(jobs, [1, 1], Rounds(0, 3, 9, 0))[0]) == 3
    assert len(alternated(jobs, [1, 1], Rounds(1e9, 1, 4, 0))[0]) == 4


def working(images=10, multiply_adds=1e6):
    return Runnable(lambda units: None, images, multiply_adds)


def failing():
    raise RuntimeError("no | compiler\nhere")


def test_what_cannot_run_leaves_the_others_their_figures(capsys):
    variants = (
        Variant("lipjax, default", "lipjax", working),
        Variant("PyTorch, eager", "baseline", working),
        Variant("PyTorch, compiled", "baseline", failing),
    )
    setting = Setting("train", "small", "float32", variants)
    found = measurement.measure(setting, Rounds(0, 3, 3, 0), {"float32": 1e9})
    assert [row.error for row in found][:2] == [None, None]
    assert found[2].error == "RuntimeError: no | compiler here"
    assert found[2].seconds is None and "no | compiler" in capsys.readouterr().err
    assert found[1].ratio == 1
    text = tables.table(tables.COLUMNS["train"], map(dataclasses.asdict, found))
    assert "failed: RuntimeError: no / compiler here" in text
    assert len({line.count("|") for line in text.splitlines()}) == 1


def lowering(name, seconds):
    row = measurement.Measurement(
        "convolution", "8 of 4x4", name, "lowering", "float32", "convolution"
    )
    return dataclasses.asdict(row) | {"seconds": seconds}


def test_lowerings_are_columns_and_the_fastest_in_a_loop_is_bold():
    found = [
        lowering("XLA, alone", 1e-3),
        lowering("XLA", 3e-3),
        lowering("blocks", 2e-3),
    ]
    header, _, line = tables._pivoted(found).splitlines()
    assert header == "| images | XLA, alone | XLA | blocks |"
    assert line == "| 8 of 4x4 | 1 | 3 | **2** |"


def step(implementation, calls):
    row = measurement.Measurement(
        "train", "depth 5", implementation, "lipjax", "float32", "step", calls=calls
    )
    return dataclasses.asdict(row)


def test_savings_are_of_the_same_turn():
    """By turn 50, 30 and 10%; the medians, 3 and 2.7, would say 10%."""
    rows = [
        step("lipjax, exact", [2.0, 4.0, 3.0]),
        step("lipjax, fast", [1.0, 2.8, 2.7]),
        step("PyTorch, eager, exact", [1.0, 1.0, 1.0]),
        step("PyTorch, eager, fast", [1.1, 0.9, 0.8]),
        step("PyTorch, compiled, exact", []),
        step("lipjax, default", [1.0, 1.0, 1.0]),
    ]
    assert tables._savings(rows) == [
        ["depth 5, float32", "lipjax", "30% (10% to 50%)", ""],
        ["depth 5, float32", "PyTorch, eager", "10% (-10% to 20%)", ""],
    ]


def test_gradient_errors_are_as_documented():
    """As ExpApproximation says: 1e-3 to 3e-3 at bound 1.2, 3 to 5 times that at 2.2."""
    row = next(gradient_errors.errors())
    assert 1e-2 < row["fast"] < 1e-1
    assert 1e-3 < row["low_rank, bound 1.2"] < 5e-3 < row["low_rank, bound 2.2"] < 2e-2


@pytest.mark.parametrize("name", SUITES)
def test_the_rows_of_a_suite_have_different_names(name):
    settings = SUITES[name]().settings
    names = [(s.job, s.name, s.dtype, v.label) for s in settings for v in s.variants]
    assert len(set(names)) == len(names)
    assert {s.job for s in settings} <= set(measurement.UNITS) == set(tables.TITLES)


def test_a_folder_is_gone_on_with_by_the_same_suite_and_code_alone(tmp_path):
    out = tmp_path / "out"
    flags = ("--baseline=none", f"--out={out}")

    def rows():
        return json.loads((out / "results.json").read_text())["rows"]

    first = program("benchmark", "--suite=quick", "--only=^certify", *flags)
    assert first.returncode == 0 and "[1/1]" in first.stdout, first.stderr
    before = rows()
    second = program("benchmark", "--suite=quick", "--only=^(certify|evaluate)", *flags)
    assert second.returncode == 0 and "[1/1]" in second.stdout, second.stderr
    after = rows()
    assert after[: len(before)] == before and len(after) > len(before)
    assert {row["job"] for row in after} == {"certify", "evaluate"}
    other = refused("benchmark", "--suite=gradients", f"--out={out}")
    assert "without results of this suite" in other


def test_tf32_is_set_for_the_calls_alone():
    torch = pytest.importorskip("torch")
    from experiments.benchmark import torch_jobs

    def flags():
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    torch_jobs.set_up()
    seen = []
    job = torch_jobs.with_tf32(Runnable(lambda units: seen.append(flags()), 1))
    job.run(1)
    assert seen == [(True, True)] and flags() == (False, False)


def test_mistakes_are_one_line(tmp_path):
    assert "exists" in refused("benchmark", "--suite=gradients", f"--out={tmp_path}")
    assert "matches none of: train" in refused("benchmark", "--only=nothing")
    assert "--only=(" in refused("benchmark", "--only=(")
    assert "no GPU" in refused("benchmark", "--suite=gpu")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The quick suite, with the baseline: its folder."""
    pytest.importorskip("torch")
    out = tmp_path_factory.mktemp("benchmarks") / "quick"
    # one thread of PyTorch: on a busy machine it would wait for others
    result = program("benchmark", "--suite=quick", f"--out={out}", OMP_NUM_THREADS="1")
    assert result.returncode == 0, result.stderr
    assert "[5/5]" in result.stdout and "left" in result.stdout
    return out


@pytest.mark.long
def test_the_results_are_what_their_names_say(finished):
    results = json.loads((finished / "results.json").read_text())
    machine = results["machine"]
    assert machine["command"].startswith(
        "python -m experiments.benchmark --suite=quick"
    )
    assert {"jax", "python", "torch"} <= set(machine["versions"])
    assert machine["cores"] >= 1 and machine["torch_threads"] == 1
    assert results["rates"]["float32"] > 0 and results["not_measured"] == []
    fields = {field.name for field in dataclasses.fields(measurement.Measurement)}
    assert {row["job"] for row in results["rows"]} == set(measurement.UNITS)
    for row in results["rows"]:
        assert set(row) == fields and row["error"] is None
        assert row["seconds"] == statistics.median(row["calls"])
        assert (row["low"], row["high"]) == (min(row["calls"]), max(row["calls"]))
        assert row["images_per_second"] == pytest.approx(row["images"] / row["seconds"])
    step = next(r for r in results["rows"] if r["by"] == "lipjax")
    assert step["memory_bytes"] > 0 and step["compile_seconds"] > 0
    assert step["epoch_seconds"] == 50_000 // 32 * step["seconds"]


@pytest.mark.long
def test_ratios_are_ratios_of_medians(finished):
    found = json.loads((finished / "results.json").read_text())["rows"]
    for job, implementations in (("train", 3), ("evaluate", 4)):
        mine = [row for row in found if row["job"] == job]
        theirs = min(row["seconds"] for row in mine if row["by"] == "baseline")
        assert len(mine) == implementations
        for row in mine:
            assert row["ratio"] == row["seconds"] / theirs
    assert all(
        r["ratio"] is None for r in found if r["job"] not in ("train", "evaluate")
    )


@pytest.mark.long
def test_people_get_tables_and_a_picture(finished):
    text = (finished / "tables.md").read_text()
    assert text.startswith("    python -m experiments.benchmark --suite=quick")
    for title in tables.TITLES.values():
        assert f"### {title}" in text
    assert "PyTorch, eager" in text and "failed" not in text
    with Image.open(finished / "bars.png") as picture:
        assert picture.size[0] > 600 and np.ptp(np.asarray(picture)) == 255
    assert not list(finished.glob("*.part"))


def blocked(*flags):
    """The benchmark where the packages of data sets and tests cannot be imported."""
    command = [sys.executable, "-c", BLOCKED, *flags]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300
    )


@pytest.mark.long
def test_it_runs_without_pytorch_and_without_data_packages(tmp_path):
    out = tmp_path / "out"
    flags = ("--suite=quick", f"--out={out}", "--only=^evaluate")
    missing = blocked(*flags)
    assert missing.returncode == 2 and "--baseline=none" in missing.stderr
    assert len(missing.stderr.splitlines()) == 1 and not out.exists()
    alone = blocked(*flags, "--baseline=none")
    assert alone.returncode == 0, alone.stderr
    found = json.loads((out / "results.json").read_text())["rows"]
    assert {row["by"] for row in found} == {"lipjax"}
    assert all(row["seconds"] and row["error"] is None for row in found)
