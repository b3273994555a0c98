"""Who may import whom: ops <- certify; ops <- nn <- models. No flax below nn."""

import ast
import pathlib

import pytest

import lipjax

ROOT = pathlib.Path(lipjax.__file__).parent
ALLOWED = {
    "ops": {"ops"},
    "certify": {"ops", "certify"},
    "attacks": {"attacks"},
    "nn": {"ops", "certify", "nn"},
    "models": {"ops", "certify", "nn", "models"},
}
FILES = [f for room in ALLOWED for f in sorted((ROOT / room).glob("**/*.py"))]


def imported(source):
    """Dotted names of all modules that a source imports, wherever it does."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms(source):
    """The rooms of lipjax that a source imports from."""
    names = (n.split(".") for n in imported(source))
    return {parts[1] for parts in names if parts[0] == "lipjax" and len(parts) > 1}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports(file):
    room = file.relative_to(ROOT).parts[0]
    source = file.read_text()
    assert rooms(source) <= ALLOWED[room]
    if room in ("ops", "certify", "attacks"):
        assert not {n.split(".")[0] for n in imported(source)} & {"flax", "optax"}


def test_the_search_finds_imports():
    assert rooms("def f():\n  from lipjax import nn") == {"nn"}
    assert rooms("from lipjax.models.lipconvnet import LipConvNet") == {"models"}
    assert list(imported("import flax.linen as nn")) == ["flax.linen"]
    assert {f.parent.name for f in FILES} >= set(ALLOWED)
