"""Networks with the published weights, and with those of lipjax's models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from experiments.baseline import LipConvNet, evaluate, from_lipjax
from helpers.baseline import loaded, relative_error, tensors
from helpers.networks import small_model
from helpers.registry import PUBLISHED

NETWORKS = {
    "crc_full_lip1_hh2_5": ("householder2", "projection", "curvature", 1),
    "crc_full_max_maxmin_10": ("maxmin", "max", "curvature", 2),
    "lln_lip1_hh1_10": ("householder", "projection", "normalized", 2),
    "ortho_max_maxmin_5": ("maxmin", "max", "orthogonal", 1),
}
# Float32 (u = 6e-8) published numbers, through at most 11 layers of 15 convolutions of
# up to 100 terms: errors add up like a random walk, sqrt(11 * 15 * 100) u = 8e-6.
TOLERANCE = 1e-5


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_published_networks(shared, name):
    arrays = tensors(shared(f"golden/lipconvnet_{name}.npz"))
    activation, pooling, head, depth = NETWORKS[name]
    network = LipConvNet(
        width=4,
        layers_per_stage=depth,
        activation=activation,
        pooling=pooling,
        head=head,
        hidden=len(arrays.get("param/logits_layer.linear1.bias", [0])),
    )
    loaded(network, arrays)
    features = network.features(arrays["x"])
    assert relative_error(features, arrays["features"][:, :, 0, 0]) <= TOLERANCE
    assert relative_error(network(arrays["x"]), arrays["logits"]) <= TOLERANCE
    if head == "curvature":
        return
    classes, radii = evaluate(network, arrays["x"], arrays["labels"], 3)
    labels = arrays["labels"]
    due = arrays["certificates_sorted"][:, 0] * arrays["lip_const_reference"]
    due = torch.where(classes == labels, due, 0) * network.get_buffer("scale").min()
    assert torch.equal(classes, arrays["logits"].argmax(dim=1))
    np.testing.assert_allclose(radii, due, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["normalized", "curvature"])
def test_the_weights_of_lipjax_are_the_same_bits(kind):
    model, variables = small_model(kind, exp=PUBLISHED)
    network = from_lipjax(model, variables)
    found = _numbers(network.state_dict().values())
    due = _numbers(jax.tree.leaves(variables))
    constants = _numbers([network.shift, network.scale])
    assert due <= found <= due | constants
    assert all(t.dtype == torch.float32 for t in network.state_dict().values())


def _numbers(arrays):
    """The bits of every array's numbers in ascending order: the layouts differ."""
    return {np.sort(np.ravel(array)).tobytes() for array in arrays}


def test_an_image_of_many_pixels_under_the_head():
    """Features of 2x2 pixels are flattened as lipjax does, channels last."""
    with jax.enable_x64(True):
        model, variables = small_model(
            "normalized", stages=2, param_dtype=jnp.float64, exp=PUBLISHED
        )
        x = np.random.default_rng(0).uniform(size=(3, 8, 8, 1))
        due = jax.jit(model.apply)(variables, x)
        network = from_lipjax(model, variables).eval()
    found = network(torch.from_numpy(x).permute(0, 3, 1, 2))
    assert network.scale.dtype == torch.float64
    np.testing.assert_allclose(found.detach(), due, rtol=1e-12, atol=1e-12)
