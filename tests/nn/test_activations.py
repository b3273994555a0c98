"""Activations and poolings as modules: their angles, and the functions they call."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.dense import normal
from helpers.registry import initialised
from lipjax import nn, ops

CASES = [
    (nn.MaxMin, ops.maxmin, []),
    (nn.Householder, ops.householder, ["theta"]),
    (nn.HouseholderOrder2, ops.householder2, ["theta0", "theta1", "theta2"]),
    (nn.ChannelMaxPool, ops.channel_max_pool, []),
    (nn.ProjectionPool, ops.projection_pool, ["theta"]),
]


@pytest.mark.parametrize(("module", "function", "names"), CASES)
def test_module_is_its_function(module, function, names):
    x = normal(0, 2, 3, 8)
    params = {n: jnp.asarray(np.random.default_rng(1).uniform(0, 3, 4)) for n in names}
    variables = {"params": params} if names else {}
    np.testing.assert_array_equal(
        jax.jit(module().apply)(variables, x), jax.jit(function)(x, *params.values())
    )


@pytest.mark.parametrize(("module", "function", "names"), CASES)
def test_initial_angles(module, function, names):
    x = jnp.zeros((1, 200))
    params = initialised(module(), x).get("params", {})
    assert sorted(params) == names
    for theta in params.values():
        assert theta.shape == (100,) and theta.dtype == jnp.float32
        if module is nn.Householder:
            np.testing.assert_array_equal(theta, np.float32(np.pi / 2))
        else:  # uniform in 0..pi: mean pi / 2 to 5 standard errors of 0.09
            assert 0 <= theta.min() and theta.max() <= np.pi
            assert theta.mean() == pytest.approx(np.pi / 2, abs=0.45)
    values = [tuple(np.asarray(t)) for t in params.values()]
    assert len(set(values)) == len(values)  # each has its own random numbers
