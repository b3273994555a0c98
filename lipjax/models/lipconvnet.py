"""LipConvNet: a trunk of orthogonal convolutions under a head with a certificate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from lipjax.nn import (
    ChannelMaxPool,
    CurvatureHead,
    ExpApproximation,
    Head,
    Householder,
    HouseholderOrder2,
    MaxMin,
    NormalizedHead,
    OrthogonalHead,
    ProjectionPool,
    SkewOrthogonalConv,
)

ACTIVATIONS = {
    "maxmin": MaxMin,
    "householder": Householder,
    "householder2": HouseholderOrder2,
}
POOLINGS = {"max": ChannelMaxPool, "projection": ProjectionPool}
HEADS = ("orthogonal", "normalized", "curvature")


class Block(nn.Module):
    """A convolution, then what mixes pairs of its channels: an activation or a pool."""

    conv: SkewOrthogonalConv
    pairs: nn.Module

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return self.pairs(self.conv(x, train))


class LipConvNet(nn.Module):
    r"""LipConvNet-(s S): S stages of s layers each, provably Lipschitz in the image.

    An initial layer brings the image to `width` channels. Each stage but the last has
    s - 1 convolutions of stride 1 and one of stride 2 whose pooling halves its
    channels, so that a stage halves the sides and doubles the channels. The last stage
    has k = 1: a convolution of stride 2, then s - 1 of stride 1; its last layer is
    pooled unless the head is the curvature head. The published networks have five
    stages: LipConvNet-5 to -40 are `layers_per_stage` = 1 to 8.

    Attributes:
      image_shape: (height, width, channels) of the images.
      num_classes: C.
      stages: S; 2^S divides both sides.
      layers_per_stage: s.
      width: channels after the initial layer, even.
      kernel_size: k of all stages but the last, odd.
      activation: "maxmin", "householder" or "householder2".
      pooling: "max" or "projection".
      head: "orthogonal", "normalized" or "curvature".
      hidden: hidden units of the curvature head.
      mean: per channel, subtracted from pixels in [0, 1].
      std: per channel, divides them.
      exp: how the exponential is approximated; the same in all layers.
      dtype: of the computation, float32 if None; parameters are in `param_dtype`, and
        the curvature head computes in it.
      param_dtype: of the parameters.

    Methods: `__call__(x, train=False)` gives logits [n, C] of images [n, h, w, c] in
    [0, 1]; `features(x, train=False)` what the head sees, [n, D]; `predict(x,
    constants)` classes and signed radii in feature space, see `predict_with_radius`.

    Raises:
      ValueError: naming the attribute that does not fit.

    Guarantee: `features` is Lipschitz with constant `lipjax.lipschitz_bound` in l2, in
    exact arithmetic.

    References: Singla & Feizi, ICML 2021 (architecture); NeurIPS 2022 (curvature head,
    projection pooling).

    Example:
      >>> model = LipConvNet((8, 8, 1), 10, stages=3, width=4, mean=(0.3,), std=(0.4,))
      >>> x = jnp.zeros((2, 8, 8, 1))
      >>> variables = model.init(jax.random.key(0), x)
      >>> model.apply(variables, x).shape
      (2, 10)
    """

    image_shape: tuple[int, int, int] = (32, 32, 3)
    num_classes: int = 10
    stages: int = 5
    layers_per_stage: int = 1
    width: int = 32
    kernel_size: int = 3
    activation: str = "maxmin"
    pooling: str = "max"
    head: str = "normalized"
    hidden: int = 4096
    mean: tuple[float, ...] = (0.4914, 0.4822, 0.4465)
    std: tuple[float, ...] = (0.2507, 0.2507, 0.2507)
    exp: ExpApproximation = ExpApproximation()
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        _check(self)
        super().__post_init__()

    def setup(self) -> None:
        for name, conv, pairs in self.plan():
            setattr(self, name, Block(conv, pairs))
        self.classifier = self._head()

    def block_names(self) -> list[str]:
        """Names of the trunk's blocks, first to last, as in the parameters."""
        return [name for name, _, _ in self.plan()]

    def features(self, x: jax.Array, train: bool = False) -> jax.Array:
        """What the head sees of images in [0, 1]: [n, h, w, c] -> [n, D]."""
        if x.shape[1:] != self.image_shape:
            raise ValueError(f"images {x.shape[1:]} where {self.image_shape} are due")
        mean, std = (
            jnp.asarray(v, self.param_dtype).reshape(1, 1, 1, -1)
            for v in (self.mean, self.std)
        )
        x = (x - mean) / std
        for name in self.block_names():
            x = getattr(self, name)(x, train)
        return x.reshape(len(x), -1)

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return self.classifier(self.features(x, train), train)

    def predict(self, x: jax.Array, constants: jax.Array):
        """Predicted classes [n], and their signed radii in feature space [n, C]."""
        features = self.features(x)
        classes = jnp.argmax(self.classifier(features), axis=1)
        return classes, self.classifier.pair_radii(features, classes, constants)

    def pair_constants(self) -> jax.Array:
        """What the head's certificate needs of each pair of classes, [C, C]."""
        return self.classifier.pair_constants()

    def pair_estimates(self) -> jax.Array:
        """A cheap estimate of `pair_constants`, to watch a training run with."""
        return self.classifier.pair_estimates()

    def logits_and_penalty(self, x: jax.Array, labels: jax.Array):
        """Training logits, and the curvature penalty (0 for the linear heads)."""
        logits = self(x, train=True)
        if isinstance(self.classifier, CurvatureHead):
            return logits, self.classifier.penalty(logits, labels)
        return logits, jnp.zeros((), logits.dtype)

    def plan(self) -> Iterator[tuple[str, SkewOrthogonalConv, nn.Module]]:
        """Name, convolution and pair module of every block, first to last."""
        yield "initial", self._conv(self.width), self._pairs()
        channels, depth = self.width, self.layers_per_stage
        for stage in range(1, self.stages):
            for layer in range(1, depth):
                yield f"stage{stage}_layer{layer}", self._conv(channels), self._pairs()
            name = f"stage{stage}_layer{depth}"
            yield name, self._conv(4 * channels, stride=2), self._pool()
            channels *= 2
        channels *= 4
        for layer in range(1, depth + 1):
            conv = self._conv(channels, stride=2 if layer == 1 else 1, kernel_size=1)
            pooled = layer == depth and self.head != "curvature"
            pairs = self._pool() if pooled else self._pairs()
            yield f"stage{self.stages}_layer{layer}", conv, pairs

    def _conv(self, features: int, stride: int = 1, kernel_size: int | None = None):
        return SkewOrthogonalConv(
            features,
            kernel_size=kernel_size or self.kernel_size,
            stride=stride,
            exp=self.exp,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            parent=None,
        )

    def _pairs(self) -> nn.Module:
        return _with_dtype(ACTIVATIONS[self.activation], self.param_dtype)

    def _pool(self) -> nn.Module:
        return _with_dtype(POOLINGS[self.pooling], self.param_dtype)

    def _head(self) -> Head:
        sides = self.image_shape[0] * self.image_shape[1] // 4**self.stages
        pooled = 1 if self.head == "curvature" else 2
        size = sides * self.width * 2 ** (self.stages + 1) // pooled
        settings = {"param_dtype": self.param_dtype}
        if self.head == "curvature":
            return CurvatureHead(size, self.num_classes, self.hidden, **settings)
        settings["dtype"] = self.dtype
        if self.head == "normalized":
            return NormalizedHead(size, self.num_classes, **settings)
        return OrthogonalHead(size, self.num_classes, self.exp, **settings)


