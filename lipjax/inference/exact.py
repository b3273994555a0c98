"""From a model and its variables to the exact network that certificates speak of.

`exact_layer` and `exact_head` translate one module each. They are open: register a
module of your own with `exact_layer.register` or `exact_head.register`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lipjax import ops
from lipjax.certify import (
    Activation,
    Convolution,
    Flatten,
    Linear,
    Network,
    SkewConvolution,
)
from lipjax.certify.layers import Layer, Shape
from lipjax.certify.network import Head
from lipjax.models import LipConvNet
from lipjax.nn import (
    BlockConvolutionOrthogonal,
    CayleyConv,
    ChannelMaxPool,
    CurvatureHead,
    Householder,
    HouseholderOrder2,
    MaxMin,
    NormalizedHead,
    OrthogonalHead,
    ProjectionPool,
    ReflectorConv,
    SkewOrthogonalConv,
    StridedConv,
)
from lipjax.nn.spectral import scale_estimate

Numbers = Mapping[str, Any]
"""A module's parameters or its part of "spectral", in float64; empty if it has none."""


def exact_network(model: LipConvNet, variables: Any) -> Network:
    """The network in evaluation as explicit float64 numbers: what is certified.

    Kernels are made skew and divided by their scale once, in float64. Rows of the
    normalised head are divided by their norm. From then on these numbers are the
    network, exactly.

    Args:
      model: the network.
      variables: {"params": ..., "spectral": ...}, of any precision.

    Returns:
      A `lipjax.certify.Network` with the model's logits, up to rounding.

    Raises:
      ValueError: for a module that is not registered with `exact_layer` or
        `exact_head`; it names the module.

    Example:
      >>> import jax.numpy as jnp
      >>> model = LipConvNet((8, 8, 1), 3, stages=1, width=2, mean=(0.0,), std=(0.5,))
      >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
      >>> network = exact_network(model, variables)
      >>> len(network.layers), network.head.kernel.shape
      (4, (64, 3))
    """
    trees = [doubles(variables.get(name, {})) for name in ("params", "spectral")]
    layers: list[Layer] = []
    shape = model.image_shape
    for name, *modules in model.plan():
        for field, module in zip(("conv", "activation"), modules, strict=True):
            numbers = (part(tree, name, field) for tree in trees)
            layers.append(exact_layer(module, *numbers, shape))
            shape = output_shape(layers[-1], shape)
    numbers = (part(tree, "classifier") for tree in trees)
    before, head = exact_head(model.new_head(), *numbers)
    return Network(
        image_shape=model.image_shape,
        mean=np.array(model.mean, np.float64),
        std=np.array(model.std, np.float64),
        layers=(*layers, *before),
        head=head,
    )


@functools.singledispatch
def exact_layer(
    module: nn.Module, params: Numbers, spectral: Numbers, shape: Shape
) -> Layer:
    """A convolution, activation or pooling as a layer of a certified network.

    Register a module of your own with a function of the same arguments. The layer it
    returns has two methods, see `lipjax.certify.layers.Layer`: `__call__`, the
    execution in float64 by plain products, and `bound`, what is proven of it. The
    layer must be a pytree of float64 arrays: it passes through `jax.jit`.

    Args:
      module: the module, unbound.
      params: its parameters, in float64.
      spectral: its part of the collection "spectral", in float64.
      shape: (height, width, channels) of its input.

    Raises:
      ValueError: if the type of the module is not registered.

    Example, the absolute value, which is 1-Lipschitz and free of rounding:
      >>> import dataclasses
      >>> from lipjax.certify.layers import TINY, LayerBound
      >>> class Abs(nn.Module):
      ...     def __call__(self, x):
      ...         return abs(x)
      >>> @jax.tree_util.register_dataclass
      ... @dataclasses.dataclass(frozen=True)
      ... class AbsLayer:
      ...     def __call__(self, x):
      ...         return abs(x)
      ...
      ...     def bound(self, shape):
      ...         return LayerBound(1.0, 0.0, 0.0, TINY, inside=1.0), shape
      >>> @exact_layer.register
      ... def _(module: Abs, params, spectral, shape):
      ...     return AbsLayer()
      >>> exact_layer(Abs(), {}, {}, (2, 2, 1))
      AbsLayer()
    """
    raise ValueError(_unregistered(module, "exact_layer"))


@functools.singledispatch
def exact_head(
    module: nn.Module, params: Numbers, spectral: Numbers
) -> tuple[tuple[Layer, ...], Head]:
    """A head as layers and a head of a certified network.

    Register a module of your own with a function of the same arguments. It returns
    layers, often none, and a `lipjax.certify.Linear` or a
    `lipjax.ops.CurvatureWeights` of the last layer's flattened output.

    Args:
      module: the module, unbound.
      params: its parameters, in float64.
      spectral: its part of the collection "spectral", in float64.

    Raises:
      ValueError: if the type of the module is not registered.

    Example, a head whose rows are scaled to norm 1 in the sum norm:
      >>> class SumNormHead(nn.Module):
      ...     '''The methods of `lipjax.nn.Head` go here.'''
      >>> @exact_head.register
      ... def _(module: SumNormHead, params, spectral):
      ...     kernel = params["kernel"] / abs(params["kernel"]).sum(0, keepdims=True)
      ...     return (), Linear(kernel, params["bias"])
      >>> params = {"kernel": np.array([[1.0], [3.0]]), "bias": np.zeros(1)}
      >>> exact_head(SumNormHead(), params, {})[1].kernel.tolist()
      [[0.25], [0.75]]
    """
    raise ValueError(_unregistered(module, "exact_head"))


