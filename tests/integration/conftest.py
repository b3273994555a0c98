"""These tests run as users do: in single precision, with NumPy's promotion."""

import pytest


@pytest.fixture(autouse=True)
def strict():
    """Overrides the strict settings of the other tests."""
