"""Whatever happens while certificates are written, none claims more than was proven.

A small proof is written over an older one, with a fault at some byte: the program is
killed there, or the disk is full. What lies in the folder afterwards is the old proof,
the new one, or files that the checker refuses; and the next certification completes.
"""

import errno
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from experiments.certification import certificates
from experiments.common import files
from experiments.data import Split
from helpers.networks import small_network
from helpers.programs import ENVIRONMENT, ROOT, program
from lipjax import verify as checker
from lipjax.certify import Certifier

NAMES = "certificates.jsonl", "model.npz", "images.npz"
LEVELS = 16


class Proof:
    """Everything that is written of one network's certificates."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        images = rng.integers(0, LEVELS + 1, (3, 8, 8, 1)).astype(np.uint8)
        self.certifier = Certifier(small_network("normalized", seed, stages=1, width=2))
        found = self.certifier(images / LEVELS)
        self.test = Split(images, found.prediction.astype(np.int32))
        self.parts = [found]

    def write(self, folder):
        certificates.write_proof(folder, self.certifier, self.parts, self.test, LEVELS)


@pytest.fixture(scope="module")
def proofs(tmp_path_factory):
    """Two proofs, and the bytes of their files."""
    found = []
    for seed in (0, 1):
        folder = tmp_path_factory.mktemp("proof")
        proof = Proof(seed)
        proof.write(folder)
        assert accepted(folder)
        found.append((proof, content(folder)))
    return found


def content(folder):
    return {name: (folder / name).read_bytes() for name in NAMES}


def accepted(folder):
    try:
        checker.verify(*(folder / name for name in NAMES))
    except (checker.Rejected, ValueError) as error:
        assert "\n" not in str(error)
        return False
    return True


def fill(folder, old):
    folder.mkdir()
    for name, content_of_name in old.items():
        (folder / name).write_bytes(content_of_name)


class Faulty(io.FileIO):
    """A file in which the byte at `budget[0]`, counted over all files, is a fault."""

    def __init__(self, path, budget, fault):
        super().__init__(path, "wb")
        self.budget, self.fault = budget, fault

    def write(self, data):
        data = bytes(data)
        count = super().write(data[: max(self.budget[0], 0)])
        self.budget[0] -= len(data)
        if self.budget[0] < 0:
            self.fault()
        return count


class Killed(BaseException):
    """Ends the program."""


def killed():
    raise Killed


def full():
    raise OSError(errno.ENOSPC, "No space left on device")


def with_faults(monkeypatch, budget, fault):
    real = Path.open

    def opened(self, mode="r", *rest, **named):
        if mode == "wb" and self.name.endswith(".part"):
            return Faulty(self, budget, fault)
        return real(self, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", opened)


@pytest.mark.parametrize("fault", [full, killed])
def test_a_fault_at_any_byte_leaves_the_old_proof(proofs, tmp_path, monkeypatch, fault):
    (_, old), (new, due) = proofs
    size, folder = sum(map(len, due.values())), tmp_path
    for place in [*range(0, size, size // 60), size - 1]:
        folder = tmp_path / str(place)
        fill(folder, old)
        with monkeypatch.context() as patched:
            with_faults(patched, [place], fault)
            with pytest.raises((OSError, Killed)) as caught:
                new.write(folder)
        assert fault is killed or getattr(caught.value, "filename", None)
        assert content(folder) == old and sorted(os.listdir(folder)) == sorted(NAMES)
    new.write(folder)
    assert content(folder) == due


def test_killed_at_a_rename(proofs, tmp_path, monkeypatch):
    """The files are then of two proofs, and refused, or of one."""
    (_, old), (new, due) = proofs
    real = os.replace
    for after in range(4):
        folder = tmp_path / str(after)
        fill(folder, old)
        done = []

        def replaced(source, target, done=done, after=after):
            if len(done) == after:
                raise Killed
            done.append(target)
            real(source, target)

        with monkeypatch.context() as patched:
            patched.setattr(files.os, "replace", replaced)
            if after < 3:
                with pytest.raises(Killed):
                    new.write(folder)
            else:
                new.write(folder)
        found = content(folder)
        assert accepted(folder) == (found in (old, due)) == (after in (0, 3))
        new.write(folder)
        assert content(folder) == due


def test_a_record_replaced_meanwhile_is_refused(proofs, tmp_path):
    (_, old), (_, due) = proofs
    for name in NAMES:
        folder = tmp_path / name
        fill(folder, due | {name: old[name]})
        assert not accepted(folder)


def test_two_certifications_into_one_folder(proofs, tmp_path):
    """They wait for each other: the files are those of the last one."""
    folder = tmp_path / "run"
    folder.mkdir()
    seen, stop = [], threading.Event()

    def write(proof):
        for _ in range(40):
            proof.write(folder)

    def read():
        while not stop.is_set():
            with files.locked(folder):
                if (folder / NAMES[0]).exists():
                    seen.append(content(folder))

    threads = [threading.Thread(target=write, args=(proof,)) for proof, _ in proofs]
    reader = threading.Thread(target=read)
    for thread in (*threads, reader):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    reader.join()
    dues = [due for _, due in proofs]
    assert seen and all(found in dues for found in seen)
    assert content(folder) in dues and sorted(os.listdir(folder)) == sorted(NAMES)


@pytest.mark.long
def test_kill_9_while_it_certifies(pictures, tmp_path):
    """A real program, killed at any moment; the same command then completes."""
    run = tmp_path / "run"
    tiny = ("--epochs=1", "--batch_size=8", "--width=2", "--depth=2")
    done = program("train", f"--data=folder:{pictures}", f"--run={run}", *tiny)
    assert done.returncode == 0, done.stderr
    due = content(run)
    command = [sys.executable, "-m", "experiments.certify", f"--run={run}"]
    for tenths in range(10, 90, 8):
        started = subprocess.Popen(
            command, cwd=ROOT, env=ENVIRONMENT, stdout=-3, stderr=-3
        )
        try:
            started.wait(tenths / 10)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
        assert accepted(run)
    assert program("certify", f"--run={run}").returncode == 0
    assert content(run) == due
