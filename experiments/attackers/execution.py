"""A model record as a PyTorch module: float64, plain dot products, differentiable."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SMALL = 2048  # numbers of an image


class Execution(nn.Module):
    """An execution, in the sense of docs/guarantees.md, of a model record.

    Maps images [n, h, w, c] to logits [n, C]. Convolutions are matrix products of
    unfolded images: no library chooses Winograd's algorithm or an FFT.

    Args:
      model: as `lipjax.verify.read_model` reads it.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.mean, self.std = torch.tensor(model.mean), torch.tensor(model.std)
        self.layers = nn.ModuleList(map(_layer, model.layers))
        self.head = (Curvature if model.curved else Linear)(model)

    def forward(self, x: Tensor) -> Tensor:
        z = ((x - self.mean) / self.std).permute(0, 3, 1, 2)
        for layer in self.layers:
            z = layer(z)
        return self.head(z.permute(0, 2, 3, 1).flatten(1))


def _layer(layer: Any) -> nn.Module:
    if layer.kind == "skew_convolution":
        return SkewConvolution(layer)
    if layer.kind in ("convolution", "circular_convolution"):
        return Convolution(layer)
    return Flatten() if layer.kind == "flatten" else Activation(layer)


class Convolution(nn.Module):
    """Space-to-depth, the products of a kernel with an unfolded image, bias."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        kernel = torch.tensor(layer.kernel)  # [rows, columns, in, out]
        self.sides, self.stride = kernel.shape[:2], layer.stride
        self.kernel = kernel.flatten(0, 1).permute(2, 1, 0).flatten(1)
        self.bias = torch.tensor(layer.bias)
        self.circular = layer.kind == "circular_convolution"

    def forward(self, z: Tensor) -> Tensor:
        z = F.pixel_unshuffle(z, self.stride)
        (h, w), (m, n) = z.shape[2:], self.sides
        if self.circular:  # F.pad would wrap around at most once
            z = z[:, :, torch.arange(-(m // 2), h + m - 1 - m // 2) % h]
            z = z[..., torch.arange(-(n // 2), w + n - 1 - n // 2) % w]
        else:
            z = F.pad(z, (n // 2, n - 1 - n // 2, m // 2, m - 1 - m // 2))
        product = self.kernel @ F.unfold(z, (m, n)) + self.bias[:, None]
        return product.reshape(len(z), -1, h, w)


class SkewConvolution(nn.Module):
    """Space-to-depth, zero channels, p(J) by Horner's rule, fewer channels, bias."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.stride, self.coefficients = layer.stride, layer.coefficients.tolist()
        self.channels, self.bias = layer.size[2], torch.tensor(layer.bias)
        small = math.prod(layer.size) <= _SMALL
        self.product = Product(layer) if small else Unfolded(layer)

    def forward(self, z: Tensor) -> Tensor:
        z = F.pixel_unshuffle(z, self.stride)
        z = F.pad(z, (0, 0, 0, 0, 0, self.channels - z.shape[1]))
        result = self.coefficients[-1] * z
        for a in self.coefficients[-2::-1]:
            result = self.product(result, a, z)
        return result[:, : len(self.bias)] + self.bias[:, None, None]


