"""The folder of a run: whose it is, and what may be done with it."""

import dataclasses
import signal
from typing import Any

import jax
import numpy as np
import pytest

from experiments.certification import certificates
from experiments.common.errors import UserError
from experiments.configs import PRESETS
from experiments.data import Split
from experiments.training.checkpoints import Checkpoint
from experiments.training.loop import Loop, Stopped
from experiments.training.metrics_log import MetricsLog
from experiments.training.model import build
from experiments.training.run_folder import SETTINGS, RunFolder
from experiments.training.run_lock import run_lock
from experiments.training.state import zero_metrics
from experiments.training.trainer import Trainer

TINY = dataclasses.replace(PRESETS["digits"](), width=2, batch_size=600, epochs=2)


@pytest.fixture(scope="module")
def model(digits):
    return build(TINY, digits)


def test_the_same_command_opens_what_it_made(tmp_path, model):
    made = RunFolder.create(tmp_path / "run", TINY, model)
    MetricsLog(made.path).append({"epoch": 1})
    again = RunFolder.create(tmp_path / "run", TINY, model)
    assert again == made
    assert MetricsLog(again.path).rows == [{"epoch": 1}]


def test_another_command_leaves_it_alone(tmp_path, model):
    RunFolder.create(tmp_path / "run", TINY, model)
    other = dataclasses.replace(TINY, seed=1)
    with pytest.raises(UserError, match="with other settings: --seed=0: choose anoth"):
        RunFolder.create(tmp_path / "run", other, model)
    with pytest.raises(UserError, match="with other settings: choose another --run"):
        RunFolder.create(tmp_path / "run", TINY, model.clone(mean=(0.1,)))


def test_the_same_data_may_lie_elsewhere(tmp_path, model):
    there = dataclasses.replace(TINY, data="records:there", data_dir="a")
    RunFolder.create(tmp_path / "run", there, model)
    here = dataclasses.replace(TINY, data="records:here")
    assert RunFolder.create(tmp_path / "run", here, model).config == there
    with pytest.raises(UserError, match="with other settings: --data=records"):
        RunFolder.create(tmp_path / "run", TINY, model)


def test_what_a_killed_program_left_is_no_run(tmp_path, model):
    run = tmp_path / "run"
    run.mkdir()
    (run / ".config.json.part").touch()
    RunFolder.create(run, TINY, model)
    assert RunFolder.open(run).config == TINY


@pytest.mark.parametrize("what", ["file", "folder"])
def test_other_things_are_left_alone(tmp_path, model, what):
    path = tmp_path / "run"
    if what == "folder":
        path.mkdir()
        (path / "mine").touch()
    else:
        path.touch()
    with pytest.raises(UserError, match="exists and is not a run: choose another"):
        RunFolder.create(path, TINY, model)


def test_two_programs_do_not_train_one_run(tmp_path, model):
    run = RunFolder.create(tmp_path / "run", TINY, model).path
    another = pytest.raises(UserError, match="another program trains .*: wait for it")
    with run_lock(run, SETTINGS), another, run_lock(run, SETTINGS):
        pass
    with run_lock(run, SETTINGS):
        pass


@pytest.mark.long
def test_a_signal_with_the_last_steps_is_heeded(tmp_path, digits):
    trainer = Trainer(TINY, digits)
    run = RunFolder.create(tmp_path / "run", TINY, trainer.model)
    log, checkpoints = MetricsLog(run.path), run.checkpoints()
    signalled = lambda: signal.SIGTERM if len(log.rows) == TINY.epochs else 0  # noqa: E731
    start = Checkpoint(trainer.init(), zero_metrics(trainer.mesh), trainer.input(), 0)
    with pytest.raises(Stopped):
        Loop(trainer, checkpoints, log, signalled, 1000).train(start)
    assert checkpoints.restore("last").epoch == TINY.epochs


def test_beside_a_tpu_the_cpu_certifies(tmp_path, digits, model, monkeypatch):
    """As a TPU has no IEEE float64; of which there is none here."""
    run = RunFolder.create(tmp_path / "run", TINY, model)
    trainer = Trainer(TINY, digits, model)
    devices = []

    class Certifier(certificates.Certifier):
        def __init__(self, network):
            settings: Any = jax.config
            devices.append(settings.jax_default_device)
            super().__init__(network)

    monkeypatch.setattr(certificates, "Certifier", Certifier)
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    certificates.certify(run, trainer.init(), digits, 5)
    assert [device.platform for device in devices] == ["cpu"]
    assert len((run.path / "certificates.jsonl").read_text().splitlines()) == 5

    def none(backend):
        raise RuntimeError(f"unknown backend {backend}")

    monkeypatch.setattr(jax, "local_devices", none)
    with pytest.raises(UserError, match="run python -m experiments.certify with JAX_P"):
        certificates.certify(run, trainer.init(), digits, 5)


def test_certificates_are_written_as_they_are_proven(tmp_path, digits, model):
    """Of images that are not a multiple of a batch, each with its own number."""
    run = RunFolder.create(tmp_path / "run", TINY, model)
    few = Split(digits.test.images[:101], digits.test.labels[:101])
    state = Trainer(TINY, digits, model).init()
    certificates.certify(run, state, dataclasses.replace(digits, test=few))
    found = np.load(run.path / "images.npz")
    assert len(found["images"]) == 101
    lines = (run.path / "certificates.jsonl").read_text().splitlines()
    assert [f'"index": {i},' in line for i, line in enumerate(lines)] == [True] * 101
