"""Activations: golden values, norms kept, finite gradients, continuity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from helpers import golden
from helpers.dense import EPS, jacobian, normal
from lipjax.ops import householder, householder2, maxmin

PI = np.pi
# Published in float32: a handful of operations on values below 5, u = 6e-8.
TOLERANCE = 4e-6


def golden_error(arrays, f, names=(), sign=1, roll=0):
    angles = [sign * np.roll(arrays[n].ravel(), roll) for n in names]
    y = jax.jit(f)(golden.nhwc(arrays["x"]), *angles)
    return np.abs(y - golden.nhwc(arrays["y"])).max()


CASES = {
    "maxmin": (maxmin, ()),
    "householder1": (householder, ("theta",)),
    "householder2": (householder2, ("theta0", "theta1", "theta2")),
}


def swapped(f):
    """The same function of the halves in the other order."""
    return lambda x, *angles: f(jnp.concatenate(jnp.split(x, 2, -1)[::-1], -1), *angles)


@pytest.mark.parametrize("name", CASES)
def test_golden(shared, name):
    assert golden_error(golden.load(shared(f"golden/{name}.npz")), *CASES[name]) <= (
        TOLERANCE
    )


@pytest.mark.parametrize("name", CASES)
def test_golden_rejects(shared, name):
    arrays = golden.load(shared(f"golden/{name}.npz"))
    f, names = CASES[name]
    wrong = [golden_error(arrays, lambda x, *a: -f(-x, *a), names)]
    if names:
        wrong += [
            golden_error(arrays, swapped(f), names),
            golden_error(arrays, f, names, sign=-1),
            golden_error(arrays, f, names, roll=1),
            golden_error(arrays, f, names[1:] + names[:1], roll=len(names) == 1),
        ]
    assert min(wrong) > 0.1


def functions():
    """Every activation with fixed angles for 6 channels, singular ones among them."""
    singular = np.array([0.0, PI, 2 * PI])
    angles = np.random.default_rng(0).uniform(0, 2 * PI, (3, 3))
    named = {"maxmin": maxmin}
    for name, t in [("angles", angles), ("singular", np.array([singular] * 3))]:
        named[f"householder-{name}"] = lambda x, t=t: householder(x, t[0])
        named[f"householder2-{name}"] = lambda x, t=t: householder2(x, *t)
    return named


FUNCTIONS = functions()


@pytest.fixture(params=FUNCTIONS)
def activation(request):
    return FUNCTIONS[request.param]


def test_orthogonal_jacobian(activation):
    for seed in range(3):
        dense = jacobian(activation, normal(seed, 6))
        np.testing.assert_allclose(dense @ dense.T, np.eye(6), atol=8 * EPS)


def test_norm_is_kept(activation):
    x = normal(0, 200, 6)
    np.testing.assert_allclose(
        np.linalg.norm(jax.jit(activation)(x), axis=-1),
        np.linalg.norm(x, axis=-1),
        rtol=8 * EPS,
    )


@pytest.mark.parametrize("distance", [1e-6, 1.0])
def test_one_lipschitz(activation, distance):
    """On random points, many of them on both sides of a border."""
    x = normal(0, 2000, 6)
    z = x + distance * normal(1, 2000, 6)
    f = jax.jit(activation)
    moved = np.linalg.norm(f(x) - f(z), axis=-1)
    # Rounding of outputs of size 5 does not shrink with the distance.
    assert (moved <= np.linalg.norm(x - z, axis=-1) + 64 * EPS).all()


def test_finite_gradient_at_singular_points(activation):
    points = np.array(
        [[0.0] * 6, [1.0] * 6, [-1.0] * 6, [1.0, 0, -1, 0, 1, 0], [-1.0, 0, 0, 0, 0, 0]]
    )
    grads = jax.jit(jax.vmap(jax.jacrev(activation)))(points)
    assert np.isfinite(grads).all()


@pytest.mark.parametrize("angle", [0.0, PI, 2 * PI])
@pytest.mark.parametrize("f", [householder, householder2])
def test_finite_angle_gradient(f, angle):
    count = 1 if f is householder else 3
    angles = [jnp.full(3, angle)] * count
    x = jnp.array([0.0, 1.0, 1.0, 0.0, 1.0, 0.0])
    g = jax.jit(jax.jacrev(f, tuple(range(count + 1))))(x, *angles)
    assert all(np.isfinite(part).all() for part in g)


def test_gradients_away_from_kinks():
    x, angles = normal(3, 6), np.random.default_rng(1).uniform(0.3, 2, (3, 3))
    settings = {"order": 1, "modes": ["fwd", "rev"]}
    check_grads(jax.jit(maxmin), (x,), **settings)
    check_grads(jax.jit(householder), (x, angles[0]), **settings)
    check_grads(jax.jit(householder2), (x, *angles), **settings)


@pytest.mark.parametrize("seed", range(4))
def test_householder2_joins_at_its_borders(seed):
    """Just before and just after each border the values differ by the step only."""
    t0, t1, t2 = np.random.default_rng(seed).uniform(0, 2 * PI, 3)
    borders = np.array([0.0, t1 / 2, (t1 + t2) / 2, PI + t2 / 2]) + t0 / 2
    step = 1e-9
    around = borders[:, None] + np.array([-step, step])
    x = np.stack([np.cos(around), np.sin(around)], -1)
    f = jax.jit(lambda x: householder2(x, *(jnp.full(1, t) for t in (t0, t1, t2))))
    y = np.asarray(f(x))
    assert np.abs(y[:, 0] - y[:, 1]).max() <= 2 * step + 16 * EPS


def test_householder2_has_four_sectors():
    """Maps of determinant 1, -1, 1, -1, each in the sector that is due to it."""
    t0, t1, t2 = 0.6, 2.0, 1.4
    borders = np.array([0, t1 / 2, (t1 + t2) / 2, PI + t2 / 2, 2 * PI]) + t0 / 2
    middle = (borders[:-1] + borders[1:]) / 2

    def f(x):
        return householder2(x, *(jnp.full(1, t) for t in (t0, t1, t2)))

    points = np.stack([np.cos(middle), np.sin(middle)], -1)
    maps = jax.jit(jax.vmap(jax.jacrev(f)))(points)
    np.testing.assert_allclose(np.linalg.det(maps), [1, -1, 1, -1], atol=8 * EPS)


def test_angles_are_clamped():
    x = normal(0, 50, 2)
    for low, high in [(-1.0, 0.0), (7.0, 2 * PI)]:
        outside = householder2(x, *[jnp.full(1, low)] * 3)
        edge = householder2(x, *[jnp.full(1, high)] * 3)
        np.testing.assert_array_equal(outside, edge)


def test_initial_angle_sorts():
    y = jax.jit(householder)(jnp.array([3.0, 1.0]), jnp.array([PI / 2]))
    np.testing.assert_allclose(y, [1, 3], rtol=4 * EPS)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtype_of_the_input_is_kept(dtype):
    x, theta = jnp.ones((2, 6), dtype), jnp.ones(3, jnp.float64)
    outputs = (maxmin(x), householder(x, theta), householder2(x, theta, theta, theta))
    assert {y.dtype for y in outputs} == {jnp.dtype(dtype)}


def test_bad_shapes():
    theta = jnp.zeros(1)
    for f in (maxmin, lambda x: householder(x, theta)):
        with pytest.raises(ValueError, match="even"):
            f(jnp.zeros((2, 3)))
    for angles in (jnp.zeros(2), jnp.zeros(()), jnp.zeros((1, 1))):
        with pytest.raises(ValueError, match="do not fit"):
            householder(jnp.zeros((5, 2)), angles)
        with pytest.raises(ValueError, match="do not fit"):
            householder2(jnp.zeros((5, 2)), theta, theta, angles)
