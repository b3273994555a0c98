"""An exported network is the frozen one, for any number of images and every layer."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from helpers.networks import LONG
from helpers.networks import small_model as small
from lipjax import freeze, portable


@pytest.fixture(autouse=True)
def strict():
    """As a user runs it: in float32."""


@pytest.mark.parametrize(
    "kind, settings",
    [
        ("curvature", {"pooling": "projection"}),
        pytest.param("orthogonal", {"conv": "bcop"}, marks=LONG),
        ("normalized", {"conv": "cayley"}),
        pytest.param("normalized", {"conv": "reflector"}, marks=LONG),
        pytest.param("projection", {}, marks=LONG),
    ],
)
def test_reloaded_it_gives_the_same(kind, settings):
    """Logits to the rounding of float32 in another order of sums."""
    model, variables = small(kind, **settings)
    frozen = freeze(model, variables, dense_entries=20_000)
    constants = frozen.certificate_constants()
    content = portable(frozen, constants=constants).serialize()
    program = export.deserialize(bytearray(content))
    assert program.platforms == ("cpu", "cuda", "tpu")
    for n in (1, 3):
        x = jax.random.uniform(jax.random.key(n), (n, 8, 8, 1))
        found: Any = jax.device_get(program.call(x))
        due = frozen.predict_with_radius(x, constants=constants)
        # logits are below 10, radii below 1: a few roundings of float32
        np.testing.assert_allclose(found["logits"], frozen(x), atol=1e-5)
        np.testing.assert_allclose(found["radius"], due.radius, atol=1e-5)
        assert (found["prediction"] == due.prediction).all()
        assert (found["runner_up"] == due.runner_up).all()
        np.testing.assert_allclose(
            found["logits"], jax.jit(model.apply)(variables, x), atol=1e-4
        )


def test_images_of_another_size_are_refused():
    frozen = freeze(*small(stages=1))
    program = portable(frozen, platforms=("cpu",))
    with pytest.raises(ValueError):
        program.call(jnp.ones((2, 8, 9, 1)))
