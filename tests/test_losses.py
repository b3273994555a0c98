"""The training loss is optax's, bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from helpers.dense import normal
from lipjax import losses

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


def test_penalized_cross_entropy():
    logits, penalty = jnp.asarray(normal(0, 7, 5)), jnp.array(2.0)
    mean = losses.cross_entropy(logits, LABELS, temperature=2.0).mean()
    found = losses.penalized_cross_entropy(
        logits, LABELS, penalty, weight=0.5, temperature=2.0
    )
    assert found == mean + 1.0
