"""Attacks stay in their balls, and change the predictions that can be changed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.dense import normal
from helpers.networks import images, small_model
from lipjax.attacks import apgd, on_sphere, pgd, project, targeted_dlr
from lipjax.attacks.apgd import _checkpoints
from lipjax.losses import cross_entropy

ATTACKS = {
    "pgd": functools.partial(pgd, steps=30),
    "apgd": functools.partial(apgd, steps=30),
    "apgd_dlr": functools.partial(apgd, steps=30, loss=targeted_dlr()),
}


def linear(seed=0, size=12, classes=5):
    """A linear classifier: the distance to each border is known."""
    weights, bias = normal(seed, size, classes), 0.1 * normal(seed + 1, classes)
    return weights, lambda x: x.reshape(len(x), -1) @ weights + bias[None]


def true_radius(weights, logits):
    y = logits.argmax(1)
    gaps = logits[np.arange(len(y)), y][:, None] - logits
    distances = np.linalg.norm(weights[:, y].T[:, :, None] - weights[None], axis=1)
    with np.errstate(invalid="ignore"):
        return np.where(distances > 0, gaps / distances, np.inf).min(1)


@pytest.mark.parametrize("name", ATTACKS)
def test_linear_classifier(name):
    """Success just outside the true radius, none inside."""
    weights, logits = linear()
    x = jnp.asarray(normal(2, 50, 2, 2, 3))
    scores = np.asarray(logits(x))
    radius, labels = true_radius(weights, scores), jnp.asarray(scores.argmax(1))
    for factor, least, most in ((0.999, 0, 0), (1.3, 45, 50)):
        found = ATTACKS[name](
            logits,
            x,
            labels,
            jnp.asarray(factor * radius),
            jax.random.key(0),
            box=False,
        )
        broken = np.sum(np.asarray(logits(found)).argmax(1) != labels)
        assert least <= broken <= most


@pytest.mark.parametrize(
    "name",
    [*(pytest.param(n, marks=pytest.mark.long) for n in ("pgd", "apgd")), "apgd_dlr"],
)
@pytest.mark.parametrize("box", [True, pytest.param(False, marks=pytest.mark.long)])
def test_points_stay_in_ball_and_box(name, box):
    model, variables = small_model(width=2)
    variables = jax.tree.map(lambda v: v.astype(jnp.float32), variables)
    x = jnp.asarray(images(8), jnp.float32)
    radius = jnp.asarray(np.linspace(0.01, 2, 8), jnp.float32)
    logits = functools.partial(model.apply, variables)
    labels = jnp.argmax(logits(x), axis=1)
    attack = jax.jit(
        lambda x: ATTACKS[name](logits, x, labels, radius, jax.random.key(0), box=box)
    )
    found = attack(x)
    distance = np.linalg.norm(np.asarray(found - x).reshape(8, -1), axis=1)
    assert (distance <= radius * (1 + 1e-5)).all()
    assert (distance > 0.3 * radius).any()
    inside = (found.min() >= 0) and (found.max() <= 1)
    assert inside == box
    # Never worse than at the start.
    assert (
        cross_entropy(logits(found), labels) >= cross_entropy(logits(x), labels) - 1e-5
    ).all() or "dlr" in name


def test_apgd_is_not_behind_a_step_of_fixed_length():
    """On a narrow, curved valley of losses, at equal cost."""
    weights, logits = linear(3, size=12)

    def bent(x):
        return logits(x) - 3 * jnp.sum(x**2, axis=(1, 2, 3), keepdims=True)[:, 0, 0] * (
            jnp.arange(5)[None] == 0
        ).astype(x.dtype)

    x = jnp.asarray(normal(4, 60, 2, 2, 3))
    labels = jnp.argmax(bent(x), axis=1)
    losses = {
        name: float(
            cross_entropy(
                bent(ATTACKS[name](bent, x, labels, 1.0, jax.random.key(0), box=False)),
                labels,
            ).mean()
        )
        for name in ("pgd", "apgd")
    }
    assert losses["apgd"] >= 0.99 * losses["pgd"]


def test_targeted_ratio():
    logits, labels = normal(0, 6, 7), np.arange(6)
    for rank in (1, 3):
        ours = targeted_dlr(rank)(jnp.asarray(logits), jnp.asarray(labels))
        for row, y, value in zip(logits, labels, ours, strict=True):
            others = np.sort(np.delete(row, y))[::-1]
            ranked = np.sort(row)[::-1]
            expected = -(row[y] - others[rank - 1]) / (
                ranked[0] - (ranked[2] + ranked[3]) / 2
            )
            np.testing.assert_allclose(value, expected, rtol=1e-12)
    with pytest.raises(ValueError, match="four classes"):
        targeted_dlr()(jnp.zeros((1, 3)), jnp.zeros(1, int))


def test_cross_entropy():
    logits, labels = normal(0, 4, 5), np.array([0, 1, 2, 4])
    expected = np.log(np.exp(logits).sum(1)) - logits[np.arange(4), labels]
    ours = cross_entropy(jnp.asarray(logits), jnp.asarray(labels))
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_projection():
    center = jnp.full((2, 3), 0.5)
    point = center + jnp.asarray([[3.0, 4.0, 0.0], [0.01, 0, 0]])
    moved = project(point, center, jnp.array([0.5, 0.5]))
    np.testing.assert_allclose(moved[0] - 0.5, [0.3, 0.4, 0], atol=1e-12)
    np.testing.assert_array_equal(moved[1], point[1])
    assert project(point, center, 10.0).max() == 1


def test_sphere():
    center = jnp.asarray(normal(0, 200, 4))
    delta = on_sphere(jax.random.key(0), center, 0.7) - center
    np.testing.assert_allclose(jnp.linalg.norm(delta, axis=1), 0.7, rtol=1e-12)
    assert np.abs(np.mean(delta, axis=0)).max() < 0.1


@pytest.mark.parametrize("steps", [1, 5, 20, 100])
def test_checkpoints(steps):
    since = _checkpoints(steps)
    assert since.sum() <= steps and since.shape == (steps,)
    if steps == 100:
        assert np.flatnonzero(since).tolist()[:3] == [21, 40, 56]
