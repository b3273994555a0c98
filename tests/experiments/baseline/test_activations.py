"""The baseline's activations and poolings are the published ones."""

import pytest
import torch

from experiments.baseline import activations
from helpers.baseline import loaded, relative_error, tensors
from helpers.golden import FLOAT32

GOLDEN = {
    "maxmin": activations.MaxMin,
    "maxpool_channels": activations.ChannelMaxPool,
    "householder1": activations.Householder,
    "householder2": activations.HouseholderOrder2,
    "projection_pool": activations.ProjectionPool,
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(shared, name):
    arrays = tensors(shared(f"golden/{name}.npz"))
    angles = {f"param/{n}": a for n, a in arrays.items() if n.startswith("theta")}
    module = loaded(GOLDEN[name](arrays["x"].shape[1]), angles)
    assert relative_error(module(arrays["x"]), arrays["y"]) <= FLOAT32


@pytest.mark.parametrize("kind", GOLDEN.values())
def test_gradients(kind):
    torch.manual_seed(0)
    module, x = kind(6).double(), torch.randn(3, 6, 2, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(module, x)
    zero = torch.zeros(1, 6, 1, 1).double().requires_grad_()
    (gradient,) = torch.autograd.grad(module(zero).sum(), zero)
    assert gradient.isfinite().all()
