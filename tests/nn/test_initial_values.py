"""A seed gives the same initial variables in every version."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipjax import LipConvNet, nn

NETWORK = LipConvNet(
    (4, 4, 1),
    3,
    stages=1,
    width=2,
    hidden=5,
    mean=(0.3,),
    std=(0.4,),
    head="curvature",
    activation="householder",
)

# Checksums of "params" and "spectral", computed with version 0.1.
CASES = {
    "conv": (nn.SkewOrthogonalConv(4), (1, 4, 4, 3), [0.39475, 0.83146]),
    "orthogonal": (nn.OrthogonalHead(4), (1, 6), [-0.62140, -1.13225]),
    "normalized": (nn.NormalizedHead(4), (1, 6), [0.62096]),
    "curvature": (nn.CurvatureHead(4, hidden=9), (1, 6), [-2.12410, 0.62544]),
    "householder": (nn.Householder(), (1, 8), [0.21074]),
    "householder2": (nn.HouseholderOrder2(), (1, 8), [-0.05919]),
    "projection": (nn.ProjectionPool(), (1, 8), [0.78506]),
    "network": (NETWORK, (1, 4, 4, 1), [0.16066, -4.35590]),
}


@pytest.fixture(autouse=True)
def strict():
    """Single precision, as users run it."""


def checksum(variables):
    """A sum over all leaves, in the order of their names, with a weight for each."""
    leaves = {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.ravel(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    }
    values = np.concatenate([leaves[name] for name in sorted(leaves)])
    return np.sum(values * np.cos(np.arange(len(values))))


@pytest.mark.parametrize("name", CASES)
def test_initial_values(name):
    module, shape, expected = CASES[name]
    create = jax.jit(lambda: module.init(jax.random.key(7), jnp.zeros(shape)))
    found = [checksum(collection) for collection in create().values()]
    # Five decimals; 50 steps of a float32 iteration on at most 64 channels.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
