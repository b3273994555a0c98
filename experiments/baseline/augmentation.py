"""Pixels from bytes, random crops and flips, on the images' own device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def to_pixels(images: Tensor, levels: int) -> Tensor:
    """Bytes [n, height, width, c] to pixels [n, c, height, width], channels last.

    Example:
      >>> to_pixels(torch.full((1, 2, 2, 3), 51, dtype=torch.uint8), 255).shape
      torch.Size([1, 3, 2, 2])
    """
    return images.permute(0, 3, 1, 2).float() / levels


def random_crop(images: Tensor, padding: int) -> Tensor:
    """Crops each image [n, c, height, width] at random, with a border of zeros."""
    n, _, height, width = images.shape
    device = images.device
    rows, columns = torch.randint(2 * padding + 1, (2, n, 1), device=device)
    rows = rows + torch.arange(height, device=device)
    columns = columns + torch.arange(width, device=device)
    padded = F.pad(images, (padding,) * 4).permute(0, 2, 3, 1)
    every = torch.arange(n, device=device)[:, None, None]
    return padded[every, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def random_flip(images: Tensor) -> Tensor:
    """Mirrors each image left to right with probability one half."""
    mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(mirrored, images.flip(3), images)
