"""Several processes train as one, and end together if one of them fails."""

import json
import os
import shutil
import signal
import socket
import time

import pytest

from experiments.common.errors import UserError
from experiments.parallel import processes
from experiments.training.run_folder import RunFolder
from helpers.processes import TINY, Program, together
from helpers.programs import ROOT

EPOCHS = 6
FLAGS = (*TINY, f"--epochs={EPOCHS}")
LOST = "another process was lost, or its own last line says why it failed: "


@pytest.fixture(scope="module")
def alone(pictures, tmp_path_factory):
    run = tmp_path_factory.mktemp("alone") / "run"
    flags = (f"--data=folder:{pictures}", f"--run={run}", *FLAGS)
    code, _, errors = Program("train", *flags).end()
    assert code == 0, errors
    return run


def rows(run):
    metrics = run / "metrics.jsonl"
    if not metrics.exists():
        return []
    return [json.loads(line) for line in metrics.read_text().splitlines()]


def assert_alike(run, alone):
    """Losses to the rounding of float32 sums in another order, through 12 steps."""
    ours, theirs = ([row["loss"] for row in rows(path)] for path in (run, alone))
    assert ours == pytest.approx(theirs, rel=1e-5, abs=2e-6) and len(ours) == EPOCHS
    assert (run / "certificates.jsonl").exists()


def last_line(errors):
    """What a user sees last: C++ may have logged above it."""
    return errors.strip().splitlines()[-1]


def test_two_processes_train_as_one_and_one_goes_on(pictures, tmp_path, alone):
    """SIGTERM to one of them stops both, saved; one process alone ends the run."""
    run = tmp_path / "run"
    flags = (f"--data=folder:{pictures}", f"--run={run}", *FLAGS, "--save_steps=1")
    with together(2, *flags) as programs:
        programs[0].until(lambda: rows(run))
        programs[1].process.send_signal(signal.SIGTERM)
        ends = [program.end() for program in programs]
    assert [code for code, _, _ in ends] == [0, 0]
    assert [errors for _, _, errors in ends] == ["", ""]
    assert f"--resume={run}" in ends[0][1] and "2 x cpu" in ends[0][1]
    assert ends[0][1].startswith(f"{run}: ")  # and nothing of libraries before
    assert ends[1][1] == ""
    assert 0 < len(rows(run)) < EPOCHS
    code, _, errors = Program("train", f"--resume={run}").end()
    assert code == 0, errors
    assert_alike(run, alone)


@pytest.mark.long
@pytest.mark.parametrize(
    ("count", "wide", "victim"), [(2, 1, 1), (4, 1, 3), (4, 2, 3), (2, 1, 0)]
)
def test_processes_that_are_killed_and_resumed(
    pictures, tmp_path, alone, count, wide, victim
):
    """Within 30 s all have ended, and the last line says how to continue."""
    run = tmp_path / "run"
    settings = ("--save_steps=1", f"--model_parallel={wide}")
    flags = (f"--data=folder:{pictures}", f"--run={run}", *FLAGS, *settings)
    with together(count, *flags) as programs:
        programs[0].until(lambda: rows(run), 300)
        killed = programs.pop(victim)
        killed.kill()
        begin = time.monotonic()
        ends = [program.end() for program in programs]
    assert time.monotonic() - begin < 30
    assert [code for code, _, _ in ends] == [processes.LOST] * (count - 1), ends
    for _, _, errors in ends:
        assert last_line(errors).startswith(f"error: {LOST}the same command continues")
    with together(count, *flags) as programs:
        ends = [program.end(300) for program in programs]
    assert [code for code, _, _ in ends] == [0] * count, ends
    assert_alike(run, alone)


@pytest.mark.long
def test_a_process_that_freezes(pictures, tmp_path):
    """As a host that is gone without a word: JAX misses its heartbeats."""
    flags = (f"--data=folder:{pictures}", f"--run={tmp_path / 'run'}", *FLAGS)
    with together(2, *flags, "--epochs=10000") as programs:
        programs[0].until(lambda: rows(tmp_path / "run"))
        programs[1].process.send_signal(signal.SIGSTOP)
        begin = time.monotonic()
        code, _, errors = programs[0].end()
    assert time.monotonic() - begin < 30
    assert code == processes.LOST and LOST in last_line(errors)


@pytest.mark.long
@pytest.mark.parametrize(
    ("trouble", "line"),
    [
        ("elsewhere", "is not a folder that all hosts see: process 1 does not see"),
        ("full", "a checkpoint could not be written to "),
    ],
)
def test_a_disk_that_fails_one_of_them(pictures, tmp_path, trouble, line):
    """Neither waits for the other, which will not come."""
    # relative: the same flags, and another folder where one works elsewhere
    run = os.path.relpath(tmp_path / "run", ROOT)
    flags = (f"--data=folder:{pictures}", f"--run={run}", *FLAGS)
    (tmp_path / "far" / "away").mkdir(parents=True)
    settings = {"TROUBLE": trouble, "HERE": str(tmp_path / "far" / "away")}
    with together(
        2, *flags, name="troubled_train", package="tests.helpers", **settings
    ) as programs:
        ends = [program.end() for program in programs]
    assert [code for code, _, _ in ends] == [processes.LOST, 2], ends
    assert line in last_line(ends[1][2]) and LOST in last_line(ends[0][2])


