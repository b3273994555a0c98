"""The convolution as a module: state, dtypes, gradients."""

import functools
from typing import Any

import chex
import flax.errors
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.dense import jacobian, normal, relative_error, side_by_side
from helpers.registry import (
    conv,
    drawn,
    initialised,
    normalized_skew,
    series_gain,
)
from lipjax import ops
from lipjax.nn import SPECTRAL, ExpApproximation, SkewOrthogonalConv, refresh_spectral
from lipjax.nn.spectral import scale_estimate


@pytest.fixture(scope="module")
def image():
    return normal(0, 2, 4, 4, 4)


@pytest.fixture(scope="module")
def layer():
    return conv(4)


@pytest.fixture
def variables(layer, image):
    return drawn(layer, image)


def test_shapes_and_types(layer, variables):
    params = variables["params"]
    assert params["kernel"].shape == (3, 3, 4, 4) and params["bias"].shape == (4,)
    shapes = [[w.shape for w in uv] for uv in variables[SPECTRAL]["kernel_vectors"]]
    assert shapes == [[(12,), (3, 4)], [(36,), (1, 4)]]


def test_initial_distributions():
    layer = SkewOrthogonalConv(32)
    params = initialised(layer, jnp.zeros((1, 4, 4, 32), jnp.float32))["params"]
    # 9216 normal numbers: the standard deviation is known to 1 / sqrt(2 * 9216).
    assert np.std(params["kernel"]) == pytest.approx(32**-0.5, rel=5 / 136)
    assert 0.8 * 32**-0.5 < np.abs(params["bias"]).max() <= 32**-0.5


def test_initializers_and_no_bias():
    """Those of the user; without a bias the layer is linear."""
    x = jnp.asarray(normal(0, 2, 4, 4, 4))
    inits = {
        "kernel_init": linen.initializers.ones,
        "bias_init": linen.initializers.constant(3.0),
    }
    params = initialised(conv(4, **inits), x)["params"]
    assert (params["kernel"] == 1).all() and (params["bias"] == 3).all()
    layer = conv(4, use_bias=False)
    variables = drawn(layer, x)
    assert set(variables["params"]) == {"kernel"}
    apply = jax.jit(layer.apply)
    zero = {"params": variables["params"] | {"bias": jnp.zeros(4)}}
    expected = jax.jit(conv(4).apply)({**variables, **zero}, x)
    np.testing.assert_array_equal(apply(variables, x), expected)


def test_creation_converges(layer, image):
    """50 steps bring the estimates to 5% of the norms."""
    variables = initialised(layer, image)
    skew = ops.skew_kernel(variables["params"]["kernel"])
    for matrix, uv in zip(
        ops.unfoldings(skew), variables[SPECTRAL]["kernel_vectors"], strict=True
    ):
        estimate = ops.singular_value_estimate(matrix, uv)
        norm = np.linalg.norm(side_by_side(matrix), 2)
        assert 0.95 * norm <= estimate <= norm * (1 + 1e-12)


@pytest.mark.parametrize("train", [False, True])
def test_state_stays_without_update_stats(layer, variables, image, train):
    apply = jax.jit(layer.apply, static_argnames=("train", "mutable"))
    y = apply(variables, image, train=train)
    again, new = apply(variables, image, train=train, mutable=(SPECTRAL,))
    chex.assert_trees_all_equal(new[SPECTRAL], variables[SPECTRAL])
    np.testing.assert_array_equal(y, again)


def test_update_stats_needs_a_mutable_state(layer, variables, image):
    update = functools.partial(layer.apply, update_stats=True)
    with pytest.raises(flax.errors.ModifyScopeVariableError, match="spectral"):
        jax.eval_shape(update, variables, image)


