"""Heads: features to logits, and signed radii in feature space against every class.

Each has `constants()`, the constants of each pair of classes, [C, C], and
`radii(features, logits, classes, constants)`, [n, C], infinite for the class itself.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .exponential import ExpApproximation
from .soc import SkewOrthogonalConv

SOFTPLUS_CURVATURE = 0.25  # the largest second derivative of softplus
RUNNERS_UP = 9


class OrthogonalHead(nn.Module):
    """A 1x1 SOC: r = (l_y - l_t) / sqrt 2."""

    def __init__(self, features: int, classes: int, exp: ExpApproximation) -> None:
        super().__init__()
        self.ortho = SkewOrthogonalConv(features, classes, 1, exp=exp)

    def forward(self, features: Tensor) -> Tensor:
        return self.ortho(features[:, :, None, None])[:, :, 0, 0]

    def constants(self) -> Tensor:
        weight = self.ortho.weight
        same = torch.eye(self.ortho.c_out, dtype=weight.dtype, device=weight.device)
        return torch.sqrt(2 * (1 - same))

    def radii(self, features, logits, classes, constants) -> Tensor:
        return linear_radii(logits, classes, constants)


class NormalizedHead(nn.Module):
    """Last-layer normalisation, rows w_i / ||w_i||: r = (l_y - l_t) / ||w_y - w_t||.

    References: Singla, Singla & Feizi, ICLR 2022, section 4.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        linear = nn.Linear(features, classes)
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(features, F.normalize(self.weight, dim=1), self.bias)

    def constants(self) -> Tensor:
        rows = F.normalize(self.weight, dim=1)
        return (rows[:, None] - rows[None]).norm(dim=-1)

    def radii(self, features, logits, classes, constants) -> Tensor:
        return linear_radii(logits, classes, constants)


class CurvatureHead(nn.Module):
    """h(z) = W2 softplus(W1 z + b1) + b2, certified by its curvature.

    It computes in the dtype of its parameters, under autocast too. A forward pass in
    training takes a step of the power iteration for W1. The penalty starts from the
    iterated vector.

    References: Singla & Feizi, NeurIPS 2022, section 5.
    """

    def __init__(self, features: int, classes: int, hidden: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(features, hidden)
        self.linear2 = nn.Linear(hidden, classes)
        self.register_buffer("_u", F.normalize(torch.randn(features), dim=0))
        self.register_buffer("_v", F.normalize(torch.randn(hidden), dim=0))
        self.refresh(50)

    def forward(self, features: Tensor) -> Tensor:
        if self.training:
            self.refresh(1)
        with torch.autocast(features.device.type, enabled=False):
            features = features.to(self.linear1.weight.dtype)
            return self.linear2(F.softplus(self.linear1(features)))

    @torch.no_grad()
    def refresh(self, steps: int) -> None:
        """Takes steps of the power iteration."""
        u, v, weight = self.get_buffer("_u"), self.get_buffer("_v"), self.linear1.weight
        with torch.autocast(weight.device.type, enabled=False):
            for _ in range(steps):
                v.copy_(F.normalize(weight @ u, dim=0))
                u.copy_(F.normalize(weight.T @ v, dim=0))

    def penalty(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean estimated curvature max(m, M) against the runner-up classes."""
        n, classes = logits.shape
        ranked = logits.detach().scatter(1, labels[:, None], -torch.inf)
        runners = ranked.topk(min(RUNNERS_UP, classes - 1)).indices
        if classes * (classes - 1) <= 2 * runners.numel():  # fewer pairs than samples
            every = torch.arange(classes, device=labels.device)
            table = self.curvatures(every[:, None], every[None])
            return torch.maximum(table, table.T)[labels[:, None], runners].mean()
        first, second = torch.broadcast_tensors(labels[:, None], runners)
        m, big_m = self.curvatures(first, second), self.curvatures(second, first)
        return torch.maximum(m, big_m).mean()

    def curvatures(self, first: Tensor, second: Tensor, steps: int = 2) -> Tensor:
        """Estimates from below of the curvature m of h_first - h_second."""
        first, second = torch.broadcast_tensors(first, second)
        with torch.autocast(first.device.type, enabled=False):
            w1, w2 = self.linear1.weight, self.linear2.weight
            scales = F.relu(w2[second.flatten()] - w2[first.flatten()])
            v = self._power_iteration(scales, steps)
            hidden = F.linear(v, w1)
            curvature = SOFTPLUS_CURVATURE * (scales * hidden**2).sum(dim=1)
        return curvature.view(first.shape)

    @torch.no_grad()
    def _power_iteration(self, scales: Tensor, steps: int) -> Tensor:
        w1, v = self.linear1.weight, self.get_buffer("_u").expand(len(scales), -1)
        for _ in range(steps):
            v = F.normalize((F.linear(v, w1) * scales) @ w1, dim=1)
        return v

    def constants(self) -> Tensor:
        """The global curvature bound sigma_1(W1)^2 max|d| / 4 of every pair."""
        w1, w2 = self.linear1.weight, self.linear2.weight
        largest = F.relu(w2[None] - w2[:, None]).amax(dim=-1)
        return SOFTPLUS_CURVATURE * torch.linalg.matrix_norm(w1, ord=2) ** 2 * largest

    def radii(self, features, logits, classes, constants) -> Tensor:
        """Closed form 2 g / (||grad g|| + sqrt(||grad g||^2 + 2 m g))."""
        gaps = margins(logits, classes)
        slopes = self._slopes(features, classes)
        roots = torch.sqrt(slopes**2 + 2 * constants[classes] * gaps.clamp_min(0))
        return without_own_class(2 * gaps / (slopes + roots), classes)

    def _slopes(self, features: Tensor, classes: Tensor) -> Tensor:
        """Norms of the gradients of all margins, [n, C]."""
        w1, w2 = self.linear1.weight, self.linear2.weight
        features = features.to(w1.dtype)
        slope = torch.sigmoid(self.linear1(features))
        apart = w2[classes][:, None] - w2[None]
        return ((apart * slope[:, None]) @ w1).norm(dim=-1)


def linear_radii(logits: Tensor, classes: Tensor, distances: Tensor) -> Tensor:
    """(l_y - l_t) / ||w_y - w_t||, infinite for t = y."""
    gaps = margins(logits, classes)
    return without_own_class(gaps / distances[classes], classes)


def margins(logits: Tensor, classes: Tensor) -> Tensor:
    """Differences l_y - l_t, [n, C]."""
    return logits.gather(1, classes[:, None]) - logits


def without_own_class(radii: Tensor, classes: Tensor) -> Tensor:
    """The radii with infinity in the column of the image's own class."""
    return radii.scatter(1, classes[:, None], torch.inf)
