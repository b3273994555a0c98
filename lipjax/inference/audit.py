"""What is proven of every layer of a network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from lipjax import ops
from lipjax.certify import Activation, Convolution, Network, SkewConvolution
from lipjax.certify.layers import Layer, LayerBound, Shape
from lipjax.certify.network import network_bound
from lipjax.inference.calls import calls, has_own_numbers, is_known
from lipjax.inference.exact import (
    doubles,
    exact_layer,
    exact_network,
    output_shape,
    part,
)
from lipjax.models import LipConvNet
from lipjax.nn import ExpApproximation
from lipjax.ops import CurvatureWeights

_ROUNDING = 1e-9
"""A layer whose constant exceeds 1 by no more is not called expanding: the proof for an
orthogonal one leaves some room."""


@dataclasses.dataclass(frozen=True)
class AuditedLayer:
    """A layer, and what is proven of it.

    Attributes:
      name: of its module.
      kind: what it is, in words.
      output: (height, width, channels) of its output, or (features,).
      constant: its Lipschitz constant in evaluation is at most this.
      norm: the norm of a skew convolution is at most this; None for other layers.
      training: the constant of the polynomial of training is at most this at that
        norm, for the same weights; None for other layers.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    constant: float
    norm: float | None = None
    training: float | None = None