class Product(nn.Module):
    """J w + a z by the dense matrix of J: faster for small images."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        h, w, c = layer.size
        basis = torch.eye(h * w * c, dtype=torch.float64).reshape(-1, c, h, w)
        self.matrix = Unfolded(layer)(basis, 0.0, basis).flatten(1)

    def forward(self, w: Tensor, a: float, z: Tensor) -> Tensor:
        flat = torch.addmm(z.flatten(1), w.flatten(1), self.matrix, beta=a)
        return flat.reshape(z.shape)


class Unfolded(nn.Module):
    """J w + a z by products of the kernel with unfolded images."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        kernel = torch.tensor(layer.kernel)  # [rows, columns, in, out]
        self.sides = kernel.shape[:2]
        self.kernel = kernel.flatten(0, 1).permute(2, 1, 0).flatten(1)

    def forward(self, w: Tensor, a: float, z: Tensor) -> Tensor:
        padding = tuple(side // 2 for side in self.sides)
        columns = F.unfold(w, self.sides, padding=padding)
        return (self.kernel @ columns).reshape(z.shape) + a * z


class Activation(nn.Module):
    """An activation or a pooling of the halves of the channels."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.kind = layer.kind
        self.angles = [torch.tensor(v)[:, None, None] for v in layer.angles]

    def forward(self, z: Tensor) -> Tensor:
        return torch.cat(_MAPS[self.kind](*z.chunk(2, dim=1), *self.angles), dim=1)


class Flatten(nn.Module):
    """The channels of all pixels become those of one pixel, row by row."""

    def forward(self, z: Tensor) -> Tensor:
        return z.permute(0, 2, 3, 1).reshape(len(z), -1, 1, 1)


class Linear(nn.Module):
    """Features times kernel, plus bias."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.kernel, self.bias = torch.tensor(model.kernel), torch.tensor(model.bias)

    def forward(self, features: Tensor) -> Tensor:
        return features @ self.kernel + self.bias


class Curvature(Linear):
    """A linear head of softplus units."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.hidden_kernel = torch.tensor(model.hidden_kernel)
        self.hidden_bias = torch.tensor(model.hidden_bias)

    def forward(self, features: Tensor) -> Tensor:
        z = features @ self.hidden_kernel + self.hidden_bias
        return super().forward(z.clamp(min=0) + torch.log1p(torch.exp(-z.abs())))


Halves = tuple[Tensor, ...]


def _maximum(a: Tensor, b: Tensor) -> Halves:
    return (torch.maximum(a, b),)


def _maxmin(a: Tensor, b: Tensor) -> Halves:
    return torch.maximum(a, b), torch.minimum(a, b)


def _reflected(a: Tensor, b: Tensor, t: Tensor) -> Halves:
    return a * t.cos() + b * t.sin(), a * t.sin() - b * t.cos()


def _householder(a: Tensor, b: Tensor, t: Tensor) -> Halves:
    keep = a * (t / 2).sin() <= b * (t / 2).cos()
    return _chosen([keep], [(a, b), _reflected(a, b, t)])


def _householder2(a: Tensor, b: Tensor, *angles: Tensor) -> Halves:
    t0, t1, t2 = (t.clamp(0, 2 * math.pi) for t in angles)
    phi = torch.atan2(b.detach(), a.detach()) - t0 / 2
    phi = torch.remainder(phi, 2 * math.pi)
    ends = t1 / 2, (t1 + t2) / 2, math.pi + t2 / 2
    rotated = a * t2.cos() + b * t2.sin(), b * t2.cos() - a * t2.sin()
    maps = [(a, b), _reflected(a, b, t0 + t1), rotated, _reflected(a, b, t0)]
    return _chosen([phi < end for end in ends], maps)


def _projection(a: Tensor, b: Tensor, t: Tensor) -> Halves:
    b, half = b.abs(), t.clamp(0, math.pi) / 2
    s, c = half.sin(), half.cos()
    beside = a * c + b * s >= 0
    # 1 where the root is unused: at 0 its gradient is infinite.
    square = torch.where(beside, torch.ones_like(a), a * a + b * b)
    return (torch.where(beside, b * c - a * s, square.sqrt()),)


def _chosen(sectors: list[Tensor], maps: list[Halves]) -> Halves:
    """The map of the first sector that holds, the last one if none does."""
    result = maps[-1]
    for sector, halves in zip(sectors[::-1], maps[-2::-1], strict=True):
        both = zip(halves, result, strict=True)
        result = tuple(torch.where(sector, new, old) for new, old in both)
    return result


_MAPS = {
    "max": _maximum,
    "maxmin": _maxmin,
    "householder": _householder,
    "householder2": _householder2,
    "projection": _projection,
}
