"""LipConvNet, with the parameter names of the published state dicts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .activations import (
    ChannelMaxPool,
    Householder,
    HouseholderOrder2,
    MaxMin,
    ProjectionPool,
)
from .exponential import ExpApproximation
from .heads import CurvatureHead, NormalizedHead, OrthogonalHead
from .soc import SkewOrthogonalConv

ACTIVATIONS = {
    "maxmin": MaxMin,
    "householder": Householder,
    "householder2": HouseholderOrder2,
}
POOLINGS = {"max": ChannelMaxPool, "projection": ProjectionPool}
HEADS = ("orthogonal", "normalized", "curvature")


class Block(nn.Module):
    """A convolution, then an activation or a pooling."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel_size: int,
        stride: int,
        act: type[nn.Module],
        exp: ExpApproximation,
    ) -> None:
        super().__init__()
        self.ortho = SkewOrthogonalConv(c_in, c_out, kernel_size, stride, exp)
        self.act = act(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.ortho(x))


class LipConvNet(nn.Module):
    """LipConvNet-(s S): S stages of s layers under a head with a certificate.

    Args:
      image_shape: (height, width, channels); 2^S divides the sides.
      num_classes: C.
      stages: S, 5 in the published networks.
      layers_per_stage: s.
      width: channels after the initial layer.
      kernel_size: of all stages but the last.
      activation: "maxmin", "householder" or "householder2".
      pooling: "max" or "projection".
      head: "orthogonal", "normalized" or "curvature".
      hidden: hidden units of the curvature head.
      mean: per channel, of pixels in [0, 1].
      std: per channel.
      exp: how the exponential is approximated.

    Images [n, channels, height, width] in [0, 1] give logits [n, C].
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (32, 32, 3),
        num_classes: int = 10,
        *,
        stages: int = 5,
        layers_per_stage: int = 1,
        width: int = 32,
        kernel_size: int = 3,
        activation: str = "maxmin",
        pooling: str = "max",
        head: str = "normalized",
        hidden: int = 4096,
        mean: tuple[float, ...] = (0.4914, 0.4822, 0.4465),
        std: tuple[float, ...] = (0.2507, 0.2507, 0.2507),
        exp: ExpApproximation | None = None,
    ) -> None:
        super().__init__()
        self.stages = stages
        exp = exp or ExpApproximation()
        act, pool = ACTIVATIONS[activation], POOLINGS[pooling]
        last, pooled = (act, 1) if head == "curvature" else (pool, 2)
        self.register_buffer("shift", torch.tensor(mean)[:, None, None])
        self.register_buffer("scale", torch.tensor(std)[:, None, None])
        self.init_layer = Block(image_shape[2], width, kernel_size, 1, act, exp)
        c, depth = width, layers_per_stage
        for stage in range(1, stages):
            layers = _inner_stage(c, depth, kernel_size, act, pool, exp)
            self.add_module(f"block{stage}", layers)
            c *= 2
        self.add_module(f"block{stages}", _last_stage(c, depth, act, last, exp))
        pixels = image_shape[0] * image_shape[1] // 4**stages
        size = pixels * 4 * c // pooled
        self.logits_layer = _head(head, size, num_classes, hidden, exp)

    def features(self, x: Tensor) -> Tensor:
        """The head's input [n, D], the channels of each pixel side by side."""
        x = (x - self.get_buffer("shift")) / self.get_buffer("scale")
        x = self.init_layer(x)
        for stage in range(1, self.stages + 1):
            x = self.get_submodule(f"block{stage}")(x)
        return x.permute(0, 2, 3, 1).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits_layer(self.features(x))

    def predict(self, x: Tensor, constants: Tensor) -> tuple[Tensor, Tensor]:
        """Classes [n] and radii [n], l2 in pixels of [0, 1], against all classes.

        Args:
          x: images [n, channels, height, width] in [0, 1].
          constants: of the head.
        """
        features = self.features(x)
        logits = self.logits_layer(features)
        classes = logits.argmax(dim=1)
        radii = self.logits_layer.radii(features, logits, classes, constants)
        return classes, radii.amin(dim=1) * self.get_buffer("scale").min()


def _inner_stage(c: int, depth: int, k: int, act, pool, exp: ExpApproximation):
    """Layers of stride 1, then one of stride 2, which pools."""
    layers = [Block(c, c, k, 1, act, exp) for _ in range(depth - 1)]
    return nn.Sequential(*layers, Block(c, 4 * c, k, 2, pool, exp))


def _last_stage(c: int, depth: int, act, last, exp: ExpApproximation):
    """1x1 kernels; a layer of stride 2, then layers of stride 1."""
    first, *others = [act] * (depth - 1) + [last]
    layers = [Block(4 * c, 4 * c, 1, 1, each, exp) for each in others]
    return nn.Sequential(Block(c, 4 * c, 1, 2, first, exp), *layers)


def _head(head: str, size: int, classes: int, hidden: int, exp: ExpApproximation):
    if head == "orthogonal":
        return OrthogonalHead(size, classes, exp)
    if head == "normalized":
        return NormalizedHead(size, classes)
    if head == "curvature":
        return CurvatureHead(size, classes, hidden)
    raise ValueError(f"unknown head {head!r}: choose from {HEADS}")


def compile_network(network: LipConvNet) -> None:
    """Compiles the network's `forward` and `predict` in place; takes about a minute.

    On a CPU the compiler's layout optimisation is off: it makes every image channels
    last, which is slower than no compilation. With the layouts of `soc.memory_format` a
    compiled step of width 8 takes a tenth less time than an eager one (0.24 and 0.27 s
    on one core); oneDNN's convolutions take the rest.
    """
    on_cpu = network.get_buffer("shift").device.type == "cpu"
    options: Any = {"layout_optimization": False} if on_cpu else None
    network.compile(options=options)
    network.predict = torch.compile(network.predict, options=options)
