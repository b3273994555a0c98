"""These tests run JAX as users do; those in double precision say so."""

import pytest


def pytest_pycollect_makemodule():
    """Skips this directory where PyTorch is not installed."""
    pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def strict():
    """Overrides the strict settings of the other tests."""


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """A second thread costs networks this small time, most on a busy machine."""
    import torch

    torch.set_num_threads(1)