def _with_dtype(module: type[nn.Module], param_dtype: Any) -> nn.Module:
    fields = module.__dataclass_fields__
    settings = {"param_dtype": param_dtype} if "param_dtype" in fields else {}
    return module(**settings, parent=None)


def _check(model: LipConvNet) -> None:
    """Raises a ValueError that names what does not fit."""
    height, width, channels = model.image_shape
    for sizes in ("stages", "layers_per_stage", "width", "num_classes", "hidden"):
        if getattr(model, sizes) < 1:
            raise ValueError(f"{sizes} must be at least 1: {getattr(model, sizes)}")
    if height % 2**model.stages or width % 2**model.stages:
        raise ValueError(
            f"stages={model.stages} needs sides that 2^{model.stages} divides, "
            f"not {height}x{width}"
        )
    if model.width % 2 or model.kernel_size % 2 == 0:
        raise ValueError(
            f"width must be even and kernel_size odd: "
            f"{model.width}, {model.kernel_size}"
        )
    if len(model.mean) != channels or len(model.std) != channels:
        raise ValueError(
            f"mean and std need {channels} entries, one per channel of the image: "
            f"{model.mean}, {model.std}"
        )
    if min(model.std) <= 0:
        raise ValueError(f"std must be positive: {model.std}")
    for field, known in (
        ("activation", tuple(ACTIVATIONS)),
        ("pooling", tuple(POOLINGS)),
        ("head", HEADS),
    ):
        if getattr(model, field) not in known:
            raise ValueError(
                f"unknown {field} {getattr(model, field)!r}: choose from {known}"
            )
