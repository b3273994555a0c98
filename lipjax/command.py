"""The command `lipjax`: the programs of `experiments`, and the checker.

    lipjax train --preset=digits        the same as python -m experiments.train ...
    lipjax verify certificates.jsonl --model model.npz --data images.npz

A wheel carries the programs as `lipjax.experiments`; in a clone they lie beside lipjax.
"""

from __future__ import annotations

import ast
import pkgutil
import runpy
import sys
from pathlib import Path

from lipjax import verify

_HERE = Path(__file__).parent
_HELP = ("-h", "--help", "help")


def main() -> None:
    """Runs the program that the command line names.

    Exit code: the program's; 0 after --help; 2, with a line, if there is no such one.
    """
    name, *arguments = sys.argv[1:] or ["--help"]
    package, folder = _package()
    found = programs(folder)
    if name in _HELP:
        print("lipjax PROGRAM --help tells more of each:\n")
        for program, summary in found.items():
            print(f"  {program:<12} {summary}")
        return
    if name == "verify":
        sys.exit(verify.main(arguments))
    if name not in found:
        names = ", ".join(found)
        print(f"error: no program {name!r}: it is one of {names}", file=sys.stderr)
        sys.exit(2)
    sys.argv[:] = ["-m", *arguments]  # as `python -m` has it while it imports
    runpy.run_module(f"{package}.{name}", run_name="__main__", alter_sys=True)


def programs(folder: Path) -> dict[str, str]:
    """The programs of a folder by name, each with the first line of its docstring."""
    found = {"verify": _summary(_HERE / "verify.py")}
    for module in pkgutil.iter_modules([str(folder)]):
        file = folder / module.name / "__main__.py"
        file = file if module.ispkg else folder / f"{module.name}.py"
        if file.exists():
            found[module.name] = _summary(file)
    return dict(sorted(found.items()))


def _package() -> tuple[str, Path]:
    """The package of the programs, and its folder."""
    inner, beside = _HERE / "experiments", _HERE.parent / "experiments"
    return ("lipjax.experiments", inner) if inner.exists() else ("experiments", beside)


def _summary(file: Path) -> str:
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]