@pytest.mark.parametrize("train", [False, True])
def test_update_stats_takes_one_step_first(layer, variables, image, train):
    kernel = variables["params"]["kernel"]
    moved = {"params": {**variables["params"], "kernel": kernel.at[0, 0].multiply(3)}}
    moved[SPECTRAL] = variables[SPECTRAL]
    names = ("train", "update_stats", "mutable")
    apply = jax.jit(layer.apply, static_argnames=names)
    y, new = apply(moved, image, train=train, update_stats=True, mutable=(SPECTRAL,))
    expected = {
        "kernel_vectors": tuple(
            ops.power_iteration(m, uv, 1)
            for m, uv in zip(
                ops.unfoldings(ops.skew_kernel(moved["params"]["kernel"])),
                variables[SPECTRAL]["kernel_vectors"],
                strict=True,
            )
        )
    }
    errors = jax.tree.map(relative_error, new[SPECTRAL], expected)
    assert max(jax.tree.leaves(errors)) <= 1e-14
    after = apply({**moved, **new}, image, train=train)
    assert relative_error(y, after) <= 1e-14


def test_training_and_evaluation_use_their_own_polynomial(variables, image):
    exp = ExpApproximation((0.0, 1.0), (1.0, 0.0), gradient="exact")
    layer = conv(4, exp=exp)
    bias = variables["params"]["bias"]
    apply = jax.jit(layer.apply, static_argnames="train")
    evaluated = np.asarray(apply(variables, image)) - np.asarray(bias)
    np.testing.assert_allclose(evaluated, image, atol=1e-14)
    trained = np.asarray(apply(variables, image, train=True)) - np.asarray(bias)
    skew = normalized_skew(variables)
    expected = ops.same_convolution(image, skew)
    assert relative_error(trained, expected) <= 1e-13


def test_training_polynomial_has_its_gain(layer, variables):
    dense = jacobian(
        lambda x: layer.apply(variables, x, train=True), normal(1, 4, 4, 4)
    )
    gain = series_gain(layer.exp.coefficients)(variables)
    assert np.linalg.norm(dense, 2) <= gain * (1 + 1e-12)


def test_refresh_converges_to_the_norms(variables):
    params = {"a": {"b": variables["params"]}, "head": {"hidden_kernel": None}}
    matrix = jnp.asarray(normal(2, 3, 5))
    params["head"]["hidden_kernel"] = matrix
    state = {
        "a": {"b": variables[SPECTRAL]},
        "head": {
            "hidden_kernel_vectors": (
                (jnp.ones(3) / 3**0.5, jnp.ones((1, 5)) / 5**0.5),
            )
        },
    }
    refresh = jax.jit(refresh_spectral, static_argnames="steps")
    new = refresh({"params": params, SPECTRAL: state}, steps=2000)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    matrices = ops.unfoldings(ops.skew_kernel(variables["params"]["kernel"]))
    vectors = new["a"]["b"]["kernel_vectors"] + new["head"]["hidden_kernel_vectors"]
    for m, uv in zip((*matrices, matrix[None]), vectors, strict=True):
        estimate = ops.singular_value_estimate(m, uv)
        norm = np.linalg.norm(side_by_side(m), 2)
        assert estimate == pytest.approx(norm, rel=1e-12)


def test_gradient_rules(variables, image):
    """The rule changes the kernel's gradient, and nothing else."""

    @jax.jit
    def both(variables):
        results = []
        for rule in ops.GRADIENTS:
            layer = conv(4, exp=ExpApproximation(gradient=rule))

            def loss(params, layer=layer):
                y = layer.apply({**variables, "params": params}, image, train=True)
                return jnp.sum(y * image)

            results.append(jax.value_and_grad(loss)(variables["params"]))
        return results

    values, gradients = zip(*both(variables), strict=True)
    np.testing.assert_allclose(values, values[0], rtol=1e-13)
    exact, fast, low_rank = (g["kernel"] for g in gradients)
    assert relative_error(fast, exact) > relative_error(low_rank, exact) > 1e-9
    for g in gradients:
        np.testing.assert_allclose(g["bias"], gradients[0]["bias"], rtol=1e-13)


