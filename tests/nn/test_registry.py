"""No layer expands more than it claims: at creation, and after wild training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.dense import normal, relative_error
from helpers.registry import LAYERS, drawn
from lipjax.nn import SPECTRAL

# Rounding of a Jacobian of at most 150 columns through at most 8 convolutions.
ROUNDING = 1e-12


@functools.partial(jax.jit, static_argnames="module")
def jacobians(module, variables, points):
    def dense(x):
        jacobian = jax.jacrev(lambda x: module.apply(variables, x[None])[0])(x)
        return jacobian.reshape(-1, x.size)

    return jax.vmap(dense)(points)


def spectral_norms(layer, variables):
    """Largest singular values of the Jacobian at random points."""
    points = jnp.asarray(normal(3, 3, *layer.shape))
    dense = jacobians(layer.module, variables, points)
    return np.linalg.norm(dense, 2, axis=(1, 2))


def trained(layer, variables, steps=4, rate=3.0):
    """Variables after large SGD steps on a random loss, singular vectors following."""
    x = jnp.asarray(normal(4, 2, *layer.shape))
    shape = jax.eval_shape(layer.module.apply, variables, x).shape
    target = normal(5, *shape)
    settings: dict = {"mutable": [SPECTRAL]}
    if SPECTRAL in variables:
        settings["update_stats"] = True

    @jax.jit
    def step(params, spectral):
        def loss(params):
            y, new = layer.module.apply(
                {"params": params, SPECTRAL: spectral}, x, **settings
            )
            return jnp.sum(y * target), new

        gradient, new = jax.grad(loss, has_aux=True)(params)
        params = jax.tree.map(lambda p, g: p - rate * g, params, gradient)
        return params, new.get(SPECTRAL, {})

    params, spectral = variables["params"], variables.get(SPECTRAL, {})
    for _ in range(steps):
        params, spectral = step(params, spectral)
    return {"params": params} | ({SPECTRAL: spectral} if spectral else {})


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_gain_is_as_claimed(layer):
    variables = drawn(layer.module, jnp.zeros((1, *layer.shape)))
    norms = spectral_norms(layer, variables)
    assert (norms <= layer.gain(variables) * (1 + ROUNDING)).all()
    assert (norms > 0.5).all()  # and does not shrink everything
    if "params" not in variables:
        return
    new = trained(layer, variables)
    moved = jax.tree.map(relative_error, new["params"], variables["params"])
    assert min(jax.tree.leaves(moved)) > 0.01
    norms = spectral_norms(layer, new)
    assert (norms <= layer.gain(new) * (1 + ROUNDING)).all()


def test_the_property_can_fail():
    """A layer that claims less than its gain is found out."""
    layer = LAYERS[0]
    variables = drawn(layer.module, jnp.zeros((1, *layer.shape)))
    bias, kernel = variables["params"]["bias"], variables["params"]["kernel"]
    halved = jax.tree.map(lambda v: v / 3, variables[SPECTRAL])  # sigma / 9
    wrong = {"params": {"kernel": kernel, "bias": bias}, SPECTRAL: halved}
    assert spectral_norms(layer, wrong).max() > layer.gain(variables) * (1 + ROUNDING)


def test_names_are_unique():
    assert len({layer.name for layer in LAYERS}) == len(LAYERS)
