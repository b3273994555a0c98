"""Shortcuts of other implementations, each on a network where it certifies too much.

Every test has a perturbation that is shorter than what the shortcut certifies and that
changes the prediction; lipjax's certificate lies below it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipjax import ops
from lipjax.certify import Activation, Certifier, Linear, Network, SkewConvolution
from lipjax.certify.dual import Items, Point, dual_radius
from lipjax.certify.images import execute
from lipjax.ops import CurvatureWeights


def pixels_to_logits(head, layers=(), std=None, size=None):
    """A network on images of one pixel with as many channels as the head has inputs."""
    size = size or len(head[0])
    std = np.ones(size) if std is None else np.asarray(std, np.float64)
    return Network((1, 1, size), np.zeros(size), std, tuple(layers), head)


def prediction(network, x):
    certifier = Certifier(network)
    image = jnp.asarray(x, jnp.float64).reshape(1, 1, 1, -1)
    return int(execute(network, certifier.head, image).prediction[0])


def assert_beaten(network, x, delta, shortcut, closeness=0.9):
    """`delta` is within the shortcut's radius and changes the prediction."""
    x, delta = np.asarray(x, np.float64), np.asarray(delta, np.float64)
    length = np.linalg.norm(delta)
    assert length < shortcut
    assert prediction(network, x) != prediction(network, x + delta)
    found = Certifier(network)(x.reshape(1, 1, 1, -1))
    assert found.radius[0] <= length
    assert found.radius[0] >= closeness * length  # and is not just small


def rotation(angles):
    """Skew matrices of blocks with the given angles, as a 1x1 kernel."""
    kernel = np.zeros((1, 1, 2 * len(angles), 2 * len(angles)))
    for i, angle in enumerate(angles):
        kernel[0, 0, 2 * i, 2 * i + 1] = angle
        kernel[0, 0, 2 * i + 1, 2 * i] = -angle
    return kernel


def test_only_the_nine_largest_other_logits():
    """Nine classes just behind that cannot catch up, and a tenth that can."""
    kernel = np.zeros((2, 11))
    kernel[0, 1:10] = 0.01  # hardly differ from class 0 in direction
    kernel[1, 10] = 2.0
    bias = np.array([1.0, *[0.9] * 9, 0.0])
    network = pixels_to_logits(Linear(kernel, bias))
    x = np.array([0.5, 0.1])
    logits = x @ kernel + bias
    gaps, distances = logits[0] - logits, np.linalg.norm(kernel[:, :1] - kernel, axis=0)
    nine = np.argsort(-logits)[1:10]
    assert 10 not in nine
    shortcut = (gaps[nine] / distances[nine]).min()
    assert_beaten(network, x, [0.0, 0.401], shortcut)


def test_a_layer_s_norm_by_power_iteration():
    """An unlucky start never sees the largest singular value."""
    kernel = rotation([0.1, 3.0])
    matrix = jnp.asarray(kernel[0])
    start = jnp.array([1.0, 0.0, 0.0, 0.0])
    vectors = ops.power_iteration(matrix, (start, start[None]), 50)
    estimate = float(ops.singular_value_estimate(matrix, vectors))
    assert estimate == pytest.approx(0.1)
    linear = (1.0, 1.0)  # 1 + J: expands by sqrt(1 + theta^2)
    layer = SkewConvolution(kernel, np.zeros(4), linear, 1)
    head = Linear(np.array([[0.0, 0], [0, 0], [0, 0], [1, -1]]), np.zeros(2))
    network = pixels_to_logits(head, [layer], size=4)
    x = np.array([0, 0, 0.5, 0])
    run = execute(network, Certifier(network).head, jnp.asarray(x).reshape(1, 1, 1, -1))
    gap = float(run.margins[0].max())
    shortcut = gap / 2 / ops.polynomial_gain(linear, estimate)
    along = np.array([0, 0, 3.0, 1.0]) * np.sign(
        -network.features(jnp.asarray(x).reshape(1, 1, 1, -1))[0, 3] / 3
    )
    delta = np.asarray(along) / np.linalg.norm(along) * 0.5 * 3 / 10**0.5 * 1.001
    assert_beaten(network, x, delta, shortcut)


