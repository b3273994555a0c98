"""Who may import whom, and how long a file may be: CONTRIBUTING.md has the table."""

import ast
import functools
import graphlib
import importlib.metadata
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# Of every room, the rooms that it may import from. A file beside the rooms is its own
# room, but the programs of `experiments` are one.
LIBRARY = {
    "ops": set(),
    "verify": set(),
    "attacks": {"losses"},
    "certify": {"ops"},
    "nn": {"ops", "certify"},
    "losses": set(),
    "metrics": set(),
    "models": {"ops", "certify", "nn"},
    "convert": {"ops", "nn", "models"},
    "inference": {"ops", "certify", "nn", "models"},
    "pretrained": {"certify"},
    "command": {"verify"},
    "__init__": {"inference", "losses", "metrics", "models", "nn", "ops", "pretrained"},
}
_BELOW = {"common", "configs", "data", "parallel", "reporting"}
EXPERIMENTS = {
    "__init__": {"common"},
    "common": set(),
    "attackers": {"common"},
    "baseline": set(),
    "configs": {"common"},
    "data": {"common"},
    "parallel": {"common"},
    "reporting": {"common"},
    "training": _BELOW,
    "certification": _BELOW | {"training"},
    "conversion": _BELOW | {"training"},
    "exporting": _BELOW | {"training", "certification"},
    "page": _BELOW | {"training", "certification"},
    "benchmark": _BELOW | {"training", "baseline"},
    "scaling": _BELOW | {"training", "benchmark"},
    "reproduce": _BELOW | {"training", "benchmark"},
    "gpu_day": _BELOW | {"training", "benchmark", "scaling"},
    "programs": _BELOW | {"training", "certification", "conversion", "exporting"},
}
WITHOUT_FLAX = ("ops", "certify", "attacks", "verify")
TORCH = (
    "attackers/",
    "baseline/",
    "conversion/weight_files.py",
    "benchmark/torch_jobs.py",
)
LONG = ("lipjax/verify.py",)


@functools.cache
def modules() -> dict[str, Path]:
    """Files of the library and the programs by dotted name."""
    files = [f for top in ("lipjax", "experiments") for f in (ROOT / top).rglob("*.py")]
    return {dotted(file): file for file in sorted(files)}


def dotted(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source: str, package: str = "") -> Iterator[str]:
    """Dotted names that a source in `package` imports when it runs, anywhere in it."""
    tree = ast.parse(source)
    for node in list(ast.walk(tree)):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = [*(above if node.level else ()), *(node.module or "").split(".")]
            base = ".".join(part for part in base if part)
            yield from (f"{base}.{alias.name}" for alias in node.names)


@functools.cache
def imports_of(name: str) -> tuple[str, ...]:
    file = modules()[name]
    package = name if file.stem == "__init__" else name.rpartition(".")[0]
    return tuple(imported(file.read_text(), package))


def room(name: str) -> str:
    """The room of a module, of what is in a module, or of a package's __init__."""
    top, inner, *_ = [*name.split("."), "__init__"]
    if top == "experiments" and (ROOT / top / f"{inner}.py").exists():
        return "__init__" if inner == "__init__" else "programs"
    return inner


def rooms(top: str, imports: tuple[str, ...]) -> set[str]:
    """The rooms of lipjax or experiments among the imported names."""
    return {room(name) for name in imports if name.split(".")[0] == top}


def members(top: str) -> list[str]:
    return [name for name in modules() if name.split(".")[0] == top]


@pytest.mark.parametrize("name", members("lipjax"))
def test_the_library(name):
    source = modules()[name].read_text()
    relative = [n for n in ast.walk(ast.parse(source)) if getattr(n, "level", 0)]
    assert not relative, "the library imports by full names"
    imports = imports_of(name)
    assert rooms("lipjax", imports) <= LIBRARY[room(name)] | {room(name)}
    roots = {n.split(".")[0] for n in imports}
    assert "experiments" not in roots
    if room(name) in WITHOUT_FLAX:
        assert not roots & {"flax", "optax", "orbax"}


@pytest.mark.parametrize("name", members("experiments"))
def test_the_programs(name):
    imports = imports_of(name)
    assert rooms("experiments", imports) <= EXPERIMENTS[room(name)] | {room(name)}
    roots = {n.split(".")[0] for n in imports}
    file = modules()[name].relative_to(ROOT / "experiments").as_posix()
    assert "torch" not in roots or file.startswith(TORCH)
    if room(name) == "baseline":
        assert not roots & {"jax", "flax", "lipjax"}


def test_the_search_finds_imports():
    assert list(imported("def f():\n  from lipjax import nn")) == ["lipjax.nn"]
    assert list(imported("import flax.linen as nn")) == ["flax.linen"]
    assert list(imported("if TYPE_CHECKING:\n  import a\nimport b")) == ["b"]
    assert list(imported("from . import x", "a.b")) == ["a.b.x"]
    assert list(imported("from ..c.d import x", "a.b")) == ["a.c.d.x"]
    assert room("lipjax.models.lipconvnet.LipConvNet") == "models"
    assert room("experiments.train.main") == room("experiments.pack") == "programs"
    assert room("experiments.data.load") == room("experiments.data") == "data"
    assert room("lipjax") == "__init__" and room("lipjax.verify") == "verify"
    lazy = imports_of("experiments.training.steps")
    assert "experiments.data.stream.Stream" in lazy


def graph() -> dict[str, set[str]]:
    """Of every module, the modules that it imports, in functions as well."""
    edges = {(name, module_of(n)) for name in modules() for n in imports_of(name)}
    return {
        name: {end for start, end in edges if start == name and end}
        for name in modules()
    }


def module_of(name: str) -> str:
    """The module that an imported name is, or is in; "" if it is not ours."""
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name


def circle(imports: dict[str, set[str]]) -> list[str]:
    """Modules that import one another in a circle; [] if there is none."""
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_no_module_imports_itself_in_a_circle():
    assert circle(graph()) == []


def test_the_search_finds_circles():
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"d", "b"}})) == {"b", "c"}
    assert circle({"a": {"a"}}) == ["a", "a"]
    assert graph()["experiments.data.load"] >= {"experiments.data.digits"}  # lazy
    assert graph()["lipjax.nn.soc"] >= {"lipjax.ops"}


def distributions(names: list[str]) -> set[str]:
    """The distributions, other than this one, that the modules import."""
    known = importlib.metadata.packages_distributions()
    roots = {n.split(".")[0] for name in names for n in imports_of(name)}
    found = {d for root in roots for d in known.get(root, ())} - {"lipjax"}
    return {name.lower().replace("_", "-") for name in found}


def declared(requirements: list[str]) -> set[str]:
    return {requirement.split(">=")[0] for requirement in requirements}


def test_the_imported_packages_are_declared():
    library = declared(PROJECT["dependencies"])
    extras = PROJECT["optional-dependencies"]
    assert distributions(members("lipjax")) == library | declared(extras["onnx"])
    names = ("experiments", "torch", "attackers")
    every = library.union(*(declared(extras[name]) for name in names))
    assert distributions(members("experiments")) <= every


@pytest.mark.parametrize("top", ["lipjax", "experiments", "tests"])
def test_no_file_is_long(top):
    lengths = {
        str(file.relative_to(ROOT)): len(file.read_text().splitlines())
        for file in (ROOT / top).rglob("*.py")
    }
    assert {name for name, lines in lengths.items() if lines > 400} <= set(LONG)
