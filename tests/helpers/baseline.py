"""Golden files and networks for the baseline in PyTorch."""

import torch

from experiments.baseline import from_published
from helpers import golden


def tensors(path):
    """All arrays of a golden file, floating-point ones in float64."""
    return {name: torch.from_numpy(a) for name, a in golden.load(path).items()}


def loaded(module, arrays):
    """The module in double precision with the published entries of a golden file."""
    start = "param/"
    state = {n.removeprefix(start): a for n, a in arrays.items() if n.startswith(start)}
    module.double().load_state_dict(from_published(state))
    return module.eval()


def relative_error(actual, expected):
    """||actual - expected|| / ||expected|| in l2."""
    assert actual.shape == expected.shape
    return float((actual - expected).detach().norm() / expected.norm())
