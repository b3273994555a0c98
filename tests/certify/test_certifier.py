"""Certified radii: never beaten, close to the truth, and refused where they must be."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.certification import extended_precision as extended
from helpers import golden
from helpers.heads import GOLDEN_HEADS, golden_head
from helpers.jaxprs import contractions, imprecise
from helpers.networks import TWO_KINDS, images, small_network
from helpers.skips import needs_extended
from lipjax.attacks import on_sphere, pgd
from lipjax.certify import Certifier, Linear, Network, certifier
from lipjax.certify.curvature import refine
from lipjax.certify.heads import head_bound
from lipjax.certify.images import execute
from lipjax.ops import curvature_logits


@pytest.mark.parametrize("kind", TWO_KINDS)
def test_no_attack_within_the_radius_succeeds(kind):
    network, x = small_network(kind), jnp.asarray(images(20))
    found = Certifier(network)(x)
    assert (found.radius > 0).mean() > 0.9
    labels = jnp.asarray(found.prediction)
    logits = jax.jit(network.logits)
    key, changed = jax.random.key(0), {}
    attack = jax.jit(
        lambda radius: pgd(logits, x, labels, radius, key, steps=10, box=False)
    )
    for factor in (0.999, 5.0):
        radius = jnp.asarray(factor * found.radius)
        points = [attack(radius), on_sphere(key, x, radius)]
        changed[factor] = [int((logits(p).argmax(1) != labels).sum()) for p in points]
    assert changed[0.999] == [0, 0]
    assert changed[5.0][0] > 5  # five times the radius is not safe


@pytest.mark.parametrize("kind", TWO_KINDS)
def test_slack_is_above_the_measured_rounding(kind):
    """Of a margin, at the image: the budget holds it twice, for x and x + delta."""
    needs_extended()
    network, x = small_network(kind), images(40)
    prove = Certifier(network)
    found = prove(x)
    run = execute(network, prove.head, jnp.asarray(x))
    _, exact = extended.execute(network, x)
    _, sequential = extended.execute(network, x, np.float64)
    rows = np.arange(len(x))
    y, t = found.prediction, found.runner_up
    for margins in (
        np.asarray(run.margins)[rows, t],
        sequential[rows, y] - sequential[rows, t],
    ):
        error = np.abs(margins - (exact[rows, y] - exact[rows, t])).astype(float)
        slopes = np.asarray(run.slopes)[rows, t] * prove.bound.lipschitz
        assert (2 * error / slopes <= found.slack[rows, t]).all()


def head_on_pixels(weights, features):
    """A network whose features are its pixels, stretched to the features' range."""
    low, high = features.min(), features.max()
    std = 1 / (high - low)
    shape = (1, 1, features.shape[1])
    mean = np.full(shape[2], -low * std)
    network = Network(shape, mean, np.full(shape[2], std), (), weights)
    x = np.clip(features * std + mean, 0, 1)
    return network, x.reshape(-1, *shape), std


@pytest.mark.parametrize("name", GOLDEN_HEADS)
def test_golden_heads_against_the_true_distance(name, shared):
    """Multi-start search for the nearest change finds none within any radius."""
    arrays = golden.load(shared(f"golden/{name}.npz"))
    weights, features, _ = golden_head(arrays)
    weights = jax.tree.map(np.asarray, weights)
    features = np.asarray(features, np.float64)
    network, x, std = head_on_pixels(weights, features)
    found = Certifier(network)(x)
    radius = found.radius / std
    nearest = nearest_change(weights, network.features(jnp.asarray(x)), found)
    sure = found.radius > 0
    assert sure.mean() > 0.9
    ratio = radius[sure] / nearest[sure]
    assert ratio.max() <= 1
    assert np.median(ratio) >= 0.97


def nearest_change(weights, features, found):
    """Upper bound on the distance to another prediction: the best of many searches.

    From several starts, alternate between a step to the linearised border of the pair
    and the pull back to the features; then bisect along the line to the border.
    """
    y = jnp.asarray(found.prediction)
    classes = weights.output_bias.shape[0]

    def margin(z, t):
        logits = curvature_logits(weights, z[None])[0]
        return lambda y: logits[y] - logits[t]

    def distance(z, y, t, start):
        def g(z):
            logits = curvature_logits(weights, z[None])[0]
            return logits[y] - logits[t]

        def step(_, delta):
            value, slope = jax.value_and_grad(g)(z + delta)
            # The nearest point to z on the border's linearisation at z + delta.
            along = jnp.vdot(slope, delta) - value
            aim = along * slope / jnp.maximum(jnp.vdot(slope, slope), 1e-30)
            return delta + 0.5 * (aim - delta)

        delta = jax.lax.fori_loop(0, 60, step, start)
        scales = jnp.linspace(1.0, 1.01, 41)
        broken = jax.vmap(lambda s: g(z + s * delta) <= 0)(scales)
        first = jnp.where(broken.any(), scales[jnp.argmax(broken)], jnp.inf)
        return first * jnp.linalg.norm(delta)

    starts = np.random.default_rng(0).standard_normal((4, features.shape[1])) * 0.3
    starts[0] = 0
    per_class = jax.vmap(distance, (None, None, 0, None))
    per_start = jax.vmap(per_class, (None, None, None, 0))
    per_image = jax.jit(jax.vmap(per_start, (0, 0, None, None)))
    found = per_image(features, y, jnp.arange(classes), jnp.asarray(starts))
    own = jnp.arange(classes)[None, None] == y[:, None, None]
    return np.asarray(jnp.where(own, jnp.inf, found).min((1, 2)))


