"""Features are moved against the head; gradients pass as if the move were constant."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.dense import normal
from lipjax.attacks import adversarial_features
from lipjax.losses import cross_entropy
from lipjax.ops import CurvatureWeights, curvature_logits

CURVED = CurvatureWeights(
    normal(1, 8, 16), normal(2, 16), normal(3, 16, 2), normal(4, 2)
)
HEADS = {
    "linear": lambda z: z @ normal(5, 8, 2),
    "curvature": lambda z: curvature_logits(CURVED, z),
}


@pytest.fixture
def batch():
    """Features and labels, in double precision."""
    return jnp.asarray(normal(0, 6, 8)), jnp.array([0, 1, 1, 0, 1, 0])


def test_two_classes_of_a_linear_head(batch):
    """The whole radius, straight to the border: 5 steps of half the radius."""
    z0, y = batch
    found = adversarial_features(HEADS["linear"], z0, y, 0.3) - z0
    apart = np.array(normal(5, 8, 2) @ np.array([-1.0, 1.0]))
    sign = np.where(np.asarray(y) == 0, 1.0, -1.0)[:, None]
    due = 0.3 * sign * apart / np.linalg.norm(apart)
    # a step rounds once, a projection twice, of features up to 4
    np.testing.assert_allclose(found, due, atol=100 * np.finfo(found.dtype).eps)


@pytest.mark.parametrize("name", HEADS)
def test_the_loss_is_larger_within_the_radius(name, batch):
    z0, y = batch
    moved = jax.jit(lambda z: adversarial_features(HEADS[name], z, y, 0.5))(z0)
    distance = np.linalg.norm(moved - z0, axis=1)
    assert (distance <= 0.5 * (1 + 1e-12)).all()
    before, after = (cross_entropy(HEADS[name](z), y) for z in (z0, moved))
    assert (after > before).all()
    still = adversarial_features(HEADS[name], z0, y, 0.0)
    np.testing.assert_array_equal(still, z0)


def test_gradients_are_those_at_the_moved_features(batch):
    z0, y = batch
    head = HEADS["curvature"]

    def loss(z):
        return cross_entropy(head(z), y).sum()

    moved = adversarial_features(head, z0, y, 0.5)
    found = jax.grad(lambda z: loss(adversarial_features(head, z, y, 0.5)))(z0)
    np.testing.assert_allclose(found, jax.grad(loss)(moved), rtol=1e-12)
