"""The objective is the named loss, with offsets and radii in pixels."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs import Config
from experiments.training.gradients import make_gradient, make_loss
from experiments.training.objective import emma_share, make_objective
from experiments.training.trainer import Trainer
from helpers.dense import normal
from lipjax import LipConvNet, losses

LABELS = np.array([0, 2, 1, 0])
PAIRS = np.sqrt(2 * (1 - np.eye(3)))


def test_offsets_and_radii_mean_pixels():
    """A margin of one pixel is 4 in logits where a pixel moves features by 4."""
    logits, pairs, half = jnp.asarray(normal(0, 4, 3)), jnp.asarray(PAIRS), 0.5
    due = {
        "cross_entropy": losses.cross_entropy(logits, LABELS, offset=4 * 0.3),
        "annealed": losses.annealed_cross_entropy(logits, LABELS, offset=4 * 0.3),
        "emma": losses.emma(logits, LABELS, 4 * pairs, radius=0.3),
    }
    for loss, expected in due.items():
        objective = make_objective(Config(loss=loss, offset=0.3), 4.0)
        found = objective(logits, LABELS, pairs, jnp.asarray(half))
        np.testing.assert_array_equal(found, expected)


def test_the_certificate_s_weight_is_a_price_of_a_pixel():
    logits, pairs = jnp.asarray(3 * normal(0, 4, 3)), jnp.asarray(PAIRS)
    objective = make_objective(Config(certificate_weight=0.5), 4.0)
    radii = losses.certified_radius(logits, LABELS, 4 * pairs)
    expected = losses.cross_entropy(logits, LABELS) - 0.5 * radii
    assert (radii > 0).any()
    found = objective(logits, LABELS, pairs, jnp.zeros(()))
    np.testing.assert_array_equal(found, expected)


def test_emma_s_radius_grows_to_all_of_it_half_way():
    shares = [float(emma_share(jnp.asarray(p))) for p in (0.0, 0.25, 0.5, 0.9)]
    np.testing.assert_allclose(shares, [1 / 30, 15.5 / 30, 1, 1], rtol=1e-6)


@pytest.mark.parametrize("head", ["orthogonal", "normalized"])
def test_emma_pulls_the_head_s_directions_apart(head):
    """The distances of a normalised head's rows are part of the gradient."""
    model = LipConvNet((4, 4, 1), 3, stages=1, width=2, mean=(0.0,), std=(0.25,))
    model = model.clone(head=head)
    x, y = jnp.asarray(np.abs(normal(1, 4, 4, 4, 1)) / 5, jnp.float32), LABELS
    variables = jax.jit(model.init)(jax.random.key(0), x)
    config = Config(loss="emma", offset=1.0, head=head)
    loss = jax.jit(make_loss(model, config), static_argnums=5)
    early, late = (
        float(loss(*variables.values(), x, y, jnp.float32(p), False)[0])
        for p in (0.0, 1.0)
    )
    assert early != late
    gradient = jax.grad(
        lambda p: loss(p, variables["spectral"], x, y, jnp.float32(1), False)[0]
    )
    found = gradient(variables["params"])["classifier"]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize("loss", ["cross_entropy", "emma", "annealed"])
def test_every_loss_trains(digits, loss):
    config = Config(depth=3, width=2, epochs=1, batch_size=64, loss=loss, offset=0.1)
    config = dataclasses.replace(config, certificate_weight=0.1, schedule="one_cycle")
    trainer = Trainer(config, digits)
    gradient = make_gradient(make_loss(trainer.model, config), trainer.mesh)
    x = jnp.asarray(digits.train.images[:64] / 16, jnp.float32)
    y = jnp.asarray(digits.train.labels[:64])
    state = trainer.init()

    @jax.jit
    def of(params, spectral):
        return gradient(params, spectral, x, y, jnp.float32(0.5))

    before = of(state.params, state.spectral)
    params = jax.tree.map(lambda p, g: p - 0.05 * g, state.params, before.grads)
    assert of(params, before.spectral).loss < before.loss
