"""The losses have known values; the first is optax's, bit for bit."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from helpers.dense import normal
from lipjax import losses, ops

LABELS = jnp.array([0, 3, 4, 1, 2, 0, 4])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
@pytest.mark.parametrize("temperature", [1.0, 0.25, 30.0])
def test_cross_entropy_is_optax_bit_for_bit(dtype, temperature):
    logits = jnp.asarray(3 * normal(0, 7, 5), dtype)

    def ours(logits):
        return losses.cross_entropy(logits, LABELS, temperature=temperature)

    def theirs(logits):
        single = logits if dtype == jnp.float64 else logits.astype(jnp.float32)
        return optax.softmax_cross_entropy_with_integer_labels(
            single * temperature, LABELS
        )

    found, expected = jax.jit(ours)(logits), jax.jit(theirs)(logits)
    assert found.dtype == (jnp.float64 if dtype == jnp.float64 else jnp.float32)
    np.testing.assert_array_equal(found, expected)
    found, expected = (
        jax.jit(jax.grad(lambda z, loss=loss: loss(z).sum()))(logits)
        for loss in (ours, theirs)
    )
    np.testing.assert_array_equal(found, expected)


LOGITS = 2 * normal(1, 7, 5)  # NumPy: float64 whatever JAX defaults to
SLOPES = 1 + np.abs(normal(2, 5, 5))


def test_an_offset_lowers_the_label():
    lowered = LOGITS - 0.7 * jax.nn.one_hot(LABELS, 5, dtype=LOGITS.dtype)
    np.testing.assert_array_equal(
        losses.cross_entropy(jnp.asarray(LOGITS), LABELS, temperature=3.0, offset=0.7),
        losses.cross_entropy(jnp.asarray(lowered), LABELS, temperature=3.0),
    )


def test_annealed_cross_entropy_by_its_definition():
    settings = {"temperature": 1.5, "offset": 0.4}
    lowered = LOGITS - 0.4 * jax.nn.one_hot(LABELS, 5, dtype=LOGITS.dtype)
    p = jax.nn.softmax(1.5 * lowered)[jnp.arange(7), LABELS]
    expected = 0.25 / 1.5 * (1 - p) ** 5 * -jnp.log(p)
    found = losses.annealed_cross_entropy(jnp.asarray(LOGITS), LABELS, **settings)
    np.testing.assert_allclose(found, expected, rtol=1e-13)  # a few roundings
    entropy = losses.cross_entropy(jnp.asarray(LOGITS), LABELS, **settings)
    found = losses.annealed_cross_entropy(
        jnp.asarray(LOGITS), LABELS, power=0.0, weight=1.0, **settings
    )
    np.testing.assert_allclose(found, entropy / 1.5, rtol=1e-15)


def test_annealed_cross_entropy_is_finite_where_nothing_is_left():
    for logit in (1e4, -1e4):
        loss, gradient = jax.value_and_grad(
            lambda z: losses.annealed_cross_entropy(z, jnp.array([0])).sum()
        )(jnp.array([[logit, 0.0]]))
        assert np.isfinite(loss) and np.isfinite(gradient).all()


def test_emma_by_its_definition():
    radius, expected = 0.3, []
    for z, y in zip(np.asarray(LOGITS), LABELS, strict=True):
        due = radius * np.asarray(SLOPES)[y]
        behind = z - z[y]
        moved = behind + np.clip(-behind / due, 0.01, 1) * due
        expected.append(np.log(np.exp(moved).sum()) - moved[y])
    found = losses.emma(jnp.asarray(LOGITS), LABELS, SLOPES, radius=radius)
    np.testing.assert_allclose(found, expected, rtol=1e-13)  # a few roundings


def test_emma_without_a_radius_is_cross_entropy():
    found = losses.emma(
        jnp.asarray(LOGITS), LABELS, SLOPES, radius=0.0, temperature=2.0
    )
    entropy = losses.cross_entropy(jnp.asarray(LOGITS), LABELS, temperature=2.0)
    np.testing.assert_allclose(found, entropy, rtol=1e-13)  # z - z_y is rounded


def test_emma_s_gradient_reaches_logits_and_slopes_but_not_the_shares():
    """With the shares held fixed, v is linear in z and in the slopes."""

    def loss(logits, slopes):
        return losses.emma(logits, LABELS, slopes, radius=0.3).sum()

    def by_hand(logits, slopes):
        own = jnp.take_along_axis(LOGITS, LABELS[:, None], axis=1)
        share = jnp.clip((own - LOGITS) / (0.3 * SLOPES[LABELS]), 0.01, 1)
        behind = logits - jnp.take_along_axis(logits, LABELS[:, None], axis=1)
        moved = behind + share * 0.3 * slopes[LABELS]
        return losses.cross_entropy(moved, LABELS).sum()

    found, expected = (
        jax.grad(f, (0, 1))(jnp.asarray(LOGITS), jnp.asarray(SLOPES))
        for f in (loss, by_hand)
    )
    chex.assert_trees_all_close(found, expected, rtol=1e-12)
    assert np.abs(found[1]).max() > 0


def test_certified_radius_is_the_head_s():
    slopes = SLOPES + SLOPES.T
    radii = ops.linear_radii(LOGITS, LABELS, slopes)
    expected = np.maximum(np.min(radii, axis=1), 0)
    found = losses.certified_radius(jnp.asarray(LOGITS), LABELS, slopes)
    np.testing.assert_array_equal(found, expected)
    assert (found > 0).any() and (found == 0).any()
    check_grads(
        lambda z: losses.certified_radius(z, LABELS, slopes).sum(),
        (jnp.asarray(LOGITS),),
        order=1,
        modes=["rev"],
    )