def test_a_head_s_curvature_by_power_iteration():
    """The iteration starts, and stays, where the head hardly bends."""
    w1 = np.diag([0.3, 6.0])
    w2 = np.array([[0.05, 0.0], [0.0, 0.2]])  # class 1 grows along the second axis
    weights = CurvatureWeights(w1, np.array([0.0, -3.0]), w2, np.array([0.14, 0.0]))
    network = pixels_to_logits(weights)
    x = np.array([0.5, 0.1])
    scale = np.maximum(w2[:, 1] - w2[:, 0], 0)
    start = jnp.array([1.0, 0.0])
    estimate = float(
        ops.curvature_estimates(jnp.asarray(w1), jnp.asarray(scale[None]), start, 50)[0]
    )
    certifier = Certifier(network)
    image = jnp.asarray(x).reshape(1, 1, 1, -1)
    run = execute(network, certifier.head, image)
    assert int(run.prediction[0]) == 0
    gap, slope = float(run.margins[0, 1]), float(run.slopes[0, 1])
    shortcut = 2 * gap / (slope + np.sqrt(slope**2 + 2 * estimate * gap))
    steps = np.linspace(0, shortcut, 2001)[1:-1]
    flips = [s for s in steps if prediction(network, x + [0, s]) == 1]
    assert flips
    found = certifier(x.reshape(1, 1, 1, -1))
    assert found.radius[0] <= flips[0]
    assert found.radius[0] >= 0.85 * flips[0]


def test_an_uncorrected_dual():
    """Evaluated away from the minimiser, the dual's value is no bound at all."""
    rng = np.random.default_rng(0)
    weights = CurvatureWeights(
        *map(jnp.asarray, (rng.normal(size=(3, 8)), rng.normal(size=8))),
        *map(jnp.asarray, (rng.normal(size=(8, 2)), np.zeros(2))),
    )
    z = jnp.asarray(rng.normal(size=(1, 3)))
    logits = ops.curvature_logits(weights, z)[0]
    y, t = int(jnp.argmax(logits)), int(jnp.argmin(logits))
    network = pixels_to_logits(jax.tree.map(np.asarray, weights))
    m = float(Certifier(network).curvatures.bounds[y, t])
    items = Items(z, *(jnp.array([v]) for v in (y, t, m, m)))
    point = Point(jnp.array([0.5 / m]), jnp.asarray(10 * rng.normal(size=(1, 3))))
    g = ops.curvature_logits(weights, z + point.delta)[0]
    value = jnp.sum(point.delta**2) + 2 * point.eta[0] * (g[y] - g[t])
    shortcut = float(jnp.sqrt(value))
    directions = rng.normal(size=(4000, 3))
    directions *= shortcut * 0.99 / np.linalg.norm(directions, axis=1, keepdims=True)
    moved = ops.curvature_logits(weights, z + directions)
    assert (jnp.argmax(moved, axis=1) != y).any()
    zero = jnp.zeros(1)
    assert dual_radius(weights, items, point, zero, zero)[0] == 0


def test_the_largest_std():
    head = Linear(np.array([[1.0, -1.0], [0, 0]]), np.zeros(2))
    network = pixels_to_logits(head, std=[0.1, 1.0])
    x = np.array([0.3, 0.5])
    shortcut = 6.0 / 2 / (1 / 1.0)
    assert_beaten(network, x, [-0.3001, 0], shortcut)


def test_a_tie():
    """Counted as right at radius 0, it is lost to the smallest change."""
    head = Linear(np.array([[1.0, 0.0], [0.0, 1.0]]), np.zeros(2))
    network = pixels_to_logits(head)
    x = np.array([0.5, 0.5])
    assert prediction(network, x) == 0
    assert prediction(network, x + [0, 2.0**-52]) == 1
    assert Certifier(network)(x.reshape(1, 1, 1, -1)).radius[0] == 0


def test_an_expansive_degree_over_forty_layers():
    """Taylor 5 stretches by 0.4% a layer where theta is 1.6; forty layers by 18%."""
    theta = 1.6
    layers = [SkewConvolution(rotation([theta]), np.zeros(2), ops.taylor(5), 1)] * 40
    eye = Linear(np.array([[1.0, -1.0], [0.0, 0.0]]), np.zeros(2))
    network = pixels_to_logits(eye, layers, size=2)
    gain = abs(np.polyval(ops.taylor(5)[::-1], 1j * theta)) ** 40
    assert gain > 1.18
    # The image whose features lie along the first axis, and the way back to zero.
    matrix = np.asarray(network.features(jnp.eye(2).reshape(2, 1, 1, 2))).T
    axis = np.linalg.solve(matrix, [1.0, 0.0])
    x = 0.5 + 0.1 * axis / np.linalg.norm(axis)
    feature = float((matrix @ x)[0])
    shortcut = abs(feature)  # of a network taken to be 1-Lipschitz
    way = -np.sign(feature) * axis / np.linalg.norm(axis)
    delta = way * abs(feature) / gain * 1.0001
    assert_beaten(network, x, delta, shortcut, closeness=0.999)


def test_the_same_layers_without_expansion():
    """The default polynomial proves a constant of 1 for all forty."""
    layers = [
        SkewConvolution(rotation([1.6]), np.zeros(2), ops.chebyshev(8, 2.2), 1),
        Activation("maxmin"),
    ] * 40
    head = Linear(np.eye(2), np.zeros(2))
    bound = Certifier(pixels_to_logits(head, layers)).bound
    assert bound.lipschitz <= 1 + 1e-11