@pytest.mark.parametrize(("k", "stride", "side"), [(3, 1, 4), (1, 2, 4), (3, 2, 2)])
@pytest.mark.parametrize("rule", ["fast", "low_rank"])
def test_gradients_are_those_of_the_composition(rule, k, stride, side):
    """The shorter way back is the chain rule: skew part, scale, polynomial."""
    exp = ExpApproximation(gradient=rule)
    layer = conv(4 * stride**2, kernel_size=k, strides=stride, exp=exp)
    x = normal(0, 3, side, side, 4)
    variables = drawn(layer, x)
    g = normal(1, 3, side // stride, side // stride, 4 * stride**2)

    def by_layer(params):
        y: Any = layer.apply({**variables, "params": params}, x, train=True)
        return jnp.sum(g * y)

    def by_functions(params):
        skew = ops.skew_kernel(params["kernel"])
        vectors = variables[SPECTRAL]["kernel_vectors"]
        scale = scale_estimate(ops.unfoldings(skew), vectors)
        z = ops.space_to_depth(x, stride)
        y = exp.apply(z, skew, scale, True)
        return jnp.sum(g * y) + jnp.sum(g.sum((0, 1, 2)) * params["bias"])

    found = jax.jit(jax.value_and_grad(by_layer))(variables["params"])
    expected = jax.jit(jax.value_and_grad(by_functions))(variables["params"])
    errors = jax.tree.map(relative_error, found, expected)
    assert max(jax.tree.leaves(errors)) <= 1e-13


def test_gradient_flows_through_the_scale(layer, variables, image):
    """The layer does not see the kernel's size, so along it the gradient is 0."""

    def loss(params):
        return jnp.sum(layer.apply({**variables, "params": params}, image) * image)

    kernel = variables["params"]["kernel"]
    gradient = jax.jit(jax.grad(loss))(variables["params"])["kernel"]
    along = jnp.sum(gradient * kernel)
    assert abs(along) <= 1e-3 * jnp.linalg.norm(gradient) * jnp.linalg.norm(kernel)


def test_exact_gradient_flows_through_the_scale_exactly(variables, image):
    layer = conv(4, exp=ExpApproximation(gradient="exact"))

    def loss(params):
        return jnp.sum(layer.apply({**variables, "params": params}, image) * image)

    kernel = variables["params"]["kernel"]
    gradient = jax.jit(jax.grad(loss))(variables["params"])["kernel"]
    along = jnp.sum(gradient * kernel)
    assert abs(along) <= 1e-12 * jnp.linalg.norm(gradient) * jnp.linalg.norm(kernel)


def test_computation_in_bfloat16():
    layer = SkewOrthogonalConv(4, dtype=jnp.bfloat16)
    x = jnp.asarray(normal(0, 1, 4, 4, 4), jnp.float32)
    variables = initialised(layer, x)
    assert {w.dtype for w in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    apply = jax.jit(layer.apply, static_argnames=("update_stats", "mutable"))
    y, new = apply(variables, x, update_stats=True, mutable=(SPECTRAL,))
    assert y.dtype == jnp.bfloat16
    assert {w.dtype for w in jax.tree.leaves(new)} == {jnp.dtype(jnp.float32)}
    full = jax.jit(SkewOrthogonalConv(4).apply)(variables, x)
    assert full.dtype == jnp.float32
    # 8 convolutions with u = 2^-8, errors adding up like a random walk.
    assert relative_error(np.float64(y), np.float64(full)) <= 8**0.5 * 2**-8 * 2

    def total(params):
        y: Any = layer.apply({**variables, "params": params}, x)
        return y.sum()

    gradient = jax.jit(jax.grad(total))(variables["params"])
    assert {w.dtype for w in jax.tree.leaves(gradient)} == {jnp.dtype(jnp.float32)}


def test_zero_kernel(layer, variables, image):
    params = jax.tree.map(jnp.zeros_like, variables["params"])

    def loss(params):
        return layer.apply({**variables, "params": params}, image).sum()

    y = jax.jit(layer.apply)({**variables, "params": params}, image)
    np.testing.assert_allclose(y, layer.exp.eval_coefficients[0] * image, rtol=1e-12)
    gradient = jax.jit(jax.grad(loss))(params)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


def test_bad_settings():
    x = jax.ShapeDtypeStruct((1, 4, 4, 2), jnp.float64)
    for settings, match in [
        ({"kernel_size": 2}, "k odd"),
        ({"kernel_size": (3, 1)}, r"kernel_size must be .*: \(3, 1\)"),
        ({"strides": 3}, "does not divide"),
        ({"strides": (2, 1)}, r"strides must be .*: \(2, 1\)"),
        ({"exp": ExpApproximation(gradient="none")}, "unknown gradient"),
    ]:
        with pytest.raises(ValueError, match=match):
            jax.eval_shape(conv(2, **settings).init, jax.random.key(0), x)
