"""Small networks to certify, with random weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipjax import LipConvNet, exact_network

LONG = pytest.mark.long

KINDS = {
    "normalized": {},
    "orthogonal": {"head": "orthogonal", "activation": "householder"},
    "curvature": {"head": "curvature", "hidden": 16, "activation": "householder2"},
    "projection": {"pooling": "projection", "activation": "householder2"},
}

TWO_KINDS = [
    pytest.param(kind, marks=() if kind in ("normalized", "curvature") else LONG)
    for kind in KINDS
]
"""Both sorts of head; the other kinds in `make test-all`."""


def small_model(kind="normalized", seed=0, **settings):
    """A model for 8x8 images of one channel and 5 classes, and its variables."""
    settings = dict(stages=3, width=4) | KINDS[kind] | settings
    model = LipConvNet((8, 8, 1), 5, mean=(0.3,), std=(0.4,), **settings)
    return model, jax.tree.map(lambda leaf: leaf, _variables(model, seed))


@functools.cache
def _variables(model, seed):
    key = jax.random.key(seed, impl="unsafe_rbg")
    x = jnp.zeros((1, 8, 8, 1), jnp.float32)
    options = {"xla_backend_optimization_level": 0}
    return jax.jit(lambda key: model.init(key, x), compiler_options=options)(key)


def small_network(kind="normalized", seed=0, **settings):
    """The exact network of `small_model`."""
    return exact_network(*small_model(kind, seed, **settings))


def images(count, seed=0, shape=(8, 8, 1)):
    """Random images in [0, 1], float64."""
    return np.random.default_rng(seed).uniform(size=(count, *shape))