@pytest.mark.parametrize("name", GOLDEN_HEADS[:2])
def test_dual_is_never_below_the_closed_form(name, shared, monkeypatch):
    arrays = golden.load(shared(f"golden/{name}.npz"))
    weights, features, _ = golden_head(arrays)
    weights = jax.tree.map(np.asarray, weights)
    network, x, _ = head_on_pixels(weights, np.asarray(features, np.float64))
    both = Certifier(network)(x)
    assert both.points
    monkeypatch.setattr(certifier, "_dual", lambda *_: iter(()))
    closed = Certifier(network)(x)
    assert (both.radius >= closed.radius).all()
    assert np.median(both.radius / closed.radius) > 1.03


def test_pruned_classes_do_not_bind():
    """The radius is that of proving every pair by the dual."""
    network, x = small_network("curvature"), images(20)
    prove = Certifier(network)
    found = prove(x)
    pairs = [(y, t) for y in range(5) for t in range(5) if y != t]
    again = prove(x, refine(prove.curvatures, network.head, pairs))
    np.testing.assert_allclose(again.radius, found.radius, rtol=1e-6)


def test_batches_do_not_matter():
    network, x = small_network(), images(6)
    prove = Certifier(network)
    whole, part = prove(x), prove(x[:2])
    np.testing.assert_allclose(whole.radii[:2], part.radii, rtol=1e-12)


def test_a_call_changes_nothing_but_returns_what_it_refined():
    network, x = small_network("curvature"), images(20)
    prove = Certifier(network)
    start = jax.tree.map(np.copy, prove.curvatures)
    first, second = prove(x), prove(x)
    jax.tree.map(np.testing.assert_array_equal, first, second)
    jax.tree.map(np.testing.assert_array_equal, start, prove.curvatures)
    assert not start.refined.any() and first.curvatures.refined.any()
    assert (first.curvatures.bounds <= start.bounds).all()
    assert (first.curvatures.bounds < start.bounds).any()


def test_curvatures_that_are_passed_on_are_not_refined_again(monkeypatch):
    network, x = small_network("curvature"), images(20)
    prove = Certifier(network)
    found = prove(x)
    monkeypatch.setattr(certifier, "refine", None)
    again = prove(x, found.curvatures)
    jax.tree.map(np.testing.assert_array_equal, again.curvatures, found.curvatures)
    assert (again.radius >= found.radius * (1 - 1e-12)).all()


def test_without_x64():
    """Callers need not switch jax to double precision."""
    network, x = small_network(), images(3)
    expected = Certifier(network)(x).radius
    with jax.enable_x64(False):
        np.testing.assert_array_equal(Certifier(network)(x).radius, expected)


@pytest.mark.parametrize("kind", TWO_KINDS)
def test_execution_is_plain_products(kind):
    network = small_network(kind)
    head = head_bound(network.head)
    jaxpr = jax.make_jaxpr(execute)(network, head, jnp.zeros((1, 8, 8, 1)))
    assert not imprecise(jaxpr)
    assert {e.primitive.name for e in contractions(jaxpr)} == {"dot_general"}


def test_bad_images():
    prove = Certifier(small_network())
    for x, message in [
        (np.full((1, 8, 8, 1), np.nan), "not numbers in"),
        (np.full((1, 8, 8, 1), 1.1), "not numbers in"),
        (np.full((1, 8, 8, 1), -0.1), "not numbers in"),
        (np.zeros((0, 8, 8, 1)), "n > 0"),
        (np.zeros((1, 8, 8, 3)), "n > 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            prove(x)


def test_a_tpu_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    with pytest.raises(ValueError, match="no IEEE float64"):
        Certifier(small_network())


def test_ties_certify_nothing():
    network = small_network()
    assert isinstance(network.head, Linear)
    kernel = network.head.kernel.copy()
    kernel[:, 1] = kernel[:, 0]
    bias = np.array([5.0, 5.0, 0, 0, 0])
    network = dataclasses.replace(network, head=Linear(kernel, bias))
    found = Certifier(network)(images(5))
    assert set(found.prediction) == {0}
    assert (found.radius == 0).all() and (found.runner_up == 1).all()
