"""The audit says what is proven, in order, and which layers expand."""

import functools
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lipjax
from lipjax import ExpApproximation, LipConvNet, ops
from lipjax.inference import exact_layer
from lipjax.nn import (
    BlockConvolutionOrthogonal,
    Householder,
    MaxMin,
    SkewOrthogonalConv,
)

PUBLISHED = ExpApproximation(ops.taylor(5), ops.taylor(14))


@functools.cache
def audited(**settings):
    """An audit of a small network, and the network."""
    model = LipConvNet(
        (4, 4, 2), 3, stages=2, width=2, mean=(0.1, 0.2), std=(0.5, 0.25), **settings
    )
    x = jnp.zeros((1, *model.image_shape), jnp.float32)
    with jax.enable_x64(False):
        variables = jax.jit(model.init)(jax.random.key(0), x)
    return lipjax.audit(model, variables), lipjax.exact_network(model, variables)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"conv": "bcop"},
        {"conv": "cayley", "activation": "householder"},
        {"conv": "reflector", "pooling": "projection"},
        {"head": "orthogonal"},
        {"head": "curvature", "hidden": 5},
    ],
    ids=str,
)
def test_layers_in_order_and_their_constants(settings):
    found, network = audited(**settings)
    names = [one.name for one in found.layers]
    assert names[:4] == [
        *("initial.conv", "initial.activation"),
        *("stage1_layer1.conv", "stage1_layer1.activation"),
    ]
    assert len(names) == len(network.layers)
    assert len(set(names)) == len(names)
    product = np.prod([one.constant for one in found.layers]) / 0.25
    assert found.constant == pytest.approx(product, rel=1e-9)
    assert found.constant and found.constant >= product * (1 - 1e-12)
    assert "different numbers" in found.remarks[-1]
    assert json.loads(json.dumps(found.to_json()))["constant"] == found.constant
    skew = [one for one in found.layers if "skew" in one.kind]
    assert all(one.norm and one.training for one in skew)
    assert bool(skew) == ("conv" not in settings)


def test_no_layer_expands_more_than_is_said():
    """Differences of images, layer by layer."""
    found, network = audited(exp=PUBLISHED)
    random = np.random.default_rng(0)
    x, y = random.random((2, 50, 4, 4, 2))
    with jax.enable_x64(True):
        for one, layer in zip(found.layers, network.layers, strict=True):
            before = np.linalg.norm((x - y).reshape(50, -1), axis=1)
            x, y = np.asarray(layer(x)), np.asarray(layer(y))
            after = np.linalg.norm((x - y).reshape(50, -1), axis=1)
            assert (after <= one.constant * before * (1 + 1e-12)).all()
            assert x.shape[1:] == one.output


def test_published_polynomials_expand_and_the_default_does_not():
    found, _ = audited(exp=PUBLISHED)
    evaluation, training = found.remarks[:2]
    assert "may expand in training" in training and "by a factor of 1.0" in training
    assert "expand" in evaluation
    expanding = [one for one in found.layers if one.training and one.training > 1]
    assert f"{len(expanding)} layers" in training
    default, _ = audited()
    assert default.remarks[0].startswith("No layer expands in evaluation")


def test_the_table_rounds_up():
    found, _ = audited()
    text = str(found)
    assert text.splitlines()[0].split()[:3] == ["layer", "kind", "output"]
    first = found.layers[0]
    *_, norm, constant, training = text.splitlines()[1].split()
    assert first.constant <= float(constant) <= first.constant + 1.1e-9
    assert first.norm and first.norm <= float(norm)
    assert first.training and first.training <= float(training)
    assert "columns of norm 1.0000 to 1.0000 (estimate)" in text
    assert "parameters: float32" in text


class Others(nn.Module):
    """A model that is no LipConvNet, with a part that lipjax does not know."""

    @nn.compact
    def __call__(self, x):
        x = MaxMin(name="sorted")(SkewOrthogonalConv(4, strides=2, name="first")(x))
        x = BlockConvolutionOrthogonal(6, name="second")(x)
        x = nn.Dense(4, name="dense")(x.reshape(len(x), -1))
        return Householder(name="last")(x)


def test_any_module_is_audited():
    """Call by call, at the shapes that the layers meet."""
    model, x = Others(), jnp.zeros((1, 8, 6, 2), jnp.float32)
    with jax.enable_x64(False):
        variables = jax.jit(model.init)(jax.random.key(0), x)
    found = lipjax.audit(model, variables, (8, 6, 2))
    assert [(one.name, one.output) for one in found.layers] == [
        ("first", (4, 3, 4)),
        ("sorted", (4, 3, 4)),
        ("second", (4, 3, 6)),
        ("last", (1, 1, 4)),
    ]
    alone = exact_layer(
        SkewOrthogonalConv(4, strides=2),
        *(
            jax.tree.map(np.float64, variables[kind]["first"])
            for kind in ("params", "spectral")
        ),
        (8, 6, 2),
    )
    assert found.layers[0].constant == alone.bound((8, 6, 2))[0].lipschitz
    assert found.layers[0].training and found.constant is None
    assert "Nothing is proven of: dense (Dense)." in found.remarks
    text = str(found)
    assert "features:" not in text and "skew-orthogonal" in text and "dense" in text
    assert json.loads(json.dumps(found.to_json()))["constant"] is None
    with pytest.raises(ValueError, match="Others needs the shape"):
        lipjax.audit(model, variables)
