"""Mutants of a Python file: each operator, sign, boolean and number changed once."""

import ast
import copy
import sys
import types
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

COMPARISONS: dict[type, list[type]] = {
    ast.Lt: [ast.LtE, ast.GtE], ast.LtE: [ast.Lt, ast.Gt], ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt], ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq],
    ast.In: [ast.NotIn], ast.NotIn: [ast.In], ast.Is: [ast.IsNot], ast.IsNot: [ast.Is],
}  # fmt: skip
OPERATORS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.Pow: ast.Mult, ast.Mod: ast.Mult, ast.FloorDiv: ast.Mult, ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


class Mutant(NamedTuple):
    key: str  # function: expression -> changed expression
    tree: ast.Module


def mutants(source: str) -> Iterator[Mutant]:
    """All mutants of a source. Those of one key are numbered."""
    seen: Counter[str] = Counter()
    tree = ast.parse(source)
    for path, name in places(tree):
        node = at(tree, path)
        for change in changes(node):
            forged = copy.deepcopy(tree)
            change(at(forged, path))
            # An expression that is a number has its context shown as well.
            above = path if not isinstance(node, ast.Constant) else path[:-1]
            before, after = (shown(at(t, above)) for t in (tree, forged))
            key = f"{name}: {before} -> {after}"
            seen[key] += 1
            yield Mutant(key + f" ({seen[key]})" * (seen[key] > 1), forged)


Path = tuple[tuple[str, int | None], ...]


def places(tree: ast.AST) -> Iterator[tuple[Path, str]]:
    """Paths of the nodes to be changed, and the names of their functions."""

    def walk(node: ast.AST, path: Path, name: str) -> Iterator[tuple[Path, str]]:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            name = node.name
        yield path, name
        for key, value in ast.iter_fields(node):
            if key in ("annotation", "returns", "decorator_list"):
                continue
            for i, child in enumerate(value if isinstance(value, list) else [value]):
                step = key, (i if isinstance(value, list) else None)
                if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
                    yield from walk(child, (*path, step), name)

    yield from walk(tree, (), "module")


def at(node: Any, path: Path) -> Any:
    for key, i in path:
        node = getattr(node, key) if i is None else getattr(node, key)[i]
    return node


def shown(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())[:150]


def changes(node: ast.AST) -> list[Any]:
    if isinstance(node, ast.Compare):
        return [
            lambda n, i=i, new=new: n.ops.__setitem__(i, new())
            for i, op in enumerate(node.ops)
            for new in COMPARISONS[type(op)]
        ]
    if isinstance(node, (ast.BinOp, ast.BoolOp, ast.AugAssign)):
        new = OPERATORS.get(type(node.op))
        return [lambda n: setattr(n, "op", new())] if new else []
    if isinstance(node, ast.UnaryOp):
        return [plus if isinstance(node.op, ast.USub) else not_not]
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        return [lambda n: setattr(n, "value", not n.value)]
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return [lambda n: setattr(n, "value", n.value + 1)]
    return []


def plus(node: ast.UnaryOp) -> None:
    node.op = ast.UAdd()


def not_not(node: ast.UnaryOp) -> None:
    node.operand = ast.UnaryOp(ast.Not(), node.operand)


def module(tree: ast.Module, name: str) -> types.ModuleType:
    """The module of a tree. (A namedtuple looks for its module by name.)"""
    result = sys.modules[name] = types.ModuleType(name)
    exec(compile(ast.fix_missing_locations(tree), name, "exec"), result.__dict__)
    return result
