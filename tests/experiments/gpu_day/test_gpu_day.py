"""The day goes on where it was, notes what fails, and reports what it found."""

import dataclasses
import json
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from experiments.common.children import Outcome
from experiments.configs import Config
from experiments.gpu_day import __main__ as day
from experiments.gpu_day import report, self_test
from experiments.gpu_day.steps import Step, steps
from helpers.programs import ENVIRONMENT, ROOT, program, refused

ABSENT = (  # on the machine that the day is for
    *("array_record", "grain", "tensorflow", "tensorflow_datasets", "safetensors"),
    *("hypothesis", "pytest", "foolbox", "pyautoattack", "jaxtyping"),
)
HIDE = f"import sys\nsys.modules.update(dict.fromkeys({ABSENT!r}))\n"


def test_without_a_gpu_it_says_so_at_once():
    assert "sees no GPU here: --device=cpu" in refused("gpu_day", "--minutes=8")
    assert "matches none of: digits;" in refused("gpu_day", "--only=nothing")
    assert "--minutes=0" in refused("gpu_day", "--minutes=0")
    assert "not a folder" in refused("gpu_day", "--golden=absent")


def test_the_steps_have_names_and_flags_of_their_programs(tmp_path):
    given = {}
    for device in ("gpu", "cpu"):
        found = steps(device, tmp_path, "folder:x", "golden")
        assert len({one.name for one in found}) == len(found)
        assert not any(one.is_done(one.folder(tmp_path)) for one in found)
        for one in found:
            names = {flag[2:].partition("=")[0] for flag in one.flags}
            given.setdefault(one.program, set()).update(names)
    for name, flags in given.items():
        known = program(name, "--help").stdout.replace("--[no]", "--")
        assert all(f"--{flag}:" in known for flag in flags)


class Invented:
    """Programs that do what the test says, in a folder of their own."""

    def __init__(self, out, monkeypatch):
        self.out, self.ends, self.ran = out, {}, []
        monkeypatch.setattr(day, "run_child", self.run)

    def run(self, name, flags, log, due, held):
        self.ran.append(name)
        end = self.ends.get(name, Outcome(0, False, ""))
        if end.code == 0 and not end.told:
            (self.out / name).mkdir()
            (self.out / name / "done").touch()
        return end

    def day(self, names):
        return [
            Step(n, n, [], lambda folder: (folder / "done").exists()) for n in names
        ]

    def states(self, names, due=lambda: False):
        """The states after a command."""
        steps = self.day(names)
        states = day._states(self.out, steps)
        for one in steps:
            if states[one.name]["state"] != "finished" and not due():
                day._do(one, self.out, states[one.name], due, 0)
        (self.out / "day.json").write_text(json.dumps({"steps": states}))
        return [states[name]["state"] for name in names], states


def test_a_failure_does_not_stop_the_others_and_is_tried_again(tmp_path, monkeypatch):
    made = Invented(tmp_path, monkeypatch)
    made.ends["b"] = Outcome(2, False, "out of luck")
    made.ends["c"] = Outcome(-signal.SIGTERM, True, "killed by SIGTERM")
    names, states = made.states("abc")
    assert names == ["finished", "failed", "started"]
    assert states["b"]["reason"] == "out of luck" and not states["c"]["reason"]
    made.ends.clear()
    assert made.states("abc")[0] == ["finished"] * 3
    assert made.ran == ["a", "b", "c", "b", "c"]


def test_nothing_begins_after_the_time(tmp_path, monkeypatch):
    made = Invented(tmp_path, monkeypatch)
    assert made.states("ab", due=lambda: bool(made.ran))[0] == ["finished", "not run"]


def test_the_report_has_what_is_there(tmp_path):
    row = {"seconds": 2.0, "accuracy": 0.5, "mean_radius_estimate": 0.125}
    row |= {f"cra_estimate_{name}": 0.25 for name in report._CRA}
    folder = tmp_path / "LipConvNet-5"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"config": {"epochs": 200}}))
    (folder / "metrics.jsonl").write_text(f"{json.dumps(row)}\n" * 3)
    test = tmp_path / "self-test"
    test.mkdir()
    check = self_test.Check("SOC: loss", 0.5, 0.1)
    checks = [check._asdict() | {"passed": check.passed}]
    (test / "results.json").write_text(json.dumps({"checks": checks}))
    all_steps = steps("gpu", tmp_path, "cifar10", None)
    state = {"state": "started", "reason": "", "seconds": 75.0}
    described = dict.fromkeys(("accelerator", "commit", "date"), "here")
    described |= {"cores": 1, "cpu": "x", "memory_gib": 1, "devices": 1}
    described |= {"versions": {}, "command": "python -m experiments.gpu_day"}
    states = {one.name: state for one in all_steps}
    report.write(tmp_path, all_steps, states, described)
    text = (tmp_path / report.REPORT).read_text()
    assert "| LipConvNet-5 | 3 of 200 | 2.00 | estimates | 50.00 | 25.00 |" in text
    assert "| SOC: loss | 5.0e-01 | 1e-01 | **too far** |" in text
    assert "| benchmark | started | 75s |" in text and "## benchmark" not in text


PLAIN = Config(depth=2, width=2, batch_size=4)


@pytest.fixture
def narrow_types():
    """As a program starts: without float64, and with promotion."""
    with (
        jax.enable_x64(False),
        jax.numpy_rank_promotion("allow"),
        jax.numpy_dtype_promotion("standard"),
    ):
        yield


