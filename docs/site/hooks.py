"""What the documentation site has beside the pages of docs.

README.md and the other pages of the repository's root, and the reference: a page for
each public module of lipjax, with all names that it exports.
"""

from __future__ import annotations

import ast
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_ROOT = Path(__file__).parents[2]
_PAGES = {
    "README.md": "index.md",
    "BENCHMARKS.md": "benchmarks.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
MODULES = {
    "lipjax": "Networks, predictions, exports: what `import lipjax` has.",
    "lipjax.ops": "The mathematics, as pure functions of arrays.",
    "lipjax.nn": "Layers and heads, as Linen modules.",
    "lipjax.certify": "Exact networks in, proven bounds and radii out.",
    "lipjax.inference": "From trained modules to certified predictions.",
    "lipjax.losses": "Training losses.",
    "lipjax.metrics": "Accuracy, certified robust accuracy, mean radius.",
    "lipjax.attacks": "Attacks in l2.",
    "lipjax.convert": "State dicts of the published PyTorch networks.",
    "lipjax.pretrained": "A network that ships with lipjax.",
    "lipjax.verify": "The checker: NumPy and the standard library alone.",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for source, name in _PAGES.items():
        text = (_ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=_relinked(text)))
    for module in MODULES:
        name = f"api/{module.removeprefix('lipjax.')}.md"
        files.append(File.generated(config, name, content=reference(module)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    return _relinked(markdown)


def _relinked(text: str) -> str:
    """The links of a page of the repository, as links of the site."""
    text = text.replace("](../", "](").replace("](docs/", "](")
    for source, name in _PAGES.items():
        text = text.replace(f"]({source}", f"]({name}")
    return text


def reference(module: str) -> str:
    """The page of a module: all public names that are at home in it."""
    lines = [f"# {module}", "", MODULES[module], ""]
    for name in exported(module):
        lines += [f"::: {module}.{name}", ""]
    return "\n".join(lines)


def exported(module: str) -> list[str]:
    """Names that a module exports: `from x import a as a`, or what it defines."""
    path = _ROOT / module.replace(".", "/")
    package = path / "__init__.py"
    file = package if package.exists() else path.with_suffix(".py")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            names += [a.name for a in node.names if a.asname == a.name]
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
    inner = {m.removeprefix("lipjax.") for m in MODULES}  # modules have their own pages
    kept = {name for name in names if not name.startswith("_")} - inner
    return sorted(kept, key=lambda name: (name.islower(), name.lower()))
