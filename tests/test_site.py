"""The documentation: it builds, is complete, and its tutorial runs."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

from helpers.browser import browser

ROOT = Path(__file__).parents[1]
SITE = ROOT / "docs" / "site"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as by `make site`: a warning is an error."""
    out = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", f"--site-dir={out}"],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    return out


@pytest.fixture(scope="module")
def hooks():
    """The site's own module, which no package contains."""
    scope = {"__file__": str(SITE / "hooks.py")}
    exec(compile((SITE / "hooks.py").read_text(), "hooks.py", "exec"), scope)
    return scope


def test_the_reference_has_all_public_names(site, hooks):
    for module in hooks["MODULES"]:
        page = site / "api" / module.removeprefix("lipjax.") / "index.html"
        content = page.read_text()
        names = hooks["exported"](module)
        assert names or module == "lipjax"
        for name in names:
            assert re.search(rf'id="[\w.]*\b{name}"', content), f"{module}.{name}"
        assert ".. math::" not in content and ":math:" not in content
        assert "&gt;&gt;&gt;" in content or module in ("lipjax", "lipjax.verify")
    assert "exact_network" in hooks["exported"]("lipjax")
    assert "cross_entropy" in hooks["exported"]("lipjax.losses")


def test_it_asks_nobody_else_for_anything(site):
    loaded = re.compile(r'<(?:script|img|link)\b[^>]*\b(?:src|href)="(https?:[^"]*)"')
    for page in site.rglob("*.html"):
        found = [v for v in loaded.findall(page.read_text()) if "canonical" not in v]
        assert found == [], page


def test_a_browser_shows_it(site):
    """Formulas are drawn, and nothing is in the console."""
    with browser(1200, 900) as chromium:
        for page in ("index", "tutorial/index", "api/ops/index"):
            chromium.get((site / f"{page}.html").as_uri())
            assert chromium.get_log("browser") == []
        heights = chromium.execute_script(
            "return [...document.querySelectorAll('math')]"
            ".map(e => e.getBoundingClientRect().height)"
        )
    assert len(heights) > 10 and min(heights) > 10


def test_the_notebook_is_the_tutorial():
    ours = nbformat.read(ROOT / "docs" / "tutorial.ipynb", as_version=4)
    due = jupytext.read(ROOT / "docs" / "tutorial.md")
    both = [[(c.cell_type, c.source) for c in book.cells] for book in (ours, due)]
    assert both[0] == both[1], "jupytext --to ipynb docs/tutorial.md"
    assert not any(cell.get("outputs") for cell in ours.cells)


@pytest.mark.long
def test_the_tutorial_runs_in_ten_minutes(tmp_path):
    """As a notebook, in a process of its own; its assertions are its tests."""
    book = nbformat.read(ROOT / "docs" / "tutorial.ipynb", as_version=4)
    begin = time.monotonic()
    NotebookClient(
        book,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    assert time.monotonic() - begin < 600
    shown = json.dumps(book)
    assert "image/png" in shown and "360 certificates accepted" in shown
