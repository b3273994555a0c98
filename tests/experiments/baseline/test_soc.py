"""The baseline's convolution computes what the published one does."""

import pytest
import torch

from experiments.baseline.exponential import ExpApproximation, skew_exponential, taylor
from experiments.baseline.soc import (
    SkewOrthogonalConv,
    prepared_kernels,
    skew_kernel,
    unfoldings,
)
from helpers.baseline import loaded, relative_error, tensors
from helpers.golden import FLOAT32

GOLDEN = ["same_k3", "expand_k3", "shrink_k3", "stride2_k3", "stride2_k1", "k5"]


def golden_layer(arrays, exp=None):
    sizes = arrays["x"].shape[1], arrays["y_eval"].shape[1]
    k, stride = arrays["param/weight"].shape[-1], int(arrays["stride"])
    return loaded(SkewOrthogonalConv(*sizes, k, stride, exp), arrays)


@pytest.fixture(params=GOLDEN)
def arrays(request, shared):
    return tensors(shared(f"golden/soc_{request.param}.npz"))


def test_golden_evaluation(arrays):
    layer = golden_layer(arrays)
    assert relative_error(layer(arrays["x"]), arrays["y_eval"]) <= FLOAT32
    assert relative_error(layer.kernel(), arrays["skew_filter"]) <= FLOAT32


def gradients(layer, arrays):
    """The output, and the gradients of the input, the weight and the bias."""
    x = arrays["x"].requires_grad_()
    y = layer(x)
    inputs = (x, layer.weight, layer.bias)
    return y, *torch.autograd.grad(y, inputs, arrays["cotangent"])


def golden_errors(arrays, rule, used, degree=5):
    """Relative errors of the training polynomial and its gradients.

    In evaluation mode, so that the vectors stay. For k = 1 the published minimum of
    equal estimates shares its gradient out, see tests/nn/test_soc.py.
    """
    layer = golden_layer(arrays, ExpApproximation((), taylor(degree), used))
    found = [gradients(layer, arrays)]
    if layer.weight.shape[-1] == 1:
        found = []
        for n in (0, 1):
            tied = golden_layer(arrays, layer.exp)
            for name in "uv":
                vector = layer.get_buffer(f"{name}{n}")
                tied.get_buffer(f"{name}{1 - n}").copy_(vector)
            found.append(gradients(tied, arrays))
    means = [sum(parts) / len(parts) for parts in zip(*found, strict=True)]
    due = [arrays[n] for n in ("y_train", f"gx_{rule}", f"gw_{rule}", "gb")]
    return [relative_error(a, b) for a, b in zip(means, due, strict=True)]


@pytest.mark.parametrize("rule", ["exact", "fast"])
def test_golden_gradients(arrays, rule):
    assert max(golden_errors(arrays, rule, rule)) <= FLOAT32


def test_golden_rejects_the_other_rule_and_degree(shared):
    arrays = tensors(shared("golden/soc_same_k3.npz"))
    assert golden_errors(arrays, "exact", "fast")[2] > 100 * FLOAT32
    assert min(golden_errors(arrays, "fast", "fast", degree=4)[:3]) > 10 * FLOAT32


def same_vectors(*layers):
    """Whether two layers have the same singular vectors, bit for bit."""
    names = ("u0", "v0", "u1", "v1")
    return all(torch.equal(*(la.get_buffer(n) for la in layers)) for n in names)


def test_a_training_forward_takes_one_step_and_a_prepared_kernel_none():
    torch.manual_seed(0)
    layer = SkewOrthogonalConv(4, 4).double()
    layer.weight.data.normal_()
    reference = SkewOrthogonalConv(4, 4).double()
    reference.load_state_dict(layer.state_dict())
    x = torch.randn(2, 4, 5, 5).double()
    layer.eval()(x)
    assert same_vectors(layer, reference)
    layer.train()(x)
    assert not same_vectors(layer, reference)
    reference.refresh(1)
    assert same_vectors(layer, reference)
    y = layer.eval()(x)
    with prepared_kernels(layer):
        layer.weight.data.zero_()
        assert torch.equal(layer(x), y)
    assert not torch.equal(layer(x), y)


def test_estimates_reach_the_norms_at_creation():
    torch.manual_seed(0)
    layer = SkewOrthogonalConv(6, 6).double()
    matrices = unfoldings(skew_kernel(layer.weight.detach()))
    norm = min(torch.linalg.matrix_norm(m, ord=2) for m in matrices)
    # 50 steps of the power iteration leave about a percent where the gap is small
    assert 0.98 < float(layer._scale(matrices) / norm) <= 1 + 1e-6


def test_an_unknown_gradient_is_refused():
    x, kernel = torch.zeros(1, 2, 3, 3), torch.zeros(2, 2, 3, 3)
    with pytest.raises(ValueError, match="unknown gradient 'low_rank'"):
        skew_exponential(x, kernel, taylor(5), "low_rank")
