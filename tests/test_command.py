"""The command `lipjax`, in a clone and from a wheel."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from helpers.programs import ENVIRONMENT, ROOT
from lipjax import pretrained

ENTRY = "from lipjax.command import main\nmain()\n"  # what pip writes


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel and an sdist."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", out]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The wheel in a folder, with pip's console command; not the clone."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(built[0]) as wheel:
        wheel.extractall(folder / "packages")
    (folder / "lipjax").write_text(ENTRY)
    return folder


def run(folder, *words, path=None):
    return subprocess.run(
        [sys.executable, folder / "lipjax", *words],
        cwd=folder,
        env=ENVIRONMENT | {"PYTHONPATH": str(path or folder / "packages")},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("place", ["clone", "wheel"])
def test_help_names_the_command_that_the_user_has(installed, tmp_path, place):
    if place == "clone":
        (tmp_path / "lipjax").write_text(ENTRY)
    folder = installed if place == "wheel" else tmp_path
    path = None if place == "wheel" else ROOT
    listed = run(folder, path=path)
    for name in ("train", "certify", "verify", "audit", "gpu_day"):
        assert f"\n  {name} " in listed.stdout, listed.stderr
    found = run(folder, "certify", "--help", path=path)
    assert found.returncode == 0, found.stderr
    assert "lipjax certify --run=runs/NAME" in found.stdout
    assert "lipjax verify RUN/certificates.jsonl" in found.stdout
    assert "python" not in found.stdout and "--checkpoint" in found.stdout


def test_mistakes_are_one_line(installed):
    found = run(installed, "trian")
    assert found.returncode == 2 and found.stderr.count("\n") == 1
    assert "no program 'trian'" in found.stderr and "train" in found.stderr
    found = run(installed, "certify", "--run=absent")
    assert (found.returncode, found.stderr) == (
        2,
        "error: absent is not a run: it has no config.json\n",
    )


def test_the_checker_of_a_wheel(installed, tmp_path):
    folder = pretrained.digits().folder
    files = [str(folder / n) for n in ("certificates.jsonl", "model.npz", "images.npz")]
    found = run(installed, "verify", files[0], "--model", files[1], "--data", files[2])
    assert found.returncode == 0 and "accepted: 360 certificates" in found.stdout
    forged, label = tmp_path / "forged.jsonl", '"label": 2'
    forged.write_text(Path(files[0]).read_text().replace(label, '"label": 3', 1))
    found = run(installed, "verify", forged, "--model", files[1], "--data", files[2])
    assert found.returncode == 1 and "rejected" in found.stdout


def test_what_is_in_a_wheel_and_an_sdist(built):
    """Every tracked file of the two packages; the tests as well in the sdist."""
    listed = subprocess.run(
        ["git", "ls-files", "lipjax", "experiments", "tests"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    tracked = {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}
    with zipfile.ZipFile(built[0]) as wheel:
        inside = set(wheel.namelist())
    for name in tracked:
        if not name.startswith("tests/"):
            assert name.replace("experiments/", "lipjax/experiments/", 1) in inside
    with tarfile.open(built[1]) as sdist:
        inside = {Path(*Path(n).parts[1:]).as_posix() for n in sdist.getnames()}
    assert tracked | {"README.md", "LICENSE", "Makefile"} <= inside


@pytest.mark.long
def test_a_clean_environment(built, tmp_path):
    """Wheel and sdist, installed by pip: train, certify, verify, and five lines."""
    for number, file in enumerate(built):
        folder = tmp_path / str(number)
        python = folder / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run(
            [python, "-m", "pip", "install", "-q", f"{file}[experiments]"], check=True
        )
        env = {k: v for k, v in ENVIRONMENT.items() if k != "PYTHONPATH"}

        def call(*words, folder=folder, env=env):
            return subprocess.run(
                words, cwd=folder, env=env, capture_output=True, text=True, check=True
            ).stdout

        command = folder / "bin" / "lipjax"
        flags = ("--preset=digits", "--epochs=2", "--run=run", "--certify_images=5")
        assert "proven" in call(command, "train", *flags)
        files = ("run/certificates.jsonl", "--model", "run/model.npz", "--data")
        assert "accepted" in call(command, "verify", *files, "run/images.npz")
        code = "import lipjax; print(len(lipjax.pretrained.digits().labels))"
        assert call(python, "-c", code) == "360\n"
