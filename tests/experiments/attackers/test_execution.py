"""The module computes what the checker computes, and attacks can differentiate it."""

import numpy as np
import pytest
import torch

from experiments.attackers.execution import (
    Activation,
    Convolution,
    Product,
    SkewConvolution,
    Unfolded,
)
from helpers.checker import make_layer, plain_layer, skew_kernel
from lipjax import verify as checker

# Both sum some hundred products; they differ by their order only.
TOLERANCE = 1e-12


def test_network(certified):
    x = np.random.default_rng(0).uniform(size=(20, *certified.model.shape))
    model = certified.model
    logits = checker.head_of(model, checker.features_of(model, x))[0]
    ours = certified.execution(torch.tensor(x)).numpy()
    np.testing.assert_allclose(ours, logits, rtol=0, atol=TOLERANCE)


def test_gradient(certified):
    x = np.random.default_rng(0).uniform(size=(2, *certified.model.shape))
    inputs = torch.tensor(x).requires_grad_()
    assert torch.autograd.gradcheck(certified.execution, inputs, fast_mode=True)


@pytest.mark.parametrize("product", [Product, Unfolded])
@pytest.mark.parametrize(
    "k, size, stride, channels",
    [(3, (4, 4), 1, 2), (3, (6, 4), 2, 1), (5, (3, 2), 1, 3), (1, (2, 2), 2, 1)],
)
def test_convolution(product, k, size, stride, channels):
    rng = np.random.default_rng(k)
    bias, coefficients = rng.normal(size=2), rng.normal(size=4).tolist()
    width = max(channels * stride**2, 2)
    layer = make_layer(skew_kernel(rng, k, width) / 9, size, stride, bias, coefficients)
    ours = SkewConvolution(layer)
    ours.product = product(layer)
    z = rng.normal(size=(3, *size, channels))
    found = ours(torch.tensor(z).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    expected = checker.convolution(layer, z)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kind", ["convolution", "circular_convolution"])
@pytest.mark.parametrize(
    "taps, size, stride",
    [((3, 3), (3, 4), 1), ((2, 4), (3, 3), 2), ((5, 7), (2, 2), 1)],
)
def test_plain_convolution(taps, size, stride, kind):
    rng = np.random.default_rng(0)
    layer = plain_layer(rng, kind, taps, size, 4, 3)
    layer.stride = stride
    h, w = (stride * side for side in size)
    z = rng.normal(size=(3, h, w, 4 // stride**2))
    ours = Convolution(layer)(torch.tensor(z).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    expected = checker.convolution(layer, z)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=TOLERANCE)


def halves(rng, count):
    """Random halves of 4 channels, with ties, zeros and negative zeros."""
    a, b = rng.normal(size=(2, count, 1, 1, 2))
    a[:2], b[2:4], b[4:6] = 0, -0.0, a[4:6]
    return a, b


@pytest.mark.parametrize("kind", checker.ANGLES)
def test_activation(kind):
    rng = np.random.default_rng(0)
    a, b = halves(rng, 500)
    angles = [rng.uniform(-1, 7, 2) for _ in range(checker.ANGLES[kind])]
    expected = checker.activation(kind, a, b, *angles)
    layer = make_layer(skew_kernel(rng, 1, 2))
    layer.kind, layer.angles = kind, angles
    z = torch.tensor(np.concatenate([a, b], axis=-1)).permute(0, 3, 1, 2)
    found = Activation(layer)(z.requires_grad_())
    found.sum().backward()
    assert z.grad is not None and z.grad.isfinite().all()
    found = found.detach().permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
