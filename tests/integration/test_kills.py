"""A run that is killed at any instant ends as if nothing had happened."""

import itertools
import json
import random
import signal
import time

import numpy as np
import pytest

from helpers.processes import TINY, Program, arrays

EPOCHS = 15
FLAGS = (*TINY, f"--epochs={EPOCHS}", "--save_steps=1", "--keep=2")


@pytest.fixture(scope="module")
def whole(pictures, tmp_path_factory):
    """A run that nothing disturbed, and the seconds from its first checkpoint on."""
    run = tmp_path_factory.mktemp("whole") / "run"
    program = Program("train", f"--data=folder:{pictures}", f"--run={run}", *FLAGS)
    program.until(lambda: steps(run))
    begin = time.monotonic()
    program.until(lambda: len(rows(run)) == EPOCHS)
    seconds = time.monotonic() - begin
    code, _, errors = program.end()
    assert code == 0, errors
    return run, seconds


def rows(run):
    metrics = run / "metrics.jsonl"
    if not metrics.exists():
        return []
    found = [json.loads(line) for line in metrics.read_text().splitlines()]
    for row in found:
        del row["seconds"], row["images_per_second"]
    return found


def steps(run):
    folder = run / "checkpoints" / "last"
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())


def in_a_save(run):
    return any((run / "checkpoints").glob("*/*tmp*"))


def killed(run, flags, moment):
    """Starts or resumes a run, kills it at a moment; the checkpoints then and after."""
    program = Program("train", *flags)
    before = steps(run)
    program.until(lambda: steps(run) and steps(run)[-1] > max(before, default=-1))
    if moment == "save":
        program.until(lambda: in_a_save(run))
    else:
        time.sleep(moment)
    seen = steps(run)
    program.kill()
    assert steps(run) and steps(run)[-1] >= seen[-1], "a checkpoint was lost"


def kills(run, pictures, moments):
    """Kills it at these moments, and continues by --resume and by the first command."""
    first = [f"--data=folder:{pictures}", f"--run={run}", *FLAGS]
    resumed = [f"--resume={run}", "--save_steps=1", "--keep=2"]
    for flags, moment in zip(itertools.cycle([first, resumed]), moments, strict=False):
        killed(run, flags, moment)
    code, printed, errors = Program("train", *first).end()
    assert code == 0 and "Traceback" not in errors, errors
    assert "continues at step" in printed
    assert not in_a_save(run)


def assert_same(run, whole):
    assert rows(run) == rows(whole)
    for name in ("last", "best"):
        for ours, theirs in zip(arrays(run, name), arrays(whole, name), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert (run / "certificates.jsonl").read_text() == (
        whole / "certificates.jsonl"
    ).read_text()


def test_killed_twice(pictures, tmp_path, whole):
    """At any time, and in a save: once in the first command's run, once resumed."""
    undisturbed, seconds = whole
    moment = random.Random(0).uniform(0, seconds / 3)
    kills(tmp_path / "run", pictures, [moment, "save"])
    assert_same(tmp_path / "run", undisturbed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_killed_twenty_times(pictures, tmp_path, whole, seed):
    """Five times each, two of them in a save, the others at any time of a third."""
    undisturbed, seconds = whole
    draw = random.Random(seed + 1)
    moments = ["save", "save", *(draw.uniform(0, seconds / 5) for _ in range(3))]
    draw.shuffle(moments)
    kills(tmp_path / "run", pictures, moments)
    assert_same(tmp_path / "run", undisturbed)


@pytest.mark.long
def test_a_signal_saves_and_says_how_to_go_on(pictures, tmp_path, whole):
    undisturbed, _ = whole
    run = tmp_path / "run"
    flags = [f"--data=folder:{pictures}", f"--run={run}", *TINY, f"--epochs={EPOCHS}"]
    for number, due in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
        program = Program("train", *flags)
        done = len(rows(run))
        program.until(lambda done=done: len(rows(run)) > done)
        program.process.send_signal(number)
        code, printed, errors = program.end()
        assert code == due and "Traceback" not in errors
        assert f"Stopped and saved. Continue with --resume={run}" in printed
        flags = [f"--resume={run}"]
    code, _, errors = Program("train", *flags).end()
    assert code == 0, errors
    assert_same(run, undisturbed)
