"""A frozen network as an ONNX model, for runtimes that know nothing of JAX."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from lipjax.certify import Activation, Convolution, Dense, Linear, SkewConvolution
from lipjax.certify.layers import Flatten, Shape
from lipjax.inference.exact import output_shape
from lipjax.inference.frozen import FrozenNetwork
from lipjax.inference.onnx_activations import ACTIVATIONS
from lipjax.inference.onnx_graph import Described, Graph, Value
from lipjax.inference.predict import Constants
from lipjax.ops import CurvatureWeights

if TYPE_CHECKING:
    import onnx

_TO_IMAGES, _TO_CHANNELS = (0, 2, 3, 1), (0, 3, 1, 2)

_OUTPUTS = {
    "logits": ("of every class", np.float32),
    "prediction": ("the class with the largest logit", np.int64),
    "radius": (
        "no image closer than this, l2, in pixels of [0, 1], has another prediction: "
        "proven in exact arithmetic, the rounding of this model is not counted",
        np.float32,
    ),
    "runner_up": ("the class that is nearest to replacing the prediction", np.int64),
}


def to_onnx(
    frozen: FrozenNetwork, *, constants: Constants | None = None
) -> onnx.ModelProto:
    """Logits, predictions and radii of any number of images, as an ONNX model.

    Its input is "images", float32 [n, h, w, c] in [0, 1]. Its outputs are those of
    `lipjax.portable`: "logits" [n, C], "prediction" [n], "radius" [n], l2, in pixels of
    [0, 1], and "runner_up" [n]. Convolutions are ONNX's Conv, a series a chain of them.

    Args:
      frozen: from `lipjax.freeze`, in float32.
      constants: from `frozen.certificate_constants`; None: computed here.

    Returns:
      A model of operator set 17, to be written by `onnx.save`.

    Raises:
      ModuleNotFoundError: without the package onnx, the extra `lipjax[onnx]`.
      ValueError: if the network is not in float32, or has a layer of a kind that is not
        lipjax's own.

    Guarantee: as `FrozenNetwork.predict_with_radius`: the radius is proven for the
    frozen network in exact arithmetic; the rounding of the runtime is not counted.

    Example:
      >>> import jax.numpy as jnp
      >>> from lipjax import LipConvNet, freeze
      >>> model = LipConvNet((4, 4, 1), 3, stages=1, width=4, mean=(0.0,), std=(0.5,))
      >>> variables = jax.jit(model.init)(jax.random.key(0), jnp.ones((1, 4, 4, 1)))
      >>> found = to_onnx(freeze(model, variables))
      >>> [output.name for output in found.graph.output]
      ['logits', 'prediction', 'radius', 'runner_up']
    """
    network = frozen.network
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(network)}
    if dtypes != {np.dtype(np.float32)}:
        raise ValueError(f"an ONNX model is made of float32, not {dtypes}")
    if constants is None:
        constants = frozen.certificate_constants()
    network = jax.tree.map(np.asarray, network)
    graph = Graph()
    x = graph("Div", graph("Sub", "images", network.mean), network.std)
    x, shape = graph("Transpose", x, perm=_TO_CHANNELS), network.image_shape
    for layer in network.layers:
        x = _layer(layer, graph, x, shape)
        shape = output_shape(layer, shape)
    features = _flat(graph, x)
    logits, gradients = _logits(network.head, graph, features)
    outputs = {"logits": logits, **_certified(graph, logits, gradients, constants)}
    sizes = {"logits": (len(network.head[-1]),)}
    return graph.model(
        {"images": Described(network.image_shape, "in [0, 1]")},
        outputs,
        {
            name: Described(sizes.get(name, ()), text, kind)
            for name, (text, kind) in _OUTPUTS.items()
        },
    )


@functools.singledispatch
def _layer(layer: Any, graph: Graph, x: Value, shape: Shape) -> Value:
    """The layer's output, channels second."""
    raise ValueError(f"{type(layer).__name__} has no translation to ONNX")


@_layer.register
def _skew(layer: SkewConvolution, graph: Graph, x: Value, shape: Shape) -> Value:
    x = _blocks(graph, x, shape, layer.stride)
    kernel = _out_in_rows_columns(layer.kernel)
    channels, given, kept = len(kernel), shape[2] * layer.stride**2, len(layer.bias)
    if channels > given:
        x = graph("Pad", x, np.array([0, 0, 0, 0, 0, channels - given, 0, 0]))
    half = layer.kernel.shape[0] // 2
    *rest, last = layer.coefficients
    z = _scaled(graph, x, last)
    for a in reversed(rest):
        z = graph("Conv", z, kernel, pads=[half] * 4)
        if a:
            z = graph("Add", z, _scaled(graph, x, a))
    if kept < channels:
        z = graph("Slice", z, *(np.array([v]) for v in (0, kept, 1)))
    return graph("Add", z, _by_channel(layer.bias))


