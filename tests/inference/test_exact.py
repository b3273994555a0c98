"""A user's own activation and head: from init to proven radii."""

import dataclasses

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.dense import normal
from helpers.networks import images
from helpers.registry import drawn
from lipjax import LipConvNet, exact_network, freeze, ops, predict_with_radius
from lipjax.certify import Certifier, Linear
from lipjax.certify.layers import LayerBound
from lipjax.inference import exact_head, exact_layer
from lipjax.nn import SPECTRAL, Householder, LinearHead


class Shifted(linen.Module):
    """abs(x - shift), with a learned shift for each channel."""

    @linen.compact
    def __call__(self, x):
        init = linen.initializers.normal(0.1)
        shift = self.param("shift", init, (x.shape[-1],), x.dtype)
        return abs(x - jnp.expand_dims(shift, tuple(range(x.ndim - 1))))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ShiftedLayer:
    shift: np.ndarray

    def __call__(self, x):
        return abs(x - self.shift.reshape((1,) * (x.ndim - 1) + (-1,)))

    def bound(self, shape):
        height, width, _ = shape
        offset = 1.01 * (height * width) ** 0.5 * float(np.linalg.norm(self.shift))
        unit = 2.0**-52
        return LayerBound(1.0, offset, unit, unit * offset, inside=1.0), shape


class Margins(LinearHead):
    """Logits by a free matrix."""

    num_classes: int = 5

    @linen.compact
    def __call__(self, features, train=False, update_stats=False):
        shape = (features.shape[-1], self.num_classes)
        kernel = self.param("kernel", linen.initializers.normal(), shape)
        return ops.contract("nd,dc->nc", features, kernel)

    def pair_constants(self):
        kernel = self.get_variable("params", "kernel")
        return jnp.linalg.norm(kernel[:, :, None] - kernel[:, None, :], axis=0)


@exact_layer.register
def _(module: Shifted, params, spectral, shape):
    return ShiftedLayer(params["shift"])


@exact_head.register
def _(module: Margins, params, spectral):
    return (), Linear(params["kernel"], np.zeros(module.num_classes))


class Nested(linen.Module):
    """An activation made of another one."""

    inner: linen.Module

    @linen.compact
    def __call__(self, x):
        return self.inner(x)


class Unknown(linen.Module):
    def __call__(self, x, train=False, update_stats=False):
        return x


def model_of(**settings):
    settings = dict(num_classes=5, stages=2, width=4) | settings
    return LipConvNet((8, 8, 1), mean=(0.3,), std=(0.4,), **settings)


@pytest.fixture(scope="module")
def case():
    model = model_of(activation=Shifted(), head=Margins(), use_bias=False)
    return model, drawn(model, jnp.zeros((1, 8, 8, 1), jnp.float32))


@pytest.fixture(autouse=True)
def strict():
    """Single precision, as users run it."""


def test_training(case):
    model, variables = case
    x, labels = images(2).astype(np.float32), jnp.array([0, 1])

    @jax.jit
    def step(variables):
        def loss(params):
            (logits, penalty), new = model.apply(
                {**variables, "params": params},
                x,
                labels,
                update_stats=True,
                method="logits_and_penalty",
                mutable=[SPECTRAL],
            )
            return logits.std() + penalty, new

        return jax.grad(loss, has_aux=True)(variables["params"])

    gradient, new = step(variables)
    assert all(np.any(g) for g in jax.tree.leaves(gradient))
    assert jax.tree.structure(new[SPECTRAL]) == jax.tree.structure(variables[SPECTRAL])


def test_every_block_has_its_own_parameters():
    """Those of a nested module as well."""
    model = model_of(activation=Nested(Householder()), layers_per_stage=2)
    params = drawn(model, jnp.zeros((1, 8, 8, 1)))["params"]
    thetas = [
        params[name]["activation"]["inner"]["theta"].shape
        for name in ("initial", "stage1_layer1", "stage2_layer1")
    ]
    assert thetas == [(2,), (2,), (16,)]


def test_certificates(case):
    model, variables = case
    x = images(3)
    single = x.astype(np.float32)
    quick = predict_with_radius(model, variables, single)
    network = exact_network(model, variables)
    logits = jax.jit(model.apply)(variables, single)
    with jax.enable_x64(True):
        exact = np.asarray(network.logits(jnp.asarray(x)))
    np.testing.assert_allclose(logits, exact, atol=1e-5)
    certificates = Certifier(network)(x)
    np.testing.assert_array_equal(certificates.prediction, quick.prediction)
    np.testing.assert_allclose(certificates.radius, quick.radius, rtol=1e-3, atol=1e-5)
    frozen = freeze(model, variables)
    np.testing.assert_allclose(frozen(single), logits, atol=1e-5)
    np.testing.assert_allclose(
        frozen.predict_with_radius(single).radius, quick.radius, rtol=1e-3, atol=1e-5
    )


def test_the_layer_is_as_proven():
    """The execution is 1-Lipschitz, and the norm is below its bound."""
    layer = ShiftedLayer(normal(0, 4))
    (bound, shape), x = layer.bound((3, 2, 4)), normal(1, 2, 3, 2, 4)
    y = layer(x)
    assert shape == y.shape[1:]
    assert np.linalg.norm(y[0] - y[1]) <= np.linalg.norm(x[0] - x[1])
    assert np.linalg.norm(y[0]) <= np.linalg.norm(x[0]) + bound.offset


@pytest.mark.parametrize("field", ["activation", "pooling", "head"])
def test_an_unregistered_module_is_named(field):
    model = model_of(**{field: Unknown()}, num_classes=64)
    variables = drawn(model, jnp.zeros((1, 8, 8, 1)))
    function = "exact_head" if field == "head" else "exact_layer"
    with pytest.raises(ValueError, match=rf"Unknown.*{function}\.register"):
        exact_network(model, variables)