@exact_layer.register
def _skew(module: SkewOrthogonalConv, params: Numbers, spectral: Numbers, shape: Shape):
    with jax.enable_x64(True):
        skew = ops.skew_kernel(params["kernel"])
        sigma = scale_estimate(ops.unfoldings(skew), spectral["kernel_vectors"])
    return SkewConvolution(
        kernel=np.asarray(skew) / float(sigma),
        bias=_bias(module, params),
        coefficients=module.exp.eval_coefficients,
        stride=module.stride,
    )


@exact_layer.register
def _block(
    module: BlockConvolutionOrthogonal,
    params: Numbers,
    spectral: Numbers,
    shape: Shape,
):
    c_in, matrices = _inner(module, shape)[2], params["matrices"]
    with jax.enable_x64(True):
        kernel = ops.bcop_kernel(jnp.asarray(matrices), c_in, module.features)
    return _circular(module, kernel, params)


@exact_layer.register
def _cayley(module: CayleyConv, params: Numbers, spectral: Numbers, shape: Shape):
    """Its kernel is as large as the image."""
    sides = _inner(module, shape)[:2]
    with jax.enable_x64(True):
        kernel = ops.cayley_kernel(
            jnp.asarray(params["kernel"]), jnp.asarray(params["alpha"]), *sides
        )
    return _circular(module, kernel, params)


@exact_layer.register
def _reflector(module: ReflectorConv, params: Numbers, spectral: Numbers, shape: Shape):
    """Its kernel is as large as the image, without padded and dropped channels."""
    *sides, c_in = _inner(module, shape)
    with jax.enable_x64(True):
        kernel = ops.reflector_kernel(jnp.asarray(params["kernel"]), *sides)
    return _circular(module, kernel[..., :c_in, : module.features], params)


def _circular(module: StridedConv, kernel: Any, params: Numbers) -> Convolution:
    bias, stride = _bias(module, params), module.stride
    return Convolution(np.asarray(kernel), bias, stride, padding="circular")


def _bias(module: StridedConv, params: Numbers) -> np.ndarray:
    return params["bias"] if module.use_bias else np.zeros(module.features)


def _inner(module: StridedConv, shape: Shape) -> Shape:
    """The shape after a convolution's space-to-depth."""
    height, width, channels = shape
    s = module.stride
    return height // s, width // s, channels * s**2


def _register_activation(
    module: type[nn.Module], kind: str, angles: tuple[str, ...] = ()
) -> None:
    exact_layer.register(
        module,
        lambda _, params, spectral, shape: Activation(
            kind, tuple(params[a] for a in angles)
        ),
    )


_register_activation(MaxMin, "maxmin")
_register_activation(Householder, "householder", ("theta",))
_register_activation(HouseholderOrder2, "householder2", ("theta0", "theta1", "theta2"))
_register_activation(ChannelMaxPool, "max")
_register_activation(ProjectionPool, "projection", ("theta",))


@exact_head.register
def _orthogonal(module: OrthogonalHead, params: Numbers, spectral: Numbers):
    """The convolution's outputs are the logits."""
    classes = module.num_classes
    conv = SkewOrthogonalConv(classes, kernel_size=1, exp=module.exp)
    layer = _skew(conv, params["conv"], spectral["conv"], ())
    return (Flatten(), layer), Linear(np.eye(classes), np.zeros(classes))


@exact_head.register
def _normalized(module: NormalizedHead, params: Numbers, spectral: Numbers):
    norms = np.linalg.norm(params["kernel"], axis=0, keepdims=True)
    kernel = params["kernel"] / np.where(norms > 0, norms, 1)
    return (), Linear(kernel, params["bias"])


@exact_head.register
def _curvature(module: CurvatureHead, params: Numbers, spectral: Numbers):
    return (), ops.CurvatureWeights(**params)


def _unregistered(module: nn.Module, function: str) -> str:
    return (
        f"no certificate is known for {type(module).__name__}: register it with "
        f"lipjax.inference.{function}.register"
    )


def output_shape(layer: Layer, shape: Shape) -> Shape:
    """The shape of a layer's output for one image of the given shape."""
    images = jax.ShapeDtypeStruct((1, *shape), np.float64)
    with jax.enable_x64(True):
        return jax.eval_shape(layer, images).shape[1:]


def part(tree: Numbers, *names: str) -> Numbers:
    """A module's part of a tree, by its path; empty if it has none."""
    for name in names:
        tree = tree.get(name, {})
    return tree


def doubles(tree: Any) -> Numbers:
    """The numbers in float64."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)