@pytest.mark.usefixtures("narrow_types")
def test_the_self_test_tells_float32_from_tf32(monkeypatch):
    checks = self_test.gradient_checks("", PLAIN, side=4)
    assert [one.passed for one in checks] == [True, True]
    exact = self_test._gradient

    def rounded(config, data, dtype, devices, variables, batch):
        if dtype == "float32":
            variables = jax.tree.map(_to_tf32, variables)
        return exact(config, data, dtype, devices, variables, batch)

    monkeypatch.setattr(self_test, "_gradient", rounded)
    checks = self_test.gradient_checks("", PLAIN, side=4)
    assert not checks[1].passed


def _to_tf32(a):
    """Rounded to 11 bits."""
    mantissa, exponent = np.frexp(np.asarray(a))
    return np.ldexp(np.round(mantissa * 2**11) / 2**11, exponent).astype(a.dtype)


@pytest.mark.usefixtures("narrow_types")
def test_the_self_test_tells_a_wrong_gradient(monkeypatch):
    exact = self_test._gradient

    def other_rule(config, data, dtype, *rest):
        rule = "fast" if dtype == "float32" else "exact"
        return exact(dataclasses.replace(config, gradient=rule), data, dtype, *rest)

    monkeypatch.setattr(self_test, "_gradient", other_rule)
    loss, gradient = self_test.gradient_checks("", PLAIN, side=4)
    assert loss.passed and not gradient.passed


@pytest.mark.usefixtures("narrow_types")
def test_the_self_test_reads_golden_files(shared, tmp_path):
    file = shared("golden/lipconvnet_ortho_max_maxmin_5.npz")
    assert self_test.golden_check(file).passed
    with np.load(file) as found:
        arrays = dict(found)
    arrays["logits"] = arrays["logits"] * 1.001
    np.savez(tmp_path / file.name, **arrays)
    assert not self_test.golden_check(tmp_path / file.name).passed


def test_the_self_test_goes_on(tmp_path):
    """What was right is kept, job by job, with the same code and device."""
    day = tmp_path / "day"
    step = next(s for s in steps("gpu", day, "cifar10", None) if s.name == "self-test")
    folder = step.folder(day)
    path = folder / "results.json"
    folder.mkdir(parents=True)
    described = {"commit": "a", "accelerator": "GPU"}
    right, wrong = ("SOC: loss", "SOC: gradient"), ("bcop: loss", "bcop: gradient")
    found = [self_test.Check(name, 0.0, 0.1) for name in right]
    found += [self_test.Check(wrong[0], 0.0, 0.1), self_test.Check(wrong[1], 0.2, 0.1)]
    self_test._write(path, described, found, [])
    assert not step.is_done(folder)
    assert self_test._earlier(path, described) == found[:2]
    assert not self_test._earlier(path, described | {"commit": "b"})
    self_test._write(path, described, found[:2], ["bcop"])
    assert not step.is_done(folder)
    self_test._write(path, described, found[:2], [])
    assert step.is_done(folder)
    path.write_text("{")
    assert not self_test._earlier(path, described)


def test_a_run_without_certificates_does_not_pass(tmp_path):
    check = self_test.certificate_check(tmp_path)
    assert not check.passed and "model.npz" in check.note


def trial(out, *flags, hidden, **more):
    (hidden / "sitecustomize.py").write_text(HIDE)
    flags = ("--device=cpu", f"--out={out}", *flags)
    return program("gpu_day", *flags, PYTHONPATH=str(hidden), **more)


def test_a_miniature(tmp_path):
    """Two steps, where packages are missing; nothing is left for the second command."""
    out, only = tmp_path / "day", "--only=digits|profile-depth-5$"
    done = trial(out, only, hidden=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "report.md: 2 of 2 finished" in done.stdout
    states = json.loads((out / "day.json").read_text())["steps"]
    assert {name for name in states if states[name]["state"] == "finished"} == {
        "digits",
        "profile-depth-5",
    }
    text = (out / "report.md").read_text()
    assert "| digits | 2 of 2 |" in text and "| proven |" in text
    profile = json.loads((out / "profile-depth-5" / "profile.json").read_text())
    assert profile["seconds"] > 0 and profile["roofline"] is None
    kinds = {one["kind"] for one in profile["kernels"]}
    assert {"convolution", "product", "sum"} <= kinds
    assert all(one["seconds"] > 0 for one in profile["kernels"])
    again = trial(out, only, hidden=tmp_path)
    assert again.returncode == 0 and "digits:" not in again.stdout


@pytest.mark.long
def test_a_whole_day_killed_and_continued(tmp_path):
    out = tmp_path / "day"
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    command = [sys.executable, "-m", "experiments.gpu_day", "--device=cpu"]
    command += [f"--out={out}"]
    env = ENVIRONMENT | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=env) as process:
        deadline = time.monotonic() + 300
        while not (out / "digits.log").exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(5)
        process.kill()
    soon = trial(out, "--minutes=0.3", hidden=tmp_path)
    assert soon.returncode == 0 and "The same command goes on." in soon.stdout
    done = trial(out, hidden=tmp_path, timeout=3000, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stdout + done.stderr
    text = (out / "report.md").read_text()
    for name in ("self-test", "benchmark", "profile-depth-15-curvature", "Trainings"):
        assert f"## {name}" in text
    assert "too far" not in text and "failed" not in text
    assert "| best | 2 of 2 |" in text and "## tables/pooling" in text
