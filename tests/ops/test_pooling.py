"""Poolings: golden values, the distance they are, finite gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from helpers import golden
from helpers.dense import EPS, normal
from lipjax.ops import channel_max_pool, projection_pool

PI = np.pi
TOLERANCE = 4e-6  # float32, a handful of operations on values below 5


def golden_error(arrays, f):
    y = jax.jit(f)(golden.nhwc(arrays["x"]))
    return np.abs(y - golden.nhwc(arrays["y"])).max()


def test_golden_max(shared):
    arrays = golden.load(shared("golden/maxpool_channels.npz"))
    assert golden_error(arrays, channel_max_pool) <= TOLERANCE
    wrong = [
        lambda x: -channel_max_pool(-x),
        lambda x: jnp.maximum(x[..., ::2], x[..., 1::2]),
    ]
    assert min(golden_error(arrays, f) for f in wrong) > 0.1


def test_golden_projection(shared):
    arrays = golden.load(shared("golden/projection_pool.npz"))
    theta = arrays["theta"]
    assert golden_error(arrays, lambda x: projection_pool(x, theta)) <= TOLERANCE
    wrong = [
        lambda x: projection_pool(x, PI - theta),
        lambda x: -projection_pool(x, theta),
        lambda x: projection_pool(jnp.roll(x, 5, -1), theta),
        lambda x: projection_pool(x, theta[::-1]),
    ]
    assert min(golden_error(arrays, f) for f in wrong) > 0.1


@pytest.mark.parametrize("theta", [0.0, 0.4, PI / 2, 2.5, PI])
def test_projection_is_the_signed_distance_to_a_wedge(theta):
    """Against the distance to densely sampled borders, two rays at +- theta / 2."""
    x = normal(0, 100, 2)
    y = jax.jit(projection_pool)(x, jnp.array([theta]))[:, 0]
    length = np.linspace(0, 6, 60001)
    rays = [
        length[:, None] * [np.cos(s * theta / 2), np.sin(s * theta / 2)]
        for s in (1, -1)
    ]
    nearest = np.array(
        [min(np.linalg.norm(ray - p, axis=1).min() for ray in rays) for p in x]
    )
    inside = np.abs(np.arctan2(x[:, 1], x[:, 0])) < theta / 2
    # Samples are 1e-4 apart: they overestimate a distance by 5e-5 at most.
    np.testing.assert_allclose(y, np.where(inside, -nearest, nearest), atol=5.1e-5)


def poolings(theta):
    return [channel_max_pool, lambda x: projection_pool(x, theta)]


@pytest.mark.parametrize("distance", [1e-6, 1.0])
def test_one_lipschitz(distance):
    theta = np.array([0.0, 1.0, PI])
    x = normal(0, 2000, 6)
    z = x + distance * normal(1, 2000, 6)
    for pool in poolings(theta):
        moved = np.linalg.norm(jax.jit(pool)(x) - jax.jit(pool)(z), axis=-1)
        assert (moved <= np.linalg.norm(x - z, axis=-1) + 64 * EPS).all()


def test_gradient_has_norm_one():
    """Of each output, where it exists: a pooling keeps the norms of gradients."""
    for pool in poolings(np.array([0.5, 1.0, 2.0])):
        dense = jax.jit(jax.vmap(jax.jacrev(pool)))(normal(0, 50, 6))
        gram = np.einsum("nij,nkj->nik", dense, dense)
        np.testing.assert_allclose(
            gram, np.broadcast_to(np.eye(3), gram.shape), atol=8 * EPS
        )


@pytest.mark.parametrize("angle", [0.0, 1.0, PI])
def test_finite_gradients(angle):
    points = np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    theta = jnp.array([angle])
    gx, gtheta = jax.jit(
        jax.vmap(jax.jacrev(projection_pool, (0, 1)), in_axes=(0, None))
    )(points, theta)
    assert np.isfinite(gx).all() and np.isfinite(gtheta).all()
    assert (np.linalg.norm(gx, axis=-1) <= 1 + 4 * EPS).all()
    gmax = jax.jit(jax.vmap(jax.jacrev(channel_max_pool)))(points)
    assert np.isfinite(gmax).all()


def test_gradients_away_from_kinks():
    x, theta = normal(3, 6), np.array([0.5, 1.0, 2.0])
    settings = {"order": 1, "modes": ["fwd", "rev"]}
    check_grads(jax.jit(projection_pool), (x, theta), **settings)
    check_grads(jax.jit(channel_max_pool), (x,), **settings)


def test_theta_is_clamped():
    x = normal(0, 20, 2)
    for outside, edge in [(-1.0, 0.0), (4.0, PI)]:
        np.testing.assert_array_equal(
            projection_pool(x, jnp.array([outside])),
            projection_pool(x, jnp.array([edge])),
        )


def test_bad_shapes():
    for pool in (channel_max_pool, lambda x: projection_pool(x, jnp.zeros(1))):
        with pytest.raises(ValueError, match="even"):
            pool(jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match="do not fit"):
        projection_pool(jnp.zeros((5, 2)), jnp.zeros(2))
