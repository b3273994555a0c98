"""How processes end, whatever they do."""

import os
import subprocess
import sys
import time

import pytest

from experiments.common import children
from helpers.programs import ENVIRONMENT, ROOT


@pytest.fixture
def fake(monkeypatch):
    """Has a stand-in train; it does what it is told."""
    monkeypatch.setattr(children, "CHILD", "tests.helpers.fake_train")
    monkeypatch.chdir(ROOT)
    return lambda what: monkeypatch.setenv("FAKE", what)


def outcome(tmp_path, due=lambda: False):
    held = os.open(tmp_path, os.O_RDONLY)
    try:
        return children.run_child("train", ["--run=x"], tmp_path / "run.log", due, held)
    finally:
        os.close(held)


@pytest.mark.parametrize(
    "what, code, reason",
    [
        ("end", 0, ""),
        ("fail", 2, "the loss is not finite"),
        ("traceback", 1, "RuntimeError: out of luck"),
        ("kill", -9, "killed by SIGKILL; out of memory?"),
    ],
)
def test_the_reason_is_one_line(tmp_path, fake, what, code, reason):
    (tmp_path / "run.log").write_text("error: of an earlier process\n")
    fake(what)
    assert outcome(tmp_path) == (code, False, reason)


def test_one_that_is_due_is_told_to_stop(tmp_path, fake):
    fake("wait")
    log = tmp_path / "run.log"
    found = outcome(tmp_path, due=lambda: "waits" in log.read_text())
    assert found == (0, True, "")


def test_the_child_is_the_training_program():
    """While its input, the end of a pipe, stays open."""
    end, ours = os.pipe()
    command = [sys.executable, "-m", "experiments.common.child", "train", "--help"]
    found = subprocess.run(
        command, cwd=ROOT, env=ENVIRONMENT, stdin=end, capture_output=True, text=True
    )
    os.close(end)
    os.close(ours)
    assert found.returncode == 0 and "python -m experiments.train" in found.stdout


WAITING = """
import signal, sys, threading, time
from experiments.common import child
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
threading.Thread(target=child._stop_at_the_end_of_input, daemon=True).start()
time.sleep(60)
"""


def test_a_run_ends_with_the_program_that_started_it():
    """At the end of its input, as at SIGTERM."""
    command = [sys.executable, "-c", WAITING]
    begin = time.monotonic()
    found = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, stdin=subprocess.DEVNULL)
    assert found.returncode == 7 and time.monotonic() - begin < 50