@dataclasses.dataclass(frozen=True)
class Audit:
    """What is proven of a network. `str` of it is a table, `to_json` a dictionary.

    Attributes:
      layers: in order.
      head: of the features, in words; "" if the model is not a LipConvNet.
      mean: subtracted from the pixels of each channel; () likewise.
      std: divides them; one number, or distances count differently by channel.
      constant: the features are Lipschitz with this constant in the pixels of [0, 1],
        l2; it is at most the product of the layers' constants over the least std. None
        for another model: how its layers are joined is not known.
      dtype: of the parameters. What is certified is their float64 copy.
      remarks: what a reader should know, a line each.
    """

    layers: tuple[AuditedLayer, ...]
    head: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    constant: float | None
    dtype: str
    remarks: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The same as a dictionary for JSON."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        rows = [("layer", "kind", "output", "norm of J", "constant", "in training")]
        rows += [
            (
                one.name,
                one.kind,
                "x".join(map(str, one.output)),
                _number(one.norm),
                _number(one.constant),
                _number(one.training),
            )
            for one in self.layers
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        padded = [
            [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            for row in rows
        ]
        lines = ["  ".join(cells).rstrip() for cells in padded]
        normalised = ""
        if self.constant is not None:
            mean, std = (" ".join(map(str, v)) for v in (self.mean, self.std))
            normalised = f"pixels of [0, 1] minus {mean}, over {std}; "
            lines.append(f"head: {self.head}")
        lines.append(f"{normalised}parameters: {self.dtype}")
        if self.constant is not None:
            known = _number(self.constant)
            lines.append(f"features: {known}-Lipschitz in the pixels, proven")
        return "\n".join([*lines, *self.remarks])


def audit(model: nn.Module, variables: Any, image_shape: Shape | None = None) -> Audit:
    r"""What is proven of every layer of a network, and what expands.

    .. math:: \|T(x) - T(y)\| \le L \|x - y\| \quad \text{for every layer T}

    Args:
      model: a LipConvNet, or any Linen module with layers that `exact_layer` knows; of
        a PyTorch state dict, `lipjax.convert.from_torch` makes one.
      variables: {"params": ..., "spectral": ...}.
      image_shape: (height, width, channels) of the input; a LipConvNet has its own.

    Returns:
      The proven constants of the layers in evaluation, their settings, and remarks:
      which layers expand, in evaluation or in training, and of which parts with
      parameters nothing is proven.

    Raises:
      ValueError: as `exact_network`; if the weights are not finite or so large that
        nothing can be proven; or without a shape that the module needs.

    Guarantee: every constant and norm is a bound, proven as docs/guarantees.md says, of
    the float64 network in exact arithmetic.

    Example:
      >>> import jax.numpy as jnp
      >>> model = LipConvNet((8, 8, 1), 3, stages=1, width=2, mean=(0.0,), std=(0.5,))
      >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
      >>> found = audit(model, variables)
      >>> [one.name for one in found.layers][:2], f"{found.constant:.3f}"
      (['initial.conv', 'initial.activation'], '2.000')
      >>> found.remarks[0]
      'No layer expands in evaluation by more than 1e-09.'
    """
    if not isinstance(model, LipConvNet):
        return _audit_module(model, variables, image_shape)
    network = exact_network(model, variables)
    bound = network_bound(network)
    layers = tuple(_layers(model, network, bound.layers))
    remarks = tuple(_remarks(layers))
    if len(set(model.std)) > 1:
        remarks += (_UNEQUAL,)
    return Audit(
        layers,
        _head(network),
        tuple(model.mean),
        tuple(model.std),
        bound.lipschitz,
        _dtypes(variables),
        remarks,
    )


def _audit_module(model: nn.Module, variables: Any, shape: Shape | None) -> Audit:
    """The audit of a module of somebody else's, call by call."""
    if shape is None:
        raise ValueError(f"{type(model).__name__} needs the shape of its images")
    layers, unknown = [], []
    params, spectral = (doubles(variables.get(n, {})) for n in ("params", "spectral"))
    for path, module, inner in calls(model, variables, shape):
        name = ".".join(path)
        if is_known(module):
            numbers = (part(tree, *path) for tree in (params, spectral))
            layer = exact_layer(module, *numbers, inner)
            exp = getattr(module, "exp", None)
            layers.append(_audited(name, layer, layer.bound(inner)[0], inner, exp))
        elif has_own_numbers(part(params, *path)):
            unknown.append(f"{name or 'the module itself'} ({type(module).__name__})")
    remarks = [*_remarks(layers)]
    if unknown:
        remarks.append(f"Nothing is proven of: {', '.join(unknown)}.")
    remarks.append("How the layers are joined is not known: of the whole, see to it.")
    return Audit(tuple(layers), "", (), (), None, _dtypes(variables), tuple(remarks))


_UNEQUAL = "Channels are divided by different numbers: the least one counts for all."


def _dtypes(variables: Any) -> str:
    dtypes = {str(leaf.dtype) for leaf in jax.tree.leaves(variables.get("params", {}))}
    return ", ".join(sorted(dtypes))


def _layers(
    model: LipConvNet, network: Network, bounds: tuple[LayerBound, ...]
) -> Iterator[AuditedLayer]:
    names = [f"{name}.{part}" for name, *_ in model.plan() for part in _PARTS]
    names += [f"classifier.{i}" for i in range(len(network.layers) - len(names))]
    shape: Shape = model.image_shape
    for name, layer, bound in zip(names, network.layers, bounds, strict=True):
        yield _audited(name, layer, bound, shape, model.exp)
        shape = output_shape(layer, shape)


def _audited(
    name: str,
    layer: Layer,
    bound: LayerBound,
    shape: Shape,
    exp: ExpApproximation | None,
) -> AuditedLayer:
    """A layer by what is proven of it, with an input of the given shape."""
    training = None
    if isinstance(layer, SkewConvolution) and exp and bound.norm is not None:
        training = ops.polynomial_gain(exp.coefficients, bound.norm)
    out = output_shape(layer, shape)
    return AuditedLayer(name, _kind(layer), out, bound.lipschitz, bound.norm, training)


_PARTS = ("conv", "activation")


def _kind(layer: Layer) -> str:
    if isinstance(layer, SkewConvolution):
        degree, k = len(layer.coefficients) - 1, layer.kernel.shape[0]
        words = f"skew-orthogonal convolution {k}x{k}, degree {degree}"
    elif isinstance(layer, Convolution):
        k = "x".join(map(str, layer.kernel.shape[:2]))
        words = f"convolution {k}, {layer.padding} padding"
    else:
        return layer.kind if isinstance(layer, Activation) else type(layer).__name__
    return words + f", stride {layer.stride}" * (layer.stride > 1)


def _head(network: Network) -> str:
    head = network.head
    if isinstance(head, CurvatureWeights):
        features, hidden = head.hidden_kernel.shape
        return f"{features} features, {hidden} softplus units, {len(head[-1])} classes"
    features, classes = head.kernel.shape
    norms = np.linalg.norm(np.asarray(head.kernel), axis=0)
    return (
        f"{features} features, linear, {classes} classes, columns of norm "
        f"{norms.min():.4f} to {norms.max():.4f} (estimate)"
    )


def _remarks(layers: Sequence[AuditedLayer]) -> Iterator[str]:
    for when, constants in (
        ("evaluation", [(one.name, one.constant) for one in layers]),
        ("training", [(one.name, one.training) for one in layers]),
    ):
        expand = [(name, c) for name, c in constants if c and c > 1 + _ROUNDING]
        if expand:
            name, most = max(expand, key=lambda pair: pair[1])
            yield (
                f"{len(expand)} layers may expand in {when}, {name} the most, by a "
                f"factor of {_number(most)}."
            )
        else:
            yield f"No layer expands in {when} by more than {_ROUNDING:g}."


def _number(bound: float | None) -> str:
    """A bound, never rounded down."""
    return "" if bound is None else f"{math.ceil(bound * 1e9) / 1e9:.9f}"
