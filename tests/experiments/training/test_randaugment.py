"""Each operation of RandAugment on known values, and what is drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.training.randaugment import (
    GEOMETRIC,
    PHOTOMETRIC,
    affine_maps,
    rand_augment,
    warp,
)

EPS = float(np.finfo(np.float32).eps)
KEY = jax.random.key(0)


def image(*values):
    """A row of grey pixels, as a batch of one."""
    return jnp.array(values, jnp.float32).reshape(1, 1, -1, 1)


def drawn(n=1, height=4, width=4, channels=3):
    shape = (n, height, width, channels)
    return jax.random.randint(KEY, shape, 0, 256).astype(jnp.float32) / 255


def moved(x, **amounts):
    zeros = dict.fromkeys(GEOMETRIC, jnp.zeros(len(x)))
    amounts = {name: jnp.full(len(x), amount) for name, amount in amounts.items()}
    return np.asarray(warp(x, affine_maps(*x.shape[1:3], **zeros | amounts)))


def photometric(name, x, amount):
    return np.asarray(PHOTOMETRIC[name](x, jnp.full(len(x), amount)))


def test_nothing_changes_at_magnitude_zero():
    """Except by what has no magnitude. Mixing rounds twice, sums a few times."""
    x = drawn(2)
    for name in PHOTOMETRIC.keys() - {"autocontrast", "equalize"}:
        np.testing.assert_allclose(photometric(name, x, 0.0), x, atol=4 * EPS)
    np.testing.assert_array_equal(moved(x), x)


def test_no_operations_change_nothing():
    x = drawn(2)
    np.testing.assert_array_equal(rand_augment(KEY, x, 0, probability=1.0), x)
    np.testing.assert_array_equal(rand_augment(KEY, x, 2, probability=0.0), x)


def test_translations_are_shifts_with_zeros():
    x = drawn(2)
    pixel = 331 / 150 / 4  # the amount of one pixel of four
    shifted = np.zeros_like(x)
    shifted[:, :, :-1] = x[:, :, 1:]
    np.testing.assert_allclose(moved(x, translate_x=pixel), shifted, atol=8 * EPS)
    shifted = np.zeros_like(x)
    shifted[:, 1:] = x[:, :-1]
    np.testing.assert_allclose(moved(x, translate_y=-pixel), shifted, atol=8 * EPS)


def test_a_quarter_turn():
    x = drawn(2)
    due = np.rot90(x, axes=(1, 2))
    # cos(pi/2) is 4e-8, and coordinates up to 2 round: 8 eps of a pixel of size 1
    np.testing.assert_allclose(moved(x, rotate=3.0), due, atol=8 * EPS)


def test_shears_move_rows_and_columns_in_proportion():
    """At slope 2, the upper row of two moves a pixel right, the lower one left."""
    x = jnp.arange(1.0, 7).reshape(1, 2, 3, 1)
    due = [[0, 1, 2], [5, 6, 0]]
    found = moved(x, shear_x=2 / 0.3)[0, :, :, 0]
    np.testing.assert_allclose(found, due, atol=64 * EPS)
    found = moved(x.transpose(0, 2, 1, 3), shear_y=2 / 0.3)[0, :, :, 0]
    np.testing.assert_allclose(found.T, due, atol=64 * EPS)


@pytest.mark.parametrize(
    ("name", "amount", "values", "due"),
    [
        ("brightness", -1.0, (0.0, 0.5, 1.0), (0.0, 0.05, 0.1)),
        ("brightness", 1.0, (0.0, 0.5, 1.0), (0.0, 0.95, 1.0)),
        ("color", -1.0, (0.0, 0.5, 1.0), (0.0, 0.5, 1.0)),
        ("contrast", -1.0, (0.0, 0.5, 1.0), (0.45, 0.5, 0.55)),
        ("contrast", 1.0, (0.25, 0.5, 0.75), (0.025, 0.5, 0.975)),
        ("posterize", 1.0, (0.0, 17 / 255, 1.0), (0.0, 16 / 255, 240 / 255)),
        ("posterize", -0.25, (1 / 255, 2 / 255, 7 / 255), (0, 2 / 255, 6 / 255)),
        ("solarize", 0.5, (0.25, 0.5, 0.75), (0.25, 0.5, 0.25)),
        ("solarize", 0.0, (0.0, 0.5, 1.0), (0.0, 0.5, 1.0)),
        ("autocontrast", 0.3, (0.25, 0.5, 0.75), (0.0, 0.5, 1.0)),
        ("autocontrast", 0.3, (0.25, 0.25, 0.25), (0.25, 0.25, 0.25)),
        ("equalize", 0.3, (0.0, 0.1, 0.1, 0.2, 0.9), (0.0, 0.5, 0.5, 0.75, 1.0)),
        ("equalize", 0.3, (0.25, 0.25, 0.25), (0.25, 0.25, 0.25)),
    ],
)
def test_photometric_operations(name, amount, values, due):
    found = photometric(name, image(*values), amount)
    np.testing.assert_allclose(found, image(*due), atol=4 * EPS)


def test_color_keeps_the_luma():
    x = 0.4 + 0.2 * drawn()  # nothing is clipped
    weights = np.array([0.299, 0.587, 0.114])
    for amount in (-1.0, 0.3):
        found = photometric("color", x, amount)
        np.testing.assert_allclose(found @ weights, x @ weights, atol=8 * EPS)
        grey = np.asarray(x @ weights)[..., None]
        spread = (1 + 0.9 * amount) * (x - grey)
        np.testing.assert_allclose(found - grey, spread, atol=8 * EPS)


def test_sharpness_of_a_point():
    x = jnp.zeros((1, 5, 5, 1)).at[0, 2, 2, 0].set(1.0)
    due = np.zeros((5, 5))
    due[1:4, 1:4] = 0.9 / 13
    due[2, 2] = 0.1 + 0.9 * 5 / 13
    found = photometric("sharpness", x, -1.0)[0, :, :, 0]
    np.testing.assert_allclose(found, due, atol=4 * EPS)


def test_half_of_the_images_change_and_stay_in_the_box():
    """Each in its own way; the draws depend on the key alone."""
    x = jnp.broadcast_to(drawn(), (200, 4, 4, 3))
    found = np.asarray(jax.jit(rand_augment, static_argnums=2)(KEY, x, 2))
    # an image stays by the coin, or by two identities of 14 (or clipped operations)
    same = np.mean([(a == b).all() for a, b in zip(found, x, strict=True)])
    assert 0.35 < same < 0.65
    assert found.min() >= 0 and found.max() <= 1
    assert len({a.tobytes() for a in found}) > 50
    again = np.asarray(jax.jit(rand_augment, static_argnums=2)(KEY, x, 2))
    np.testing.assert_array_equal(found, again)
    other = rand_augment(jax.random.key(1), x, 2)
    assert (np.asarray(other) != found).any()
