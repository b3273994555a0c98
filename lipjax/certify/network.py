"""Exact networks, whose weights are float64 numbers, and what is proven of them."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import NamedTuple

import jax
import numpy as np

from lipjax.certify.layers import Layer, LayerBound, Numbers, Shape
from lipjax.certify.rounding import HUGE, TINY, gamma, norm_bound, up
from lipjax.ops import CurvatureWeights, contract, curvature_logits


class Linear(NamedTuple):
    """A linear head: logits = features kernel + bias."""

    kernel: Numbers  # [D, C]
    bias: Numbers  # [C]


Head = Linear | CurvatureWeights


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["mean", "std", "layers", "head"],
    meta_fields=["image_shape"],
)
@dataclasses.dataclass(frozen=True)
class Network:
    """Normalisation, layers and head, as exact real functions of their weights.

    Attributes:
      image_shape: (height, width, channels).
      mean: per channel, subtracted from pixels in [0, 1].
      std: per channel, divides them.
      layers: applied in order; see `lipjax.certify.layers`.
      head: of the flattened output of the last layer.
    """

    image_shape: Shape
    mean: Numbers
    std: Numbers
    layers: tuple[Layer, ...]
    head: Head

    def normalize(self, x: jax.Array) -> jax.Array:
        """(x - mean) / std of images [n, height, width, channels]."""
        mean, std = (v.reshape(1, 1, 1, -1) for v in (self.mean, self.std))
        return (x - mean) / std

    def features(self, x: jax.Array) -> jax.Array:
        """The head's input for images in [0, 1]: [n, h, w, c] -> [n, D]."""
        z = self.normalize(x)
        for layer in self.layers:
            z = layer(z)
        return z.reshape(len(z), -1)

    def classify(self, features: jax.Array) -> jax.Array:
        """The head's logits [n, C] of features [n, D]."""
        head = self.head
        if isinstance(head, Linear):
            return contract("nd,dc->nc", features, head.kernel) + head.bias[None]
        return curvature_logits(head, features)

    def logits(self, x: jax.Array) -> jax.Array:
        """Logits [n, C] of images [n, h, w, c] in [0, 1]."""
        return self.classify(self.features(x))


class Affine(NamedTuple):
    """The bound slope n + offset, n the norm of a normalised image."""

    slope: float
    offset: float

    def __call__(self, n):
        return up(self.slope * n + self.offset)


class NetworkBound(NamedTuple):
    """Proven bounds of a network's features, and of their execution in float64.

    Attributes:
      lipschitz: constant of the features as a function of the pixels, l2.
      scale: Lipschitz constant of the normalisation, 1 / min std.
      norm: bound on the executed features' norm, in the norm of the normalised image.
      error: bound on the executed features' distance from the exact ones, likewise.
      layers: of every layer.
    """

    lipschitz: float
    scale: float
    norm: Affine
    error: Affine
    layers: tuple[LayerBound, ...]


def network_bound(network: Network) -> NetworkBound:
    r"""Proves a network's Lipschitz constant and bounds its rounding.

    With L, o, rho, a of each layer (see `LayerBound`), norm N and error E before it:

    .. math:: N' = L N + o + \rho N + a, \quad E' = L E + \rho N + a

    Args:
      network: the network.

    Returns:
      The bounds, valid for every image.

    Raises:
      ValueError: if a weight is not finite or so large that numbers may overflow, if a
        std is not positive, if a kernel is not skew, or for fewer than two classes.

    Guarantee: see docs/guarantees.md, theorem 1.
    """
    _check(network)
    shape = network.image_shape
    scale = up(1 / float(np.min(network.std)))
    largest = _largest_norm(network, scale)
    norm, error = Affine(up(1 + gamma(4)), TINY), Affine(gamma(4), TINY)
    norms = [norm(largest)]
    bounds: list[LayerBound] = []
    for layer in network.layers:
        bound, shape = layer.bound(shape)
        norms.append(up(bound.inside * norm(largest) + bound.absolute))
        rounding = Affine(
            up(bound.relative * norm.slope),
            up(bound.relative * norm.offset + bound.absolute),
        )
        norm, error = (
            Affine(
                up(bound.lipschitz * before.slope + rounding.slope),
                up(bound.lipschitz * before.offset + offset + rounding.offset),
            )
            for before, offset in ((norm, bound.offset), (error, 0.0))
        )
        bounds.append(bound)
        norms.append(norm(largest))
    norms.append(_largest_hidden_unit(network.head, norm(largest)))
    if not all(n < HUGE for n in norms):  # NaN is not
        raise ValueError("the weights are too large: numbers may overflow")
    lipschitz = scale
    for bound in bounds:
        lipschitz = up(lipschitz * bound.lipschitz) + TINY
    return NetworkBound(lipschitz, scale, norm, error, tuple(bounds))


def _largest_norm(network: Network, scale: float) -> float:
    """Bound on the norm of normalised images, and of those within their diameter."""
    sides = 2 + float(np.max(np.abs(network.mean)))  # |x - mean|, one diameter away
    return up(math.sqrt(math.prod(network.image_shape)) * sides * scale)


def _largest_hidden_unit(head: Head, features: float) -> float:
    """Bound on softplus' arguments and values; 0 for a linear head."""
    if isinstance(head, Linear):
        return 0.0
    most = float(np.max(np.abs(head.hidden_bias))) + 1
    return up(norm_bound(np.asarray(head.hidden_kernel)) * features + most)


def _check(network: Network) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(network):
        if leaf.dtype != np.float64:
            raise ValueError(f"{_name(path)} must be float64, not {leaf.dtype}")
        if not np.isfinite(leaf).all():
            raise ValueError(f"{_name(path)} has an entry that is not finite")
        if not (np.abs(leaf) < HUGE).all():
            raise ValueError(f"{_name(path)} has an entry of 2^300 or more")
    if not np.min(network.std) >= 1 / HUGE:
        raise ValueError(f"std must be positive, at least 2^-300: {network.std}")
    head = network.head
    if len(head[-1]) < 2:
        raise ValueError("a network of fewer than two classes classifies nothing")
    if isinstance(head, CurvatureWeights) and not len(head.hidden_bias):
        raise ValueError("the curvature head has no hidden units")


def _name(path) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
