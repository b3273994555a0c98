"""What every test may use."""

import os
import pathlib

import pytest


@pytest.fixture(scope="session")
def shared():
    """Path of a file beside the project, or the test is skipped."""
    default = pathlib.Path(__file__).parents[1] / ".." / "shared"
    root = pathlib.Path(os.environ.get("LIPJAX_SHARED") or default)

    def find(name):
        if not (root / name).exists():
            pytest.skip(f"shared file {name} not found")
        return root / name

    return find
