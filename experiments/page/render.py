"""Fills the template of the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2


def render(contents: dict[str, Any]) -> str:
    """The page. What is not marked as HTML is escaped: names of classes, paths."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = Path(__file__).with_name("page.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(template).render(contents) + "\n"
