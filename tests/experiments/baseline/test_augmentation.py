"""Crops are shifts with zeros, flips are mirrors, on whole batches."""

import torch
import torch.nn.functional as F

from experiments.baseline import random_crop, random_flip, to_pixels


def test_crops_and_flips():
    torch.manual_seed(0)
    images = torch.arange(1.0, 1 + 20 * 18).reshape(20, 2, 3, 3)
    padded = F.pad(images, (1, 1, 1, 1))
    windows = [padded[:, :, i : i + 3, j : j + 3] for i in range(3) for j in range(3)]
    cropped = random_crop(images, 1)
    found = [
        [w for w in range(9) if torch.equal(windows[w][n], cropped[n])]
        for n in range(20)
    ]
    assert all(len(f) == 1 for f in found) and len({f[0] for f in found}) > 4
    flipped = random_flip(images)
    mirrored = [torch.equal(flipped[n], images[n].flip(2)) for n in range(20)]
    kept = [torch.equal(flipped[n], images[n]) for n in range(20)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 3 < sum(mirrored) < 17


def test_batches_stay_in_channels_last_order():
    x = to_pixels(torch.full((2, 4, 4, 3), 51, dtype=torch.uint8), 255)
    assert x.shape == (2, 3, 4, 4) and float(x[0, 0, 0, 0]) == torch.tensor(0.2)
    for y in (x, random_crop(x, 2), random_flip(x)):
        assert y.is_contiguous(memory_format=torch.channels_last)
