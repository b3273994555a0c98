"""The checker as a program: its exit codes and lines, where only NumPy is installed."""

import subprocess
import sys

import pytest

from helpers.proof_by_hand import check, write_example
from lipjax import verify as checker


@pytest.mark.parametrize("name", ["model.npz", "images.npz", "certificates.jsonl"])
def test_the_command_line(tmp_path, capsys, name):
    row = write_example(tmp_path, 0.2)
    check(tmp_path, row)
    paths = [
        str(tmp_path / n) for n in ("certificates.jsonl", "model.npz", "images.npz")
    ]
    arguments = [paths[0], "--model", paths[1], "--data", paths[2]]
    assert checker.main(arguments) == 0
    assert capsys.readouterr().out.startswith("accepted: 1 certificates of 2 images")
    (tmp_path / name).write_bytes(b"PK\x03\x04 no archive\n")
    code = checker.main(arguments)
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    if name == "certificates.jsonl":
        assert code == 1 and said.startswith("rejected: ")
    else:
        assert code == 2 and said.startswith("error: ")
    (tmp_path / name).unlink()
    assert checker.main(arguments) == 2


def test_the_checker_needs_nothing_but_numpy(tmp_path):
    row = write_example(tmp_path, 0.2)
    check(tmp_path, row)
    code = (
        "import runpy, sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name.split('.')[0] in ('lipjax', 'jax', 'scipy', 'flax'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    arguments = [checker.__file__, "certificates.jsonl"]
    arguments += ["--model", "model.npz", "--data", "images.npz"]
    program = f"import sys; sys.argv = {arguments}\n" + code
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("accepted: ")
