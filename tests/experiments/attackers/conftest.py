"""Certified networks of two kinds, made once."""

import pytest
import torch

from experiments.attackers.networks import read_certified
from helpers.attackers import tiny_network, write_certified

KINDS = {
    "linear": (False, "maxmin", "max"),
    "curvature": (True, "householder2", "projection"),
}


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small products are faster on one core, and other tests run on the others."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", params=KINDS)
def folder(request, tmp_path_factory):
    """A folder with a network and its certificates."""
    path = tmp_path_factory.mktemp(request.param)
    write_certified(path, tiny_network(*KINDS[request.param]))
    return path


@pytest.fixture(scope="session")
def certified(folder):
    return read_certified(folder, folder.name)