@pytest.mark.long
def test_sigterm_before_the_first_step(pictures, tmp_path):
    """The run is saved as it began, however far its processes have come."""
    run = tmp_path / "run"
    flags = (f"--data=folder:{pictures}", f"--run={run}", *FLAGS)
    with together(2, *flags) as programs:
        programs[0].until(lambda: (run / "config.json").exists())
        for program in programs:
            program.process.send_signal(signal.SIGTERM)
        ends = [program.end() for program in programs]
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert f"--resume={run}" in ends[0][1] and [e[2] for e in ends] == ["", ""]
    assert RunFolder.open(run).checkpoints().steps("last") == [0]


def test_other_flags(pictures, tmp_path):
    flags = (f"--data=folder:{pictures}", f"--run={tmp_path / 'run'}", *FLAGS)
    seeds = lambda index: [f"--seed={index}"]  # noqa: E731
    with together(2, *flags, each=seeds) as programs:
        ends = [program.end() for program in programs]
    assert [code for code, _, _ in ends] == [2, 2]
    for _, _, errors in ends:
        assert "process 1 was started with other settings" in last_line(errors)
        assert "--seed=1 instead of --seed=0" in last_line(errors)
    assert not (tmp_path / "run").exists()


def test_a_mistake_that_all_make_is_one_line(pictures):
    """On every process."""
    flags = (f"--data=folder:{pictures}", *TINY, "--batch_size=9")
    with together(2, *flags) as programs:
        ends = [program.end() for program in programs]
    assert [code for code, _, _ in ends] == [2, 2]
    for _, _, errors in ends:
        line = last_line(errors)
        assert line.startswith("error: --batch_size=9 cannot be shared out over 2")


@pytest.mark.long
def test_a_checkpoint_of_another_network_is_one_line(alone, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(alone, run)
    settings = json.loads((run / "config.json").read_text())
    settings["model"]["width"] = 4
    (run / "config.json").write_text(json.dumps(settings))
    with together(2, f"--resume={run}") as programs:
        ends = [program.end() for program in programs]
    assert [code for code, _, _ in ends] == [2, 2]
    for _, _, errors in ends:
        assert "of another network: its parameters" in last_line(errors)


def test_a_process_that_never_comes():
    with socket.create_server(("", 0)) as found:
        port = found.getsockname()[1]
    flags = (f"--coordinator=localhost:{port}", "--num_processes=2", "--process_id=0")
    code, _, errors = Program("train", *flags, "--wait_seconds=1").end()
    assert code == 2
    assert last_line(errors) == "error: not all processes came within 1 s"


def test_a_port_that_is_taken():
    with socket.create_server(("", 0)) as found:
        where = f"--coordinator=localhost:{found.getsockname()[1]}"
        flags = (where, "--num_processes=2", "--process_id=0")
        code, _, errors = Program("train", *flags).end()
    assert code == 2 and last_line(errors).endswith(
        "cannot listen at the port: Address already in use"
    )


def test_no_cluster_to_detect():
    code, _, errors = Program("train", "--coordinator=auto").end()
    assert code == 2 and last_line(errors).startswith("error: --coordinator=auto: ")


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"coordinator": "localhost:1"}, "pass all of"),
        ({"num_processes": 2}, "pass all of"),
        ({"coordinator": "auto", "process_id": 1}, "pass all of"),
        ({"coordinator": "host", "num_processes": 2, "process_id": 0}, "HOST:PORT"),
        ({"coordinator": "a:0", "num_processes": 2, "process_id": 0}, "HOST:PORT"),
        ({"coordinator": "a:1", "num_processes": 2, "process_id": 2}, "less than"),
    ],
)
def test_flags_that_do_not_go_together(given, line, monkeypatch):
    values = {"coordinator": None, "num_processes": None, "process_id": None} | given
    monkeypatch.setattr(processes, "FLAGS", type("Flags", (), values))
    with pytest.raises(UserError, match=line):
        processes.run_joined(lambda: None)


def test_errors_that_another_process_causes(monkeypatch):
    """Wherever a library wraps them; a user's mistake is never one."""
    assert not processes.lost_a_process(OSError("/runs/Gloo: no space left"))
    monkeypatch.setattr(processes.jax, "process_count", lambda: 2)
    gloo = ValueError("Gloo all-reduce failed: connection closed by peer")
    wrapped = RuntimeError("saving failed")
    wrapped.__cause__ = gloo
    assert processes.lost_a_process(gloo) and processes.lost_a_process(wrapped)
    assert not processes.lost_a_process(OSError(28, "No space left on device"))
    assert not processes.lost_a_process(UserError("--coordinator=a: fix it"))


@pytest.mark.long
def test_the_measurement_of_lost_processes():
    """One row of the table in docs/scaling.md."""
    flags = ("--ways=lipjax", "--events=mistake")
    code, printed, errors = Program("scaling.lost_processes", *flags).end()
    assert code == 0, errors
    assert (
        printed.startswith("mistake, lipjax: ") and f"[{processes.LOST}, 2]" in printed
    )
    assert LOST in printed
