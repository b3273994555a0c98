"""The exact network is the model's, and what is proven of it holds in execution."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.certification import extended_precision as extended
from helpers.dense import normal
from helpers.networks import TWO_KINDS, images, small_model, small_network
from helpers.skips import needs_extended
from lipjax import LipConvNet, exact_network, lipschitz_bound, ops
from lipjax.certify import Activation, Linear, Network, SkewConvolution, network_bound
from lipjax.certify.heads import head_bound
from lipjax.certify.images import execute


def in_double(model, variables):
    model = model.clone(param_dtype=jnp.float64)
    return model, jax.tree.map(lambda v: jnp.asarray(v, jnp.float64), variables)


@pytest.mark.parametrize("kind", TWO_KINDS)
def test_exact_network_is_the_model(kind):
    model, variables = small_model(kind)
    network = exact_network(model, variables)
    x = images(5)
    double, variables = in_double(model, variables)
    expected = jax.jit(double.apply)(variables, x)
    np.testing.assert_allclose(jax.jit(network.logits)(x), expected, atol=1e-12)


def test_orthogonal_head_on_several_pixels():
    model = LipConvNet(
        (8, 8, 1), 5, stages=1, width=2, head="orthogonal", mean=(0.3,), std=(0.4,)
    )
    variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1), jnp.float32))
    network = exact_network(model, variables)
    double, variables = in_double(model, variables)
    x = images(3)
    expected = jax.jit(double.apply)(variables, x)
    np.testing.assert_allclose(jax.jit(network.logits)(x), expected, atol=1e-12)


@pytest.mark.parametrize("kind", TWO_KINDS)
def test_constant_bounds_difference_quotients_and_jacobians(kind):
    network = small_network(kind, width=2)
    bound = network_bound(network)
    features = jax.jit(lambda x: network.features(x[None])[0])
    jacobian = jax.jit(jax.jacrev(features))
    for x in images(3):
        dense = jacobian(x).reshape(-1, x.size)
        assert np.linalg.norm(dense, 2) <= bound.lipschitz
    assert bound.lipschitz >= bound.scale * 0.99


@pytest.mark.parametrize("kind", TWO_KINDS)
def test_norm_and_error_bounds(kind):
    needs_extended()
    network = small_network(kind)
    bound, x = network_bound(network), images(40)
    run = execute(network, head_bound(network.head), jnp.asarray(x))
    exact, logits = extended.execute(network, x)
    sequential, logits_in_sequence = extended.execute(network, x, np.float64)
    for features in (np.asarray(run.features), sequential):
        norms = np.linalg.norm(features, axis=1)
        assert (norms <= bound.norm(np.asarray(run.norm))).all()
        errors = np.linalg.norm((features - exact).astype(float), axis=1)
        assert (errors <= bound.error(np.asarray(run.norm))).all()


def uniform_network(size, depth):
    """Layers of equal weights: rounding errors of a sum all go the same way."""
    layers = []
    for n in range(depth):
        half = np.full((size // 2, size // 2), 2 / size) * (1 + 2.0**-30 * (1 + n))
        kernel = np.zeros((1, 1, size, size))
        kernel[0, 0, : size // 2, size // 2 :] = half
        kernel[0, 0, size // 2 :, : size // 2] = -half.T
        layers.append(SkewConvolution(kernel, np.zeros(size), ops.chebyshev(8, 2.2), 1))
        layers.append(Activation("maxmin"))
    head = Linear(np.eye(size, 2), np.zeros(2))
    return Network((1, 1, size), np.zeros(size), np.ones(size), tuple(layers), head)


@pytest.mark.parametrize("size, depth", [(64, 1), (64, 8), (256, 4)])
def test_rounding_bound_is_at_most_a_thousand_times_adversarial_errors(size, depth):
    """Summed in sequence, which the theorem allows."""
    needs_extended()
    network, ratios = uniform_network(size, depth), []
    bound = network_bound(network)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = 0.7 + rng.uniform(size=(1, 1, 1, size)) * 10.0 ** rng.integers(-12, -1)
        x[..., : size // 2] *= rng.uniform() if seed % 2 else 1
        exact, _ = extended.execute(network, x)
        run, _ = extended.execute(network, x, np.float64)
        error = np.linalg.norm((run - exact).astype(float))
        ratios.append(error / bound.error(np.linalg.norm(x)))
    assert 1e-3 <= max(ratios) <= 1


@pytest.mark.long
def test_forty_layers_do_not_expand():
    model = LipConvNet(
        (32, 32, 3), 10, stages=5, layers_per_stage=8, width=2, std=(1.0, 1.0, 1.0)
    )
    # not jitted: layers of one shape share what is compiled
    variables = model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3), jnp.float32))
    network = exact_network(model, variables)
    bound = network_bound(network)
    convolutions = [b for b in bound.layers if b.norm is not None]
    assert len(convolutions) == 41
    assert math.prod(b.lipschitz for b in convolutions) <= 1
    assert bound.lipschitz <= 1 + 1e-11
    assert max(b.norm for b in convolutions) > 1.5


def test_lipschitz_bound_of_a_model():
    model, variables = small_model()
    network = exact_network(model, variables)
    assert lipschitz_bound(model, variables) == network_bound(network).lipschitz


def test_single_precision_is_refused():
    network = small_network()
    head = Linear(*(np.float32(w) for w in network.head))
    with pytest.raises(ValueError, match="head.kernel must be float64"):
        network_bound(dataclasses.replace(network, head=head))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite(bad):
    network = small_network()
    assert isinstance(network.head, Linear)
    bias = network.head.bias.copy()
    bias[2] = bad
    head = network.head._replace(bias=bias)
    with pytest.raises(ValueError, match="head.bias .* not finite"):
        network_bound(dataclasses.replace(network, head=head))


def test_weights_that_may_overflow():
    network = small_network()
    first = network.layers[0]
    assert isinstance(first, SkewConvolution)
    layers = (
        dataclasses.replace(first, bias=first.bias + 2.0**299),
        *network.layers[1:],
    )
    with pytest.raises(ValueError, match="may overflow"):
        network_bound(dataclasses.replace(network, layers=layers))


def test_std_must_be_positive():
    network = dataclasses.replace(small_network(), std=np.array([0.0]))
    with pytest.raises(ValueError, match="std must be positive"):
        network_bound(network)


def test_perturbed_kernels_are_refused():
    network = small_network()
    first = network.layers[0]
    assert isinstance(first, SkewConvolution)
    kernel = first.kernel + 1e-9 * normal(0, *first.kernel.shape)
    layers = (dataclasses.replace(first, kernel=kernel), *network.layers[1:])
    with pytest.raises(ValueError, match="not skew"):
        network_bound(dataclasses.replace(network, layers=layers))
