"""The examples in README and docs run when pasted."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def strict():
    """As a user runs it."""


@pytest.mark.parametrize("page", ["README.md", "docs/published-code.md"])
def test_the_examples_run(page):
    """One after the other, as in one session."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert blocks
    scope = {}
    for block in blocks:
        exec(compile(block, page, "exec"), scope)


def test_every_page_with_examples_is_run():
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = {str(p.relative_to(ROOT)) for p in pages if "```python" in p.read_text()}
    assert found == {"README.md", "docs/published-code.md"}
