"""The battery's verdicts are right, and reach every line and refusal of the checker."""

import ast
import inspect
import sys
import types

from helpers.battery import cases, right
from helpers.small_proofs import NAMES, check
from lipjax import verify as checker

SOURCE = inspect.getsource(checker)
REFUSALS = ("require", "number", "read_json", "check_arrays")


def functions(code):
    """The code objects of a module's functions, inner ones as well.

    Python 3.14 has functions of annotations, which nobody calls.
    """
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType) and inner.co_name != "__annotate__":
            yield inner
            yield from functions(inner)


def missing_lines(run):
    """The lines of functions that a call of `run` does not execute."""
    missing = {}
    for code in functions(compile(SOURCE, checker.__file__, "exec")):
        lines = {n for *_, n in code.co_lines() if n and n > code.co_firstlineno}
        missing[code.co_name, code.co_firstlineno] = lines

    def enter(frame, event, arg):
        code = frame.f_code
        left = missing.get((code.co_name, code.co_firstlineno), set())
        if code.co_filename != checker.__file__ or not left:
            return None
        left.discard(frame.f_lineno)

        def step(frame, event, arg):
            left.discard(frame.f_lineno)
            return step

        return step

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        run()
    finally:
        sys.settrace(before)
    return set().union(*missing.values())


def test_every_line_and_every_refusal(tmp_path, monkeypatch, capsys):
    refused, require = set(), checker.require

    def recording(holds, otherwise):
        frame = sys._getframe(1)
        while not holds and frame and frame.f_code.co_filename == checker.__file__:
            refused.add(frame.f_lineno)
            frame = frame.f_back
        require(holds, otherwise)

    def run():
        for case in cases(tmp_path):
            assert right(case, tmp_path), case.name
        proof = next(cases(tmp_path))
        check(proof.files, tmp_path)
        lines, model, data = (str(tmp_path / name) for name in NAMES)
        assert checker.main([lines, "--model", model, "--data", data]) == 0
        assert checker.main([lines, "--model", lines, "--data", data]) == 2
        capsys.readouterr()

    monkeypatch.setattr(checker, "require", recording)
    lines = SOURCE.splitlines()
    left = sorted(missing_lines(run))
    left = [n for n in left if lines[n - 1].strip()[:3] not in ('"""', "def")]
    assert not left, [lines[n - 1] for n in left]
    never = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in REFUSALS
        if not any(node.lineno <= n <= node.end_lineno for n in refused)
    ]
    assert not never, never
