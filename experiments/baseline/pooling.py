"""Poolings of (a, b), the first and the second half of the channels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .activations import per_channel


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
        half = per_channel(self.theta.clamp(0, math.pi), x) / 2
        sin, cos = torch.sin(half), torch.cos(half)
        b = torch.where(b < 0, -b, b)
        beside = a * cos + b * sin >= 0
        # 1 where the root is unused: at 0 its gradient is infinite
        squared = torch.where(beside, torch.ones_like(a), a * a + b * b)
        return torch.where(beside, b * cos - a * sin, squared.sqrt())
