"""The library needs four packages; a program that lacks one of its own says so."""

import subprocess
import sys
import tomllib

import pytest

from helpers.programs import ENVIRONMENT, ROOT, program

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ABSENT = (  # of what the extras install, all that the library's own packages do not
    *("array_record", "grain", "matplotlib", "PIL", "safetensors", "sklearn"),
    *("tensorflow_datasets", "tqdm", "torch", "foolbox", "pyautoattack"),
    *("beartype", "chex", "hypothesis", "jaxtyping", "mpmath", "pytest"),
)
HIDE = "import sys\nsys.modules.update(dict.fromkeys({!r}))\n"
LIBRARY = """
import jax
import lipjax, lipjax.attacks, lipjax.certify, lipjax.convert, lipjax.verify

model = lipjax.LipConvNet((4, 4, 1), 3, stages=1, width=2, mean=(0.0,), std=(0.5,))
x = jax.random.uniform(jax.random.key(0), (1, 4, 4, 1))
variables = model.init(jax.random.key(1), x)
radii = lipjax.predict_with_radius(model, variables, x)
with jax.enable_x64(True):
    proven = lipjax.certify.Certifier(lipjax.exact_network(model, variables))(x)
print(radii.radius[0] > 0, proven.radius[0] > 0, "experiments" in sys.modules)
"""


def names(requirements):
    return {requirement.split(">=")[0] for requirement in requirements}


def test_the_library_needs_four_packages():
    assert names(PROJECT["dependencies"]) == {"flax", "jax", "numpy", "scipy"}
    command = [sys.executable, "-c", HIDE.format(ABSENT) + LIBRARY]
    done = subprocess.run(
        command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "True", "False"]


CONVERT = ("convert", "--activation=hh2", "--pooling=lip1", "--head=crc_full")


@pytest.mark.parametrize(
    "package, command, extra",
    [
        ("matplotlib", ("train",), "experiments"),
        ("tqdm", ("pack",), "experiments"),
        ("safetensors", CONVERT, "experiments"),
        ("foolbox", ("attackers",), "attackers"),
    ],
)
def test_a_program_names_the_missing_package(tmp_path, package, command, extra):
    (tmp_path / "sitecustomize.py").write_text(HIDE.format([package]))
    weights = tmp_path / "x.safetensors"
    weights.touch()
    flags = () if len(command) == 1 else (f"--checkpoint={weights}", "--to=x.npz")
    result = program(*command, *flags, PYTHONPATH=str(tmp_path))
    line = f'error: {package} is not installed: pip install "lipjax[{extra}]"\n'
    assert (result.returncode, result.stderr) == (2, line)
