"""Radii of linear heads: no flip inside, all classes, no certificate for a tie."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import golden
from helpers.dense import EPS, normal
from lipjax.ops import binding_radius, linear_radii, margins


def distances(weight):
    """||w_y - w_t|| of the columns of a weight [D, C]."""
    return np.linalg.norm(weight[:, :, None] - weight[:, None, :], axis=0)


@pytest.fixture
def head():
    """Columns of norm 1 in 5 dimensions, for 4 classes, and 30 features."""
    weight = normal(0, 5, 4)
    return weight / np.linalg.norm(weight, axis=0), normal(1, 30, 5)


def sorted_others(radii, labels):
    """Radii against all other classes, ascending: [n, C - 1]."""
    assert np.isposinf(radii[np.arange(len(labels)), labels]).all()
    return np.sort(radii, axis=1)[:, :-1]


# float32: 48 products at u = 6e-8 of logits around 3; for the orthogonal head the
# logits themselves are golden, so only the certificate's formula is compared.
TOLERANCE = 4e-6


@pytest.mark.parametrize("name", ["lln_10", "lln_40", "soc_head_10", "soc_head_40"])
def test_golden(shared, name):
    arrays = golden.load(shared(f"golden/{name}.npz"))
    classes = arrays["logits"].shape[1]
    if name.startswith("lln"):
        weight = arrays["param/weight"].T
        apart = distances(weight / np.linalg.norm(weight, axis=0))
        wrong = distances(weight)
    else:
        apart = np.sqrt(2 * (1 - np.eye(classes)))
        wrong = 1 - np.eye(classes)

    def error(logits, apart):
        radii = linear_radii(jnp.asarray(logits), arrays["labels"], jnp.asarray(apart))
        found = sorted_others(np.asarray(radii), arrays["labels"])
        return np.abs(found - arrays["certificates_sorted"]).max()

    logits = arrays["logits"]
    assert error(logits, apart) <= TOLERANCE
    assert error(-logits, apart) > 0.1
    assert error(logits, wrong) > 0.1
    assert error(logits, np.roll(apart, 1, 0) + np.eye(classes)) > 0.1


def test_radius_is_the_distance_to_the_boundary(head):
    """Moving along w_t - w_y by the radius ties the two classes, exactly there."""
    weight, features = head
    logits = features @ weight
    y = logits.argmax(1)
    radii = np.asarray(linear_radii(jnp.asarray(logits), y, distances(weight)))
    for n, t in np.ndindex(radii.shape):
        if t == y[n]:
            continue
        direction = weight[:, t] - weight[:, y[n]]
        moved = features[n] + radii[n, t] * direction / np.linalg.norm(direction)
        gap = moved @ (weight[:, y[n]] - weight[:, t])
        assert abs(gap) <= 64 * EPS


def test_nothing_flips_inside(head):
    weight, features = head
    logits = features @ weight
    y = logits.argmax(1)
    radii = linear_radii(jnp.asarray(logits), y, distances(weight))
    radius = np.asarray(binding_radius(radii, y).radius)
    noise = normal(2, 500, *features.shape)
    noise /= np.linalg.norm(noise, axis=-1, keepdims=True)
    moved = features + radius[:, None] * (1 - 1e-9) * noise
    assert ((moved @ weight).argmax(-1) == y).all()


def test_every_class_counts():
    """The binding class of 40 may have the lowest logit of all: its row is far off."""
    weight = np.zeros((40, 40))
    np.fill_diagonal(weight, 0.1)
    weight[0, 0] = 0.0
    weight[39, 39] = 100.0
    apart = distances(weight)
    logits = np.concatenate([[10.0], np.linspace(9.9, 9, 38), [1.0]])[None]
    found = binding_radius(
        linear_radii(jnp.asarray(logits), np.array([0]), apart), np.array([0])
    )
    assert found.runner_up[0] == 39
    top_nine = np.argsort(-logits[0])[1:10]
    published = ((10.0 - logits[0]) / np.maximum(apart[0], 1e-9))[top_nine].min()
    assert found.radius[0] == pytest.approx(0.09)
    assert published > found.radius[0]


def test_golden_lower_logits_bind(shared):
    """In the golden 40 classes too a class beyond the nine largest others binds."""
    arrays = golden.load(shared("golden/lln_40.npz"))
    weight = arrays["param/weight"].T
    apart = distances(weight / np.linalg.norm(weight, axis=0))
    logits = arrays["logits"]
    y = logits.argmax(1)
    radii = linear_radii(jnp.asarray(logits), y, jnp.asarray(apart))
    found = binding_radius(radii, y)
    rank = np.argsort(np.argsort(-logits, axis=1), axis=1)
    ranks = rank[np.arange(len(y)), found.runner_up]
    assert ranks.max() > 1  # the runner-up in logits is not always the nearest
    assert (found.radius == np.asarray(radii).min(1)).all()


def test_ties_certify_nothing():
    logits = jnp.array([[1.0, 1.0, 0.0]])
    radii = linear_radii(logits, jnp.array([0]), jnp.ones((3, 3)))
    assert binding_radius(radii, jnp.array([0])).radius[0] == 0


def test_identical_rows():
    """A margin that cannot change: infinite where it wins, 0 at a tie."""
    apart = jnp.zeros((3, 3))
    radii = linear_radii(jnp.array([[2.0, 2.0, 1.0]]), jnp.array([1]), apart)
    np.testing.assert_array_equal(radii, [[0, np.inf, np.inf]])
    radii = linear_radii(jnp.array([[2.0, 2.0, 1.0]]), jnp.array([2]), apart)
    np.testing.assert_array_equal(radii, [[-np.inf, -np.inf, np.inf]])


def test_wrong_labels_certify_nothing():
    logits = jnp.array([[3.0, 1.0], [3.0, 1.0]])
    y = jnp.array([0, 0])
    radii = linear_radii(logits, y, jnp.ones((2, 2)))
    found = binding_radius(radii, y, labels=jnp.array([0, 1]))
    np.testing.assert_array_equal(found.radius, [2, 0])
    np.testing.assert_array_equal(found.prediction, [0, 0])


def test_a_class_that_does_not_win_certifies_nothing():
    logits = jnp.array([[1.0, 2.0, 0.0]])
    radii = linear_radii(logits, jnp.array([0]), jnp.ones((3, 3)))
    assert radii[0, 1] == -1
    found = binding_radius(radii, jnp.array([0]))
    assert found.radius[0] == 0 and found.runner_up[0] == 1


def test_nan_logits_certify_nothing():
    logits = jnp.array([[jnp.nan, 1.0, 0.0]])
    for apart in (jnp.ones((3, 3)), jnp.zeros((3, 3))):
        radii = linear_radii(logits, jnp.array([0]), apart)
        assert not binding_radius(radii, jnp.array([0])).radius[0] > 0


def test_types():
    radii = jnp.ones((2, 3), jnp.float32)
    found = binding_radius(radii, jnp.array([0, 1]))
    assert found.prediction.dtype == found.runner_up.dtype == jnp.int32
    assert found.radius.dtype == jnp.float32


def test_margins():
    np.testing.assert_array_equal(
        jax.jit(margins)(jnp.array([[1.0, 4.0], [0.5, 0.25]]), jnp.array([1, 0])),
        [[3, 0], [0, 0.25]],
    )
