"""A frozen network as a program that needs neither lipjax nor flax."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import export

from lipjax.inference.frozen import FrozenNetwork
from lipjax.inference.predict import Constants

PLATFORMS = ("cpu", "cuda", "tpu")


def portable(
    frozen: FrozenNetwork,
    *,
    constants: Constants | None = None,
    platforms: Sequence[str] = PLATFORMS,
) -> export.Exported:
    """Logits, predictions and radii of any number of images, as StableHLO.

    The weights are constants of the program. `serialize()` of it gives bytes (which
    needs the package flatbuffers), `jax.export.deserialize` reads them, and `.call(x)`
    runs them, with jax alone.

    Args:
      frozen: from `lipjax.freeze`.
      constants: from `frozen.certificate_constants`; None: computed here.
      platforms: for which it is compiled when it is called.

    Returns:
      A program of images x [n, h, w, c] in [0, 1], of the weights' precision. It gives
      a dictionary: "logits" [n, C], "prediction" [n], "runner_up" [n], "radius" [n],
      l2, in pixels of [0, 1].

    Guarantee: as `FrozenNetwork.predict_with_radius`: the radius is proven for the
    frozen network in exact arithmetic; the rounding of this program is not counted.

    Example:
      >>> from lipjax import LipConvNet, freeze
      >>> model = LipConvNet((4, 4, 1), 3, stages=1, width=4, mean=(0.0,), std=(0.5,))
      >>> variables = jax.jit(model.init)(jax.random.key(0), jnp.ones((1, 4, 4, 1)))
      >>> program = portable(freeze(model, variables))
      >>> {name: v.shape for name, v in program.call(jnp.ones((2, 4, 4, 1))).items()}
      {'logits': (2, 3), 'prediction': (2,), 'radius': (2,), 'runner_up': (2,)}
    """
    network = frozen.network
    if constants is None:
        constants = frozen.certificate_constants()

    @jax.jit
    def classify(x: jax.Array) -> dict[str, jax.Array]:
        found = frozen.predict_with_radius(x, constants=constants)
        return {"logits": frozen(x), **found._asdict()}

    (n,) = export.symbolic_shape("n")
    dtype = jnp.result_type(network.mean)
    images = jax.ShapeDtypeStruct((n, *network.image_shape), dtype)
    return export.export(classify, platforms=tuple(platforms))(images)
