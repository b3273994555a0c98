"""A trained network for inference, with all work on its weights done once."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lipjax import certify, ops
from lipjax.certify import Convolution, Dense, Linear, Network, SkewConvolution
from lipjax.certify.layers import Layer, Shape
from lipjax.inference.exact import exact_network, output_shape
from lipjax.inference.predict import Constants
from lipjax.models import LipConvNet
from lipjax.nn import OrthogonalHead
from lipjax.ops import Radii
from lipjax.ops.circular import apply_symbols, symbols_of_kernel

DENSE_ENTRIES = 2**26
"""Entries of the largest dense matrix: 256 MiB in float32, 4x4 pixels of 512 channels.
The proof of its norm, in float64, takes ten times that."""

_SAVING = 3
"""A dense matrix pays if the convolutions take this many times its multiplications.
Winograd's algorithm, in `ops.same_convolution`, saves up to 64 of 100."""

_IMAGES = 512  # unit images per call, when a matrix is assembled


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["network"], meta_fields=[]
)
@dataclasses.dataclass(frozen=True)
class FrozenNetwork:
    """A network in evaluation, as numbers of one precision: see `freeze`.

    `frozen(x)` gives the logits [n, C] of images [n, h, w, c] in [0, 1]. A frozen
    network is a pytree: pass it to compiled functions as an argument, so that it is no
    constant in them.

    Attributes:
      network: layers and head; its skew convolutions are already scaled.

    Methods: `features`, `classify`, `predict` and `pair_constants`, as of
    `LipConvNet`, without variables; `exact`, `certificate_constants` and
    `predict_with_radius` for certificates.
    """

    network: Network

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.classify(self.features(x))

    def features(self, x: jax.Array) -> jax.Array:
        """The head's input, of images in [0, 1]: [n, h, w, c] -> [n, D]."""
        due = self.network.image_shape
        if x.shape[1:] != due:
            raise ValueError(f"images {x.shape[1:]} where {due} are due")
        z = self.network.normalize(x)
        for layer in self.network.layers:
            z = _apply(layer, z)
        return z.reshape(z.shape[0], -1)

    def classify(self, features: jax.Array) -> jax.Array:
        """The head's logits [n, C] of features [n, D]."""
        return self.network.classify(features)

    def predict(self, x: jax.Array, constants: jax.Array):
        """Predicted classes [n], and their signed radii in feature space [n, C]."""
        features, head = self.features(x), self.network.head
        logits = self.classify(features)
        classes = jnp.argmax(logits, axis=1)
        if isinstance(head, Linear):
            return classes, ops.linear_radii(logits, classes, constants)
        return classes, ops.curvature_radii(head, features, classes, constants)

    def pair_constants(self) -> jax.Array:
        """The head's constants of each pair of classes, [C, C]."""
        head = self.network.head
        if not isinstance(head, Linear):
            return ops.pair_curvatures(head)
        apart = head.kernel[:, :, None] - head.kernel[:, None, :]
        return jnp.linalg.norm(apart, axis=0)

    def predict_with_radius(
        self,
        x: jax.Array,
        *,
        labels: jax.Array | None = None,
        constants: Constants | None = None,
    ) -> Radii:
        """Predictions, radii and runner-ups: see `lipjax.predict_with_radius`.

        Args:
          x: images in [0, 1], of shape [n, height, width, channels].
          labels: of shape [n]; with them, a wrong prediction has radius 0.
          constants: from `certificate_constants`; None: computed here, which
            `jax.jit` cannot do.

        Guarantee: as there, in exact arithmetic only: rounding is not counted.
        """
        if constants is None:
            constants = self.certificate_constants()
        prediction, in_features = self.predict(x, constants.pairs)
        in_pixels = in_features / constants.lipschitz
        return ops.binding_radius(in_pixels, prediction, labels)

    def certificate_constants(self) -> Constants:
        """The constants in the certificates of all images; compute them once.

        This takes a minute and 5 GiB on 2 cores for LipConvNet-5 of width 32.

        Guarantee: `lipschitz` is a bound for the features of `exact`.
        """
        lipschitz = certify.network_bound(self.exact()).lipschitz
        return Constants(lipschitz, jax.jit(FrozenNetwork.pair_constants)(self))

    def exact(self) -> Network:
        """The exact function of the frozen numbers, which proofs are about.

        Float32 numbers are converted to float64 without rounding. The function differs
        from `lipjax.exact_network`'s, whose weights are not rounded to float32. What
        `lipjax.certify.network_bound` or `Certifier` prove of it covers executions in
        float64, not in float32.
        """
        return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), self.network)


