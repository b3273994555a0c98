"""Activations of (a, b), the first and the second half of the channels.

They select by `torch.where`: the backward of `torch.maximum`, which shares the gradient
at ties, takes three times as long.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class MaxMin(nn.Module):
    """(a, b) -> (max(a, b), min(a, b))."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1)
        return _where([a >= b], [(a, b)], (b, a))


class Householder(nn.Module):
    """Reflects (a, b) beyond the line at angle theta / 2, theta learned."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.full((channels // 2,), math.pi / 2))

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1)
        theta = _per_channel(self.theta, x)
        keep = a * torch.sin(theta / 2) - b * torch.cos(theta / 2) <= 0
        return _where([keep], [(a, b)], _reflect(a, b, theta))


class HouseholderOrder2(nn.Module):
    """Identity, reflection, rotation and reflection in sectors of learned angles.

    Angles are clamped to [0, 2 pi], since outside the map would not be continuous.

    References: Singla, Singla & Feizi, ICLR 2022, section 5.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ("theta0", "theta1", "theta2"):
            angles = torch.empty(channels // 2).uniform_(0, math.pi)
            self.register_parameter(name, nn.Parameter(angles))

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1)
        theta0, theta1, theta2 = (
            _per_channel(self.get_parameter(f"theta{n}").clamp(0, 2 * math.pi), x)
            for n in range(3)
        )
        angle = torch.atan2(b.detach(), a.detach())
        phi = torch.remainder(angle - theta0 / 2, 2 * math.pi)
        ends = (theta1 / 2, (theta1 + theta2) / 2, math.pi + theta2 / 2)
        cos, sin = torch.cos(theta2), torch.sin(theta2)
        rotation = (a * cos + b * sin, b * cos - a * sin)
        maps = [(a, b), _reflect(a, b, theta0 + theta1), rotation]
        return _where([phi < end for end in ends], maps, _reflect(a, b, theta0))


class ChannelMaxPool(nn.Module):
    """(a, b) -> max(a, b)."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1)
        return torch.where(a >= b, a, b)


class ProjectionPool(nn.Module):
    """Signed distance of (a, b) to a wedge of half-angle theta / 2, theta learned.

    References: Singla & Feizi, NeurIPS 2022, section 6.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.empty(channels // 2).uniform_(0, math.pi))

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1)
        half = _per_channel(self.theta.clamp(0, math.pi), x) / 2
        sin, cos = torch.sin(half), torch.cos(half)
        b = torch.where(b < 0, -b, b)
        beside = a * cos + b * sin >= 0
        # 1 where the root is unused: at 0 its gradient is infinite
        squared = torch.where(beside, torch.ones_like(a), a * a + b * b)
        return torch.where(beside, b * cos - a * sin, squared.sqrt())


def _per_channel(angles: Tensor, x: Tensor) -> Tensor:
    """Angles [c] in a shape and dtype that broadcast against x [n, c, h, w]."""
    return angles.to(x.dtype)[:, None, None]


def _reflect(a: Tensor, b: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    cos, sin = torch.cos(theta), torch.sin(theta)
    return a * cos + b * sin, a * sin - b * cos


def _where(conditions, choices, otherwise) -> Tensor:
    """The two halves chosen by the first condition that holds, as one tensor."""
    for condition, halves in zip(reversed(conditions), reversed(choices), strict=True):
        otherwise = tuple(
            torch.where(condition, new, old)
            for new, old in zip(halves, otherwise, strict=True)
        )
    return torch.cat(otherwise, dim=1)
