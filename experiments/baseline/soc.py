"""The skew-orthogonal convolution (SOC) and the power iteration of its scale."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .exponential import ExpApproximation, skew_exponential

STEPS_AT_CREATION = 50


class SkewOrthogonalConv(nn.Module):
    """Skew-orthogonal convolution: x -> p(J) x + b, p close to exp.

    J is the stride-1 convolution with zero padding by A = (M - M^T) / (2 sigma), where
    sigma is the smaller of two power-iteration estimates of the norms of A's unfoldings
    (the other two published unfoldings are equal to these by skew symmetry). A stride s
    is a space-to-depth. Zero padding gives c = max(s^2 c_in, c_out) channels, of which
    the first c_out are kept. A forward pass in training first takes a step of the power
    iteration.

    Args:
      c_in: channels of the input.
      c_out: channels of the output.
      kernel_size: k, odd.
      stride: s.
      exp: the polynomials of training and evaluation, and the gradient.

    References: Singla & Feizi, ICML 2021; NeurIPS 2022.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel_size: int = 3,
        stride: int = 1,
        exp: ExpApproximation | None = None,
    ) -> None:
        super().__init__()
        self.c_out, self.stride = c_out, stride
        self.exp = exp or ExpApproximation()
        c = self.channels = max(c_in * stride**2, c_out)
        shape = (c, c, kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.randn(shape) * c**-0.5)
        self.bias = nn.Parameter(torch.empty(c_out).uniform_(-(c**-0.5), c**-0.5))
        # u, v of the square unfolding; u, v of the wide one
        for n, matrix in enumerate(unfoldings(self.weight)):
            self.register_buffer(f"u{n}", _unit(torch.randn(matrix.shape[0])))
            self.register_buffer(f"v{n}", _unit(torch.randn(matrix.shape[1])))
        self.prepared: Tensor | None = None
        self.refresh(STEPS_AT_CREATION)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = F.pixel_unshuffle(x, self.stride)
        if self.channels > x.shape[1]:
            x = F.pad(x, (0, 0, 0, 0, 0, self.channels - x.shape[1]))
        kernel = self.kernel() if self.prepared is None else self.prepared
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
            x, kernel = x.to(dtype), kernel.to(dtype)
        y = self._polynomial(x, kernel)[:, : self.c_out]
        return y + self.bias.to(y.dtype)[:, None, None]

    def _polynomial(self, x: Tensor, kernel: Tensor) -> Tensor:
        exp = self.exp
        used = exp.coefficients if self.training else exp.eval_coefficients
        layout = memory_format(x)
        x, kernel = (t.contiguous(memory_format=layout) for t in (x, kernel))
        return skew_exponential(x, kernel, used, exp.gradient)

    def kernel(self) -> Tensor:
        """The skew kernel divided by its scale, [c, c, k, k]."""
        with torch.autocast(self.weight.device.type, enabled=False):
            skew = skew_kernel(self.weight)
            matrices = unfoldings(skew)
            if self.training:
                self._iterate(matrices, 1)
            return skew * self._scale(matrices).reciprocal()

    def refresh(self, steps: int) -> None:
        """Takes steps of the power iteration."""
        self._iterate(unfoldings(skew_kernel(self.weight)), steps)

    @torch.no_grad()
    def _iterate(self, matrices: tuple[Tensor, Tensor], steps: int) -> None:
        for n, matrix in enumerate(matrices):
            u, v = self._vectors(n)
            for _ in range(steps):
                u.copy_(_unit(matrix @ v))
                v.copy_(_unit(matrix.T @ u))

    def _scale(self, matrices: tuple[Tensor, Tensor]) -> Tensor:
        """The smaller estimate, 1 for a zero kernel; the vectors are held fixed."""
        every = ((m, *self._vectors(n)) for n, m in enumerate(matrices))
        # copies: the next forward changes the buffers, maybe before the backward
        square, wide = (u.clone() @ (m @ v.clone()) for m, u, v in every)
        sigma = torch.minimum(square, wide)
        return torch.where(sigma == 0, torch.ones_like(sigma), sigma)

    def _vectors(self, n: int) -> tuple[Tensor, Tensor]:
        return self.get_buffer(f"u{n}"), self.get_buffer(f"v{n}")


@contextlib.contextmanager
def prepared_kernels(network: nn.Module) -> Iterator[None]:
    """A context in which kernels are computed once: the weights must not change."""
    layers = [m for m in network.modules() if isinstance(m, SkewOrthogonalConv)]
    try:
        for layer in layers:
            layer.prepared = layer.kernel()
        yield
    finally:
        for layer in layers:
            layer.prepared = None


def skew_kernel(weight: Tensor) -> Tensor:
    """A = (M - M^T) / 2 of a kernel [c, c, k, k]; M^T is the adjoint's kernel."""
    return (weight - weight.flip(2, 3).transpose(0, 1)) / 2


def unfoldings(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """The square unfolding (out, row) x (in, column) and the wide out x (in, taps)."""
    c, _, k, _ = kernel.shape
    square = kernel.permute(0, 2, 1, 3).reshape(c * k, c * k)
    return square, kernel.reshape(c, c * k * k)


def memory_format(x: Tensor) -> torch.memory_format:
    """The layout that was measured to be faster.

    It is channels last, but channels first for images of side 2 to 7 on a CPU, which
    are up to 2.6 times as fast (measured for sides 4 and 2).
    """
    if x.device.type == "cpu" and 1 < x.shape[-1] < 8:
        return torch.contiguous_format
    return torch.channels_last


def _unit(vector: Tensor) -> Tensor:
    return F.normalize(vector, dim=0)