def freeze(
    model: LipConvNet, variables: Any, *, dense_entries: int = DENSE_ENTRIES
) -> FrozenNetwork:
    r"""Does all work on the weights alone once, for inference.

    - Skew kernels are divided by sigma. They stay skew in every bit.
    - A convolution of few pixels with many channels becomes one matrix. It holds p(J)
      and the space-to-depth before it, without padded and dropped channels: d
      convolutions become one product. This pays at 1x1 and 2x2 pixels, and at 4x4 for
      degrees of 8 and more.
    - The head's directions are normalised; an orthogonal head becomes a matrix.

    Everything is computed in float64 and rounded once, to the precision of the
    variables. A matrix of m rows is the layer's output for m unit images, in blocks of
    512. It costs that layer's evaluation on 2 m to 3 m images. For LipConvNet-5 of
    width 32 (m = 8192, 4096, 2048) that takes a minute and 2 GiB on 2 cores, and pays
    after 50 000 images; without the first matrix (`dense_entries` = 2^24), after
    5 000.

    Args:
      model: the network; `model.dtype` plays no part.
      variables: {"params": ..., "spectral": ...}.
      dense_entries: entries of the largest matrix, 0 for none in the trunk.

    Returns:
      A `FrozenNetwork` with the model's logits, up to rounding.

    Raises:
      ValueError: if `dense_entries` is negative, or as `lipjax.exact_network`.

    Guarantee: none by itself. `FrozenNetwork.certificate_constants` proves the
    constants of the frozen numbers.

    Example:
      >>> model = LipConvNet((4, 4, 1), 3, stages=1, width=4, mean=(0.0,), std=(0.5,))
      >>> x = jnp.ones((1, 4, 4, 1))
      >>> variables = jax.jit(model.init)(jax.random.key(0), x)
      >>> frozen = freeze(model, variables)
      >>> frozen.network.layers[0].matrix.shape  # 4 x 4 x 1 numbers to 4 x 4 x 4
      (16, 64)
      >>> bool(jnp.allclose(frozen(x), model.apply(variables, x), atol=1e-5))
      True
    """
    if dense_entries < 0:
        raise ValueError(f"dense_entries must not be negative: {dense_entries}")
    network = exact_network(model, variables)
    layers, head = network.layers, network.head
    dtype = jnp.result_type(*jax.tree.leaves(variables["params"]))
    if isinstance(model.new_head(), OrthogonalHead):
        layers, head = layers[:-2], _linear(layers[-1], dtype)
    trunk, shape = [], network.image_shape
    for layer in layers:
        after = output_shape(layer, shape)
        if isinstance(layer, SkewConvolution | Convolution):
            if pays(layer, shape, dense_entries):
                layer = as_matrix(layer, shape, dtype)
        trunk.append(layer)
        shape = after
    frozen = dataclasses.replace(network, layers=tuple(trunk), head=head)
    return FrozenNetwork(jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), frozen))


def _apply(layer: Layer, x: jax.Array) -> jax.Array:
    """Applies a layer, its convolutions in the fastest way."""
    if not isinstance(layer, SkewConvolution | Convolution):
        return layer(x)
    z = ops.with_channels(ops.space_to_depth(x, layer.stride), layer.kernel.shape[2])
    if isinstance(layer, SkewConvolution):
        z = ops.skew_exponential(z, layer.kernel, coefficients=layer.coefficients)
    elif _fills(layer, z.shape[-3:-1]):
        z = apply_symbols(z, symbols_of_kernel(layer.kernel))
    elif _has_middle(layer):
        z = ops.circular_convolution(z, layer.kernel)
    else:
        return layer(x)
    bias = jnp.expand_dims(layer.bias, tuple(range(z.ndim - 1)))
    return ops.with_channels(z, len(layer.bias)) + bias


_compiled = jax.jit(_apply)


def pays(conv: SkewConvolution | Convolution, shape: Shape, most: int) -> bool:
    """Whether it is faster as one matrix, of at most `most` entries."""
    entries = math.prod(shape) * math.prod(output_shape(conv, shape))
    k, _, c_in, c_out = conv.kernel.shape
    sides = [side // conv.stride for side in shape[:2]]
    if isinstance(conv, SkewConvolution):
        applications = len(conv.coefficients) - 1
        taps = math.prod(ops.same_taps(side, k) for side in sides)
    elif _fills(conv, sides):
        applications, taps = 4, sides[0] * (sides[1] // 2 + 1)
    else:
        applications, taps = 1, math.prod((*conv.kernel.shape[:2], *sides))
    return entries <= most and _SAVING * entries <= applications * taps * c_in * c_out


def _fills(conv: Convolution, sides: Sequence[int]) -> bool:
    """Whether a kernel is as large as the torus, so that its symbols are it."""
    return conv.padding == "circular" and conv.kernel.shape[:2] == tuple(sides)


def _has_middle(conv: Convolution) -> bool:
    """Whether `ops.circular_convolution` takes the kernel."""
    rows, columns = conv.kernel.shape[:2]
    return conv.padding == "circular" and rows == columns and rows % 2 == 1


def as_matrix(conv: SkewConvolution | Convolution, shape: Shape, dtype: Any) -> Dense:
    """The matrix whose rows are the outputs for unit images."""
    out = output_shape(conv, shape)
    size = math.prod(shape)
    matrix = np.empty((size, math.prod(out)), dtype)
    linear = dataclasses.replace(conv, bias=np.zeros(len(conv.bias)))
    with jax.enable_x64(True):
        linear = jax.tree.map(jnp.asarray, linear)
        for start in range(0, size, _IMAGES):
            rows = np.eye(min(_IMAGES, size - start), size, start)
            images = _compiled(linear, rows.reshape(-1, *shape))
            matrix[start : start + _IMAGES] = images.reshape(len(rows), -1)
    return Dense(matrix, conv.bias, out[:2])


def _linear(conv: Any, dtype: Any) -> Linear:
    """The orthogonal head, a convolution of a single pixel."""
    dense = as_matrix(conv, (1, 1, conv.kernel.shape[2]), dtype)
    return Linear(dense.matrix, dense.bias)
