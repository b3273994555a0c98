"""`lipjax.ops`, `certify` and `attacks` run where flax is not installed."""

import pathlib
import subprocess
import sys

import lipjax

PROGRAM = """
import sys, types
stub = types.ModuleType("lipjax")
stub.__path__ = [sys.argv[1]]
sys.modules["lipjax"] = stub
import lipjax.ops, lipjax.certify, lipjax.attacks
print(sorted({m.split(".")[0] for m in sys.modules} & {"flax", "optax", "orbax"}))
"""


def test_no_flax():
    root = str(pathlib.Path(lipjax.__file__).parent)
    command = [sys.executable, "-c", PROGRAM, root]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
