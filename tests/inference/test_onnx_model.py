"""An ONNX model gives, in a runtime of others, what the frozen network gives."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest

from helpers.networks import LONG
from helpers.networks import small_model as small
from lipjax import FrozenNetwork, certify, freeze, to_onnx
from lipjax.certify.layers import LayerBound


@pytest.fixture(autouse=True)
def strict():
    """As a user runs it: in float32."""


def executed(model, x: jax.Array) -> dict[str, np.ndarray]:
    """What onnxruntime makes of images."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    values: Any = session.run(names, {"images": np.asarray(x)})
    return dict(zip(names, values, strict=True))


@pytest.mark.parametrize(
    "kind, settings",
    [
        ("normalized", {"activation": "householder"}),
        ("curvature", {"pooling": "projection"}),
        ("normalized", {"conv": "cayley"}),
        pytest.param("orthogonal", {"conv": "bcop"}, marks=LONG),
        pytest.param("projection", {"conv": "reflector"}, marks=LONG),
    ],
)
@pytest.mark.parametrize("entries", [0, 20_000], ids=["convolutions", "matrices"])
def test_onnxruntime_gives_what_the_network_gives(kind, settings, entries):
    """Logits to the rounding of float32 in another order of sums."""
    frozen = freeze(*small(kind, **settings), dense_entries=entries)
    constants = frozen.certificate_constants()
    model = to_onnx(frozen, constants=constants)
    for n in (1, 3):
        x = jax.random.uniform(jax.random.key(n), (n, 8, 8, 1))
        found = executed(model, x)
        due = frozen.predict_with_radius(x, constants=constants)
        # logits are below 10, radii below 1: a few roundings of float32
        np.testing.assert_allclose(found["logits"], frozen(x), atol=1e-5)
        np.testing.assert_allclose(found["radius"], due.radius, atol=1e-5)
        np.testing.assert_array_equal(found["prediction"], due.prediction)
        np.testing.assert_array_equal(found["runner_up"], due.runner_up)


@pytest.mark.parametrize("kind", ["maxmin", "householder", "householder2", "max"])
def test_activations_agree_in_every_sector(kind):
    """On whole turns of angles, at the axes, the origin, and where a sector ends."""
    angles = {"householder": 1, "householder2": 3}.get(kind, 0)
    draw = np.random.default_rng(0)
    theta = draw.uniform(-1, 7, (angles, 32))
    turn = np.concatenate([np.arange(0, 360, 15), draw.uniform(0, 360, 200)])
    a, b = (np.round(f(np.deg2rad(turn)), 6) for f in (np.cos, np.sin))
    pairs = np.concatenate([np.stack([a, b], -1), np.zeros((1, 2))])
    x = np.repeat(pairs[:, None], 32, 1).swapaxes(1, 2).reshape(-1, 1, 1, 64)
    layer = certify.Activation(kind, tuple(theta))
    width = 32 if kind == "max" else 64
    network = certify.Network(
        image_shape=(1, 1, 64),
        mean=np.zeros(64),
        std=np.ones(64),
        layers=(layer,),
        head=certify.Linear(np.eye(width), np.zeros(width)),
    )
    frozen = FrozenNetwork(jax.tree.map(jnp.float32, network))
    found = executed(to_onnx(frozen), jnp.float32(x))
    # the maps agree where sectors end, so that a rounded angle moves little
    np.testing.assert_allclose(found["logits"], frozen(jnp.float32(x)), atol=1e-5)


def test_ties_certify_nothing_and_equal_columns_everything():
    """As `lipjax.ops.linear_radii`: 0 at a tie, infinity where nothing can change."""
    kernel = jnp.float32([[1, 1, 1], [0, 0, 0]])
    frozen = FrozenNetwork(
        certify.Network(
            (1, 1, 2),
            jnp.zeros(2),
            jnp.ones(2),
            (),
            certify.Linear(kernel, jnp.float32([0, 0, -1])),
        )
    )
    x = jnp.ones((2, 1, 1, 2))
    assert executed(to_onnx(frozen), x)["radius"].tolist() == [0, 0]
    apart = certify.Linear(kernel, jnp.float32([1, 0, 0]))
    other = FrozenNetwork(dataclasses.replace(frozen.network, head=apart))
    assert np.isinf(executed(to_onnx(other), x)["radius"]).all()


def test_what_has_no_translation_is_refused():
    frozen = freeze(*small(stages=1))
    doubled = FrozenNetwork(frozen.exact())
    with pytest.raises(ValueError, match="float32, not .*float64"):
        to_onnx(doubled)

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class Mirrored:
        def __call__(self, x):
            return x[..., ::-1]

        def bound(self, shape):
            return LayerBound(1.0, 0.0, 0.0, 0.0, 1.0), shape

    layers = (Mirrored(), *frozen.network.layers)
    strange = FrozenNetwork(dataclasses.replace(frozen.network, layers=layers))
    with pytest.raises(ValueError, match="Mirrored has no translation"):
        to_onnx(strange, constants=frozen.certificate_constants())