@_layer.register
def _convolution(layer: Convolution, graph: Graph, x: Value, shape: Shape) -> Value:
    x = _blocks(graph, x, shape, layer.stride)
    before = [k // 2 for k in layer.kernel.shape[:2]]
    after = [k - 1 - k // 2 for k in layer.kernel.shape[:2]]
    pads = [*before, *after]
    if layer.padding == "circular":
        for axis, low, high in zip((2, 3), before, after, strict=True):
            side = shape[axis - 2] // layer.stride
            around = np.arange(-low, side + high) % side
            x = graph("Gather", x, around, axis=axis)
        pads = [0] * 4
    return graph("Conv", x, _out_in_rows_columns(layer.kernel), layer.bias, pads=pads)


@_layer.register
def _dense(layer: Dense, graph: Graph, x: Value, shape: Shape) -> Value:
    y = graph("MatMul", _flat(graph, x), layer.matrix)
    y = graph("Reshape", y, np.array([0, *layer.sides, len(layer.bias)]))
    y = graph("Transpose", y, perm=_TO_CHANNELS)
    return graph("Add", y, _by_channel(layer.bias))


@_layer.register
def _activation(layer: Activation, graph: Graph, x: Value, shape: Shape) -> Value:
    half = shape[2] // 2
    a, b = (
        graph("Slice", x, *(np.array([v]) for v in (start, start + half, 1)))
        for start in (0, half)
    )
    angles = (_by_channel(np.asarray(v, np.float64)) for v in layer.angles)
    return ACTIVATIONS[layer.kind](graph, a, b, *angles)


@_layer.register
def _flatten(layer: Flatten, graph: Graph, x: Value, shape: Shape) -> Value:
    return graph("Reshape", _flat(graph, x), np.array([0, math.prod(shape), 1, 1]))


def _flat(graph: Graph, x: Value) -> Value:
    """All pixels' channels, pixel by pixel."""
    x = graph("Transpose", x, perm=_TO_IMAGES)
    return graph("Reshape", x, np.array([0, -1]))


def _blocks(graph: Graph, x: Value, shape: Shape, block: int) -> Value:
    """`lipjax.ops.space_to_depth`."""
    if block == 1:
        return x
    height, width, channels = shape
    rows, columns = height // block, width // block
    x = graph("Reshape", x, np.array([0, channels, rows, block, columns, block]))
    x = graph("Transpose", x, perm=(0, 1, 3, 5, 2, 4))
    return graph("Reshape", x, np.array([0, channels * block**2, rows, columns]))


def _out_in_rows_columns(kernel: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))


def _by_channel(values: np.ndarray) -> np.ndarray:
    return values.reshape(1, -1, 1, 1)


def _scaled(graph: Graph, x: Value, factor: float) -> Value:
    return x if factor == 1 else graph("Mul", x, np.float32(factor))


def _logits(
    head: Linear | CurvatureWeights, graph: Graph, features: Value
) -> tuple[Value, Value | None]:
    """Logits [n, C], and of a curvature head their gradients [n, C, D]."""
    if isinstance(head, Linear):
        return graph("Gemm", features, head.kernel, head.bias), None
    inner = graph("Gemm", features, head.hidden_kernel, head.hidden_bias)
    hidden = graph("Softplus", inner)
    logits = graph("Gemm", hidden, head.output_kernel, head.output_bias)
    slope = graph("Unsqueeze", graph("Sigmoid", inner), np.array([1]))
    weighted = graph("Mul", slope, head.output_kernel.T[None])
    return logits, graph("MatMul", weighted, head.hidden_kernel.T)


def _certified(
    graph: Graph, logits: Value, gradients: Value | None, constants: Constants
) -> dict[str, Value]:
    """Prediction, radius, runner-up: `lipjax.ops.linear_radii`, `curvature_radii`."""
    pairs = np.asarray(constants.pairs, np.float32)
    zero, infinity = np.float32(0), np.float32(np.inf)
    prediction = graph("ArgMax", logits, axis=1, keepdims=0)
    column = graph("Unsqueeze", prediction, np.array([1]))
    own = graph("GatherElements", logits, column, axis=1)
    gaps, of_pairs = graph("Sub", own, logits), graph("Gather", pairs, prediction)
    positive = graph("Greater", gaps, zero)
    if gradients is None:
        factor, below = np.float32(1), of_pairs
        fixed = graph("Where", graph("Less", gaps, zero), -infinity, zero)
    else:
        factor, fixed = np.float32(2), zero
        own = graph("GatherND", gradients, column, batch_dims=1)
        apart = graph("Sub", graph("Unsqueeze", own, np.array([1])), gradients)
        slopes = graph("ReduceL2", apart, axes=[2], keepdims=0)
        room = graph("Mul", of_pairs, graph("Max", gaps, zero))
        square = graph("Add", graph("Mul", slopes, slopes), graph("Add", room, room))
        below = graph("Add", slopes, graph("Sqrt", square))
    moves = graph("Greater", below, zero)
    ratio = graph("Div", graph("Mul", gaps, factor), below)
    fixed = graph("Where", positive, infinity, fixed)
    radii = graph("Where", moves, ratio, fixed)
    is_own = graph("Equal", np.arange(len(pairs))[None], column)
    radii = graph("Where", is_own, infinity, radii)
    runner_up = graph("ArgMin", radii, axis=1, keepdims=0)
    nearest = graph("Max", graph("ReduceMin", radii, axes=[1], keepdims=0), zero)
    lipschitz = np.float32(np.nextafter(np.float32(constants.lipschitz), np.inf))
    return {
        "prediction": prediction,
        "radius": graph("Div", nearest, lipschitz),
        "runner_up": runner_up,
    }
