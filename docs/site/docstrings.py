"""Docstrings for the site: formulas as MathML, which browsers draw without a script."""

from __future__ import annotations

import re
from typing import Any

import griffe
from latex2mathml.converter import convert

_FORMULA = re.compile(r"^\.\. math:: *(.*(?:\n[ \t]+\S.*)*)", re.MULTILINE)
_INLINE = re.compile(r":math:`([^`]*)`")
_REMARK = re.compile(r"^(Guarantee|References)(?=:)", re.MULTILINE)
_EXAMPLE = re.compile(r"^Example(?:, ([^:\n]*))?:$", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Turns what our docstrings have of reStructuredText into Markdown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = rewritten(obj.docstring.value)


def rewritten(text: str) -> str:
    """A docstring with its formulas as MathML, and its remarks in bold."""
    text = _FORMULA.sub(lambda found: _drawn(found[1], "block"), text)
    text = _INLINE.sub(lambda found: _drawn(found[1], "inline"), text)
    text = _REMARK.sub(r"**\1**", text)
    return _EXAMPLE.sub(lambda found: f"Examples: {found[1] or ''}".rstrip(), text)


def _drawn(formula: str, display: str) -> str:
    formula = " ".join(formula.split())
    drawn = convert(formula, display=display)
    return f'<div class="formula">{drawn}</div>' if display == "block" else drawn
