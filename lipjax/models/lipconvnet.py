"""LipConvNet: a trunk of orthogonal convolutions under a head with a certificate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from lipjax.models.block import (
    ACTIVATIONS,
    CONVOLUTIONS,
    POOLINGS,
    Block,
    new_module,
)
from lipjax.nn import (
    CurvatureHead,
    ExpApproximation,
    Head,
    NormalizedHead,
    OrthogonalHead,
    StridedConv,
)

HEADS = ("orthogonal", "normalized", "curvature")


class LipConvNet(nn.Module):
    r"""LipConvNet-(s S): S stages of s layers each, provably Lipschitz in the image.

    An initial layer brings the image to `width` channels. Each stage but the last has
    s - 1 convolutions of stride 1, then one of stride 2 with a pooling. The pooling
    halves the channels, so a stage halves the sides and doubles the channels. The last
    stage has k = 1: one convolution of stride 2, then s - 1 of stride 1. Its last
    layer has a pooling, unless the head is a `CurvatureHead` or `last_pooling` says
    otherwise. The published networks have five stages: LipConvNet-5 to -40 are
    `layers_per_stage` = 1 to 8.

    Beside skew-orthogonal convolutions ("soc"), which pad with zeros, there are three
    with circular padding: block convolutions ("bcop"), Cayley convolutions ("cayley")
    and block reflectors ("reflector"). On images smaller than the kernel their taps
    wrap around. A Cayley convolution of stride 2 has k // 2 taps per side, at least 1,
    as published.

    An activation, pooling or head is one of this library's, by name, or any Linen
    module. Each block gets a copy of the activation or pooling, with parameters of its
    own. Activations and poolings map [n, h, w, c] to [n, h, w, c'] and must be
    1-Lipschitz; `lipjax.nn.Head` lists the methods of a head. For certificates,
    register a new module with `lipjax.inference.exact_layer` or `exact_head`.

    Attributes:
      image_shape: (height, width, channels) of the images.
      num_classes: C.
      stages: S; 2^S divides both sides.
      layers_per_stage: s.
      width: channels after the initial layer, even.
      kernel_size: k of all stages but the last, odd.
      use_bias: whether the blocks' convolutions add a bias.
      conv: "soc", "bcop", "cayley" or "reflector".
      activation: "maxmin", "householder", "householder2" or a module.
      pooling: "max", "projection" or a module.
      head: "orthogonal", "normalized", "curvature" or a module.
      hidden: hidden units of the head named "curvature".
      last_pooling: whether the last layer has a pooling; None: unless the head is a
        `CurvatureHead`.
      mean: per channel, subtracted from pixels in [0, 1].
      std: per channel, divides them.
      exp: how "soc" and the orthogonal head approximate the exponential.
      dtype: of the computation, float32 if None; the curvature head computes in
        `param_dtype`.
      param_dtype: of the parameters.

    Methods: `__call__(x, train=False, update_stats=False)` gives logits [n, C] of
    images [n, h, w, c] in [0, 1]. `features`, with the same arguments, gives the
    head's input [n, D]. `predict(x, constants)` gives classes and signed radii in
    feature space, see `predict_with_radius`.

    State: singular vectors in "spectral", of skew-orthogonal convolutions and of the
    heads but the normalised one; without these there is no such collection. Only a
    call with `update_stats=True` changes them, by one step of the power iteration;
    "spectral" must then be mutable.

    Raises:
      ValueError: if an attribute does not fit; it names the attribute.

    Guarantee: `features` is Lipschitz with constant `lipjax.lipschitz_bound` in l2, in
    exact arithmetic.

    References: Singla & Feizi, ICML 2021 (architecture); NeurIPS 2022 (curvature head,
    projection pooling).

    Example:
      >>> model = LipConvNet((8, 8, 1), 10, stages=2, width=2, mean=(0.3,), std=(0.4,))
      >>> x = jnp.zeros((2, 8, 8, 1))
      >>> variables = jax.jit(model.init)(jax.random.key(0), x)
      >>> model.apply(variables, x).shape
      (2, 10)
    """

    image_shape: tuple[int, int, int] = (32, 32, 3)
    num_classes: int = 10
    stages: int = 5
    layers_per_stage: int = 1
    width: int = 32
    kernel_size: int = 3
    use_bias: bool = True
    conv: str = "soc"
    activation: str | nn.Module = "maxmin"
    pooling: str | nn.Module = "max"
    head: str | nn.Module = "normalized"
    hidden: int = 4096
    last_pooling: bool | None = None
    mean: tuple[float, ...] = (0.4914, 0.4822, 0.4465)
    std: tuple[float, ...] = (0.2507, 0.2507, 0.2507)
    exp: ExpApproximation = ExpApproximation()
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        _check(self)
        super().__post_init__()

    def setup(self) -> None:
        for name, conv, activation in self.plan():
            setattr(self, name, Block(conv, activation))
        self.classifier: Head = self.new_head()  # pyright: ignore

    def block_names(self) -> list[str]:
        """Names of the trunk's blocks, first to last, as in the parameters."""
        return [name for name, _, _ in self.plan()]

    def features(
        self, x: jax.Array, train: bool = False, update_stats: bool = False
    ) -> jax.Array:
        """The head's input, of images in [0, 1]: [n, h, w, c] -> [n, D]."""
        if x.shape[1:] != self.image_shape:
            raise ValueError(f"images {x.shape[1:]} where {self.image_shape} are due")
        mean, std = (
            jnp.asarray(v, self.param_dtype).reshape(1, 1, 1, -1)
            for v in (self.mean, self.std)
        )
        x = (x - mean) / std
        for name in self.block_names():
            x = getattr(self, name)(x, train, update_stats)
        return x.reshape(len(x), -1)

    def __call__(
        self, x: jax.Array, train: bool = False, update_stats: bool = False
    ) -> jax.Array:
        features = self.features(x, train, update_stats)
        return self.classifier(features, train, update_stats)

    def predict(self, x: jax.Array, constants: jax.Array):
        """Predicted classes [n], and their signed radii in feature space [n, C]."""
        features = self.features(x)
        classes = jnp.argmax(self.classifier(features), axis=1)
        return classes, self.classifier.pair_radii(features, classes, constants)

    def pair_constants(self) -> jax.Array:
        """The head's constants of each pair of classes, [C, C]."""
        return self.classifier.pair_constants()

    def pair_estimates(self) -> jax.Array:
        """A cheap estimate of `pair_constants`, to monitor training."""
        return self.classifier.pair_estimates()

    def logits_and_penalty(
        self, x: jax.Array, labels: jax.Array, update_stats: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        """Training logits, and the head's penalty (0 for linear heads)."""
        logits = self(x, True, update_stats)
        return logits, self.classifier.penalty(logits, labels)

    def plan(self) -> Iterator[tuple[str, StridedConv, nn.Module]]:
        """Name, convolution and activation or pooling of every block, in order."""
        yield "initial", self._conv(self.width), self._activation()
        channels, depth = self.width, self.layers_per_stage
        for stage in range(1, self.stages):
            for layer in range(1, depth):
                name = f"stage{stage}_layer{layer}"
                yield name, self._conv(channels), self._activation()
            name = f"stage{stage}_layer{depth}"
            yield name, self._conv(4 * channels, strides=2), self._pooling()
            channels *= 2
        channels *= 4
        for layer in range(1, depth + 1):
            conv = self._conv(channels, strides=2 if layer == 1 else 1, kernel_size=1)
            pooled = layer == depth and self.has_last_pooling
            activation = self._pooling() if pooled else self._activation()
            yield f"stage{self.stages}_layer{layer}", conv, activation

    def new_head(self) -> nn.Module:
        """A new, unbound copy of the head."""
        if isinstance(self.head, nn.Module):
            return self.head.copy(parent=None)
        settings = {"parent": None, "param_dtype": self.param_dtype}
        if self.head == "curvature":
            return CurvatureHead(self.num_classes, self.hidden, **settings)
        settings["dtype"] = self.dtype
        if self.head == "normalized":
            return NormalizedHead(self.num_classes, **settings)
        return OrthogonalHead(self.num_classes, self.exp, **settings)

    @property
    def has_last_pooling(self) -> bool:
        """Whether the last layer of the trunk has a pooling."""
        if self.last_pooling is not None:
            return self.last_pooling
        return not (self.head == "curvature" or isinstance(self.head, CurvatureHead))

    def _conv(
        self, features: int, strides: int = 1, kernel_size: int | None = None
    ) -> StridedConv:
        size = kernel_size or self.kernel_size
        if self.conv == "cayley" and strides > 1:
            size = max(1, size // 2)
        settings: dict[str, Any] = {"exp": self.exp} if self.conv == "soc" else {}
        return CONVOLUTIONS[self.conv](
            features,
            kernel_size=size,
            strides=strides,
            use_bias=self.use_bias,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            parent=None,
            **settings,
        )

    def _activation(self) -> nn.Module:
        return new_module(self.activation, ACTIVATIONS, self.param_dtype)

    def _pooling(self) -> nn.Module:
        return new_module(self.pooling, POOLINGS, self.param_dtype)


def _check(model: LipConvNet) -> None:
    """Raises a ValueError that names the attribute that does not fit."""
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
    if not all(map(math.isfinite, (*model.mean, *model.std))) or min(model.std) <= 0:
        raise ValueError(
            f"mean must be finite and std positive: {model.mean}, {model.std}"
        )
    if model.conv not in CONVOLUTIONS:
        raise ValueError(
            f"unknown conv {model.conv!r}: choose from {tuple(CONVOLUTIONS)}"
        )
    for field, known in (
        ("activation", tuple(ACTIVATIONS)),
        ("pooling", tuple(POOLINGS)),
        ("head", HEADS),
    ):
        given = getattr(model, field)
        if not isinstance(given, nn.Module) and given not in known:
            raise ValueError(
                f"unknown {field} {given!r}: choose from {known} or pass a module"
            )
