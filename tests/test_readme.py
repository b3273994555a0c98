"""The examples in README and docs run when pasted; the commands there exist."""

import re
from pathlib import Path

import pytest

from helpers.programs import program
from lipjax.command import programs

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def strict():
    """As a user runs it."""


EXECUTED = ("README.md", "docs/published-code.md", "docs/other-libraries.md")


@pytest.mark.parametrize("page", EXECUTED)
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
    assert found == {*EXECUTED, "docs/tutorial.md"}  # this one: tests/test_site.py


PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"(?:\blipjax |-m experiments\.)([a-z_]+)\b(?!\.)([^|`#\n]*)")


def commands(text):
    """The programs of the commands in a page, each with its flags."""
    lines = re.sub(r"\\\n\s*", " ", text)
    shown = re.findall(r"^    .*$|`[^`\n]*`", lines, re.MULTILINE)
    for name, rest in COMMAND.findall("\n".join(shown)):
        yield name, re.findall(r"--(\w+)", rest)


@pytest.mark.parametrize("name", sorted(programs(ROOT / "experiments").keys()))
def test_the_commands_have_these_flags(name):
    """Every program's --help teaches, and has all flags that a page gives to it."""
    found = [
        flags for page in PAGES for n, flags in commands(page.read_text()) if n == name
    ]
    assert found, "no page shows it"
    if name == "verify":
        return
    result = program(name, "--help")
    assert result.returncode == 0, result.stderr
    assert f"python -m experiments.{name}" in result.stdout
    known = set(re.findall(r"^  --(?:\[no\])?(\w+)", result.stdout, re.MULTILINE))
    given = {flag for flags in found for flag in flags}
    assert {
        flag for flag in given - known if flag.removeprefix("no") not in known
    } == set()


def test_all_commands_are_of_programs():
    text = "\n".join(page.read_text() for page in PAGES)
    names = {name for name, _ in commands(text)} - {"model"}  # of "lipjax model 2"
    assert names <= programs(ROOT / "experiments").keys()
    assert ("train", ["epochs"]) in commands("    lipjax train \\\n --epochs=2  # --x")
