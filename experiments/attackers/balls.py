"""Certified balls as attackers see them, and the judge of every point they try."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lipjax.verify import features_of, head_of

from .execution import Execution

EPSILON = 2.0**-4
"""Radius of every ball in the attackers' coordinates."""
INSIDE = 0.999
"""Attacks inside the balls stay within this share of the radius."""


class Target(NamedTuple):
    """A certified network and some of its images.

    Attributes:
      name: of the network.
      model: as `lipjax.verify.read_model` reads it.
      execution: of the model, in PyTorch.
      indices: of the images among the certified ones, [n].
      images: float64 in [0, 1], [n, h, w, c].
      labels: the certified predictions, [n].
      radius: the certified radii, all positive, [n].
    """

    name: str
    model: Any
    execution: Execution
    indices: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    radius: np.ndarray


class Success(NamedTuple):
    """A point inside a certified ball that changes the prediction.

    Attributes:
      image: its index.
      point: float64, [h, w, c].
      radius: certified.
    """

    image: int
    point: np.ndarray
    radius: float


class Balls(nn.Module):
    """A network in coordinates in which all images' balls have the radius `EPSILON`.

    Most attacks know one radius for a batch. Here image i has a center u_i of its own
    in [1/4, 3/4]^(c×h×w), and a point u stands for the pixels

    .. math:: x_i + (r_i / ε) (u - u_i),  i the image with the center nearest to u

    This is a similarity around each center, and boxes [0, 1] do not bind within three
    radii. Every point that an attack tries is judged: inside a ball it must not change
    the prediction.

    Args:
      target: the network and the images.
      factor: success is counted within this many radii. If it is below 1, points beyond
        the balls are also moved to that share of the radius, and judged there.
      seed: of the centers.

    Attributes:
      centers: [n, c, h, w].
      queries: points tried so far.
      points: those judged inside a ball, the images themselves not counted.
      broken: whether each image's prediction was changed within `factor` radii.
      successes: inside a ball: there must be none.
    """

    def __init__(self, target: Target, factor: float, seed: int = 0) -> None:
        super().__init__()
        self.target, self.factor = target, factor
        self.images = torch.tensor(target.images)
        self.labels, self.radius = map(torch.tensor, (target.labels, target.radius))
        count, h, w, c = self.images.shape
        draw = np.random.default_rng(seed).uniform(0.25, 0.75, (count, c, h, w))
        self.centers = torch.tensor(draw)
        self.queries = self.points = 0
        self.broken = np.zeros(count, bool)
        self.successes: list[Success] = []
        apart = torch.pdist(self.centers.flatten(1))
        if len(apart) and apart.min() < 8 * EPSILON:
            raise ValueError("too few pixels to tell the balls of many images apart")

    def forward(self, u: Tensor) -> Tensor:
        """Logits [n, C] of points [n, c, h, w]."""
        u = u.double()
        with torch.no_grad():
            which = torch.cdist(u.flatten(1), self.centers.flatten(1)).argmin(dim=1)
        moved = (u - self.centers[which]).permute(0, 2, 3, 1)
        scale = (self.radius[which] / EPSILON)[:, None, None, None]
        points = self.images[which] + scale * moved
        logits = self.target.execution(points)
        with torch.no_grad():
            self.queries += len(u)
            distance = self.judge(which, points.detach(), logits.detach())
            beyond = distance >= self.radius[which]
            if self.factor < 1 and beyond.any():
                self.judge_inside(which[beyond], points[beyond].detach())
        return logits

    def judge_inside(self, which: Tensor, points: Tensor) -> None:
        """Judges points of balls, moved to `factor` times the radius."""
        points = self.at_factor(which, points)
        self.judge(which, points, self.target.execution(points))

    def at_factor(self, which: Tensor, points: Tensor) -> Tensor:
        """The points, moved towards their images to at most `factor` radii."""
        delta = points - self.images[which]
        scale = self.factor * self.radius[which] / lengths(delta)
        return self.images[which] + scale.clamp(max=1)[:, None, None, None] * delta

    def judge(self, which: Tensor, points: Tensor, logits: Tensor) -> Tensor:
        """Counts points of balls, and their successes; returns the distances."""
        distance, radius = lengths(points - self.images[which]), self.radius[which]
        labels = self.labels[which]
        own = logits.gather(1, labels[:, None])
        others = logits.scatter(1, labels[:, None], -torch.inf)
        changed = ~(own > others).all(dim=1)  # so are ties, and NaN
        inside = distance * (1 + 1e-12) < radius
        self.points += int((inside & (distance > 0)).sum())
        near = distance <= self.factor * radius * (1 + 1e-9)
        self.broken[which[changed & near].numpy()] = True
        for row in torch.nonzero(changed & inside)[:, 0].tolist():
            i = int(which[row])
            image, r = int(self.target.indices[i]), float(self.radius[i])
            self.successes.append(Success(image, points[row].numpy().copy(), r))
        return distance

    def judge_by_numpy(self, u: Tensor) -> None:
        """Judges points once more, [n, c, h, w], executed by the checker.

        They are moved to at most `factor` radii, and not counted: attacks return points
        that they have tried.
        """
        u = u.detach().double()
        which = torch.cdist(u.flatten(1), self.centers.flatten(1)).argmin(dim=1)
        moved = (u - self.centers[which]).permute(0, 2, 3, 1)
        scale = (self.radius[which] / EPSILON)[:, None, None, None]
        points = self.at_factor(which, self.images[which] + scale * moved)
        features = features_of(self.target.model, points.numpy())
        before = self.points
        logits = torch.tensor(head_of(self.target.model, features)[0])
        self.judge(which, points, logits)
        self.points = before


def lengths(delta: Tensor) -> Tensor:
    """l2 norms [n] of [n, h, w, c]."""
    return delta.flatten(1).norm(dim=1)
