"""The convolution as a module: the numbers that the published code computes."""

import dataclasses

import jax
import numpy as np
import pytest

from helpers import golden
from helpers.dense import relative_error
from helpers.registry import (
    PUBLISHED,
    conv,
    normalized_skew,
)
from lipjax import ops
from lipjax.nn import SPECTRAL, ExpApproximation

GOLDEN = [
    "soc_same_k3",
    "soc_expand_k3",
    "soc_shrink_k3",
    "soc_stride2_k3",
    "soc_stride2_k1",
    "soc_k5",
]


def golden_layer(arrays, exp):
    features = arrays["y_eval"].shape[1]
    size = arrays["param/weight"].shape[-1]
    return conv(
        features,
        kernel_size=size,
        strides=int(arrays["stride"]),
        exp=exp,
    )


def forward_errors(arrays, variables=None, exp=PUBLISHED):
    """Relative errors in evaluation and in training."""
    layer = golden_layer(arrays, exp)
    variables = golden.soc_variables(arrays) if variables is None else variables
    x = golden.nhwc(arrays["x"])
    apply = jax.jit(layer.apply, static_argnames="train")
    return [
        relative_error(
            apply(variables, x, train=train), golden.nhwc(arrays[f"y_{name}"])
        )
        for name, train in (("eval", False), ("train", True))
    ]


def tied(variables):
    """Variables with the vectors of each unfolding, for both unfoldings.

    For k = 1 both unfoldings are the same matrix; the two estimates of the golden file
    tie in float32, and torch splits the gradient of a minimum evenly among ties.
    """
    if len(variables["params"]["kernel"]) > 1:
        return [variables]
    vectors = variables[SPECTRAL]["kernel_vectors"]
    return [{**variables, SPECTRAL: {"kernel_vectors": (uv, uv)}} for uv in vectors]


def gradient_errors(arrays, rule, used):
    """Relative errors of the gradients of input, kernel and bias."""
    layer = golden_layer(arrays, dataclasses.replace(PUBLISHED, gradient=used))

    @jax.jit
    def gradients(x, variables, g):
        def f(x, params):
            return layer.apply({**variables, "params": params}, x, train=True)

        return jax.vjp(f, x, variables["params"])[1](g)

    x, g = golden.nhwc(arrays["x"]), golden.nhwc(arrays["cotangent"])
    found = [gradients(x, v, g) for v in tied(golden.soc_variables(arrays))]
    gx, params = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *found)
    return {
        "x": relative_error(gx, golden.nhwc(arrays[f"gx_{rule}"])),
        "kernel": relative_error(params["kernel"], golden.hwio(arrays[f"gw_{rule}"])),
        "bias": relative_error(params["bias"], arrays["gb"]),
    }


@pytest.fixture(params=GOLDEN)
def arrays(request, shared):
    return golden.load(shared(f"golden/{request.param}.npz"))


def test_golden_forward(arrays):
    assert max(forward_errors(arrays)) <= golden.FLOAT32


def test_golden_skew_kernel(arrays):
    found = normalized_skew(golden.soc_variables(arrays))
    expected = golden.hwio(arrays["skew_filter"])
    assert relative_error(found, expected) <= golden.FLOAT32
    assert relative_error(-found, expected) > 1


@pytest.mark.parametrize("rule", ["exact", "fast"])
def test_golden_gradients(arrays, rule):
    assert max(gradient_errors(arrays, rule, rule).values()) <= golden.FLOAT32


def mutated(arrays, change):
    """The golden variables with something wrong in them."""
    variables = golden.soc_variables(arrays)
    params, vectors = variables["params"], variables[SPECTRAL]["kernel_vectors"]
    if change == "flipped sign":  # of the skew kernel, not of its scale
        kernel = np.asarray(ops.transpose_kernel(params["kernel"]))
        vectors = tuple((-u, v) for u, v in vectors)
        return {
            "params": params | {"kernel": kernel},
            SPECTRAL: {"kernel_vectors": vectors},
        }
    if change == "tall unfolding only":
        u, v = vectors[1]
        square = tuple(2 * w for w in vectors[0])
        return {"params": params, SPECTRAL: {"kernel_vectors": (square, (u, v))}}
    return {"params": params | {"bias": -params["bias"]}, SPECTRAL: variables[SPECTRAL]}


@pytest.mark.parametrize("change", ["flipped sign", "tall unfolding only", "bias"])
def test_golden_rejects_wrong_variables(shared, change):
    arrays = golden.load(shared("golden/soc_same_k3.npz"))
    errors = forward_errors(arrays, mutated(arrays, change))
    assert min(errors) > 100 * golden.FLOAT32


@pytest.mark.parametrize(("degree", "eval_degree"), [(4, 9), (6, 8), (7, 7)])
def test_golden_rejects_other_degrees(shared, degree, eval_degree):
    """In evaluation ||J||^14 / 14! is far below float32's rounding: 10 is like 14."""
    arrays = golden.load(shared("golden/soc_same_k3.npz"))
    exp = ExpApproximation(ops.taylor(degree), ops.taylor(eval_degree))
    assert min(forward_errors(arrays, exp=exp)) > 2 * golden.FLOAT32


@pytest.mark.parametrize(
    ("rule", "used"), [("exact", "fast"), ("fast", "exact"), ("fast", "low_rank")]
)
def test_golden_rejects_other_rules(shared, rule, used):
    arrays = golden.load(shared("golden/soc_same_k3.npz"))
    errors = gradient_errors(arrays, rule, used)
    assert errors["kernel"] > 100 * golden.FLOAT32
