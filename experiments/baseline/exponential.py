"""A polynomial of a skew convolution, and the fast gradient of its kernel."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Coefficients = tuple[float, ...]
GRADIENTS = ("exact", "fast")


def taylor(degree: int) -> Coefficients:
    """Coefficients 1/k! of the Taylor polynomial of exp.

    Example:
      >>> taylor(2)
      (1.0, 1.0, 0.5)
    """
    return tuple(1.0 / math.factorial(k) for k in range(degree + 1))


class ExpApproximation(NamedTuple):
    """The approximation of exp(J); the defaults are the published setting.

    Attributes:
      coefficients: a_0 ... a_d of the polynomial in training.
      eval_coefficients: of the polynomial in evaluation.
      gradient: "exact", by automatic differentiation, or "fast".
    """

    coefficients: Coefficients = taylor(5)
    eval_coefficients: Coefficients = taylor(14)
    gradient: str = "fast"


def skew_exponential(
    x: Tensor, kernel: Tensor, coefficients: Coefficients, gradient: str
) -> Tensor:
    r"""Applies the polynomial sum_k a_k J^k to x, J the convolution by `kernel`.

    Args:
      x: input of shape [n, c, height, width].
      kernel: skew kernel of shape [c, c, k, k], k odd.
      coefficients: a_0 ... a_d, d >= 1.
      gradient: in the kernel. "exact" takes d weight gradients and d saved tensors.
        "fast" replaces a_{i+j+1} by a_{i+1} a_{j+1} / a_1 in the sum of weight
        gradients between J^j x and (-J)^i g: one weight gradient, two saved tensors.

    Returns:
      Tensor shaped like `x`.

    Raises:
      ValueError: for an unknown gradient.

    References: Singla & Feizi, ICML 2021, section 3; NeurIPS 2022, section 4 ("fast").
    """
    if gradient not in GRADIENTS:
        raise ValueError(f"unknown gradient {gradient!r}: choose from {GRADIENTS}")
    if gradient == "exact":
        return _horner(x, kernel, coefficients)[0]
    y: Tensor = _FastGradient.apply(x, kernel, coefficients)
    return y


def _horner(
    x: Tensor, kernel: Tensor, coefficients: Coefficients
) -> tuple[Tensor, Tensor]:
    """The polynomial of x, and the penultimate iterate sum_k a_{k+1} J^k x."""
    inner, z = x, coefficients[-1] * x
    for a in coefficients[-2::-1]:
        inner = z
        z = convolution(inner, kernel).add_(x, alpha=a)
    return z, inner


class _FastGradient(torch.autograd.Function):
    """The polynomial, with one weight gradient between the penultimate iterates.

    With g the cotangent, p(J)^T g = p(-J) g is the polynomial with alternating signs.
    """

    @staticmethod
    def forward(ctx, x: Tensor, kernel: Tensor, coefficients: Coefficients):
        y, inner = _horner(x, kernel, coefficients)
        ctx.save_for_backward(inner, kernel)
        ctx.coefficients = coefficients
        return y

    @staticmethod
    def backward(ctx, g: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        inner, kernel = ctx.saved_tensors
        signed = tuple(a * (-1) ** k for k, a in enumerate(ctx.coefficients))
        gx, minus_dual = _horner(g, kernel, signed)
        product = weight_gradient(inner, kernel, minus_dual)
        return gx, product.mul_(-1 / ctx.coefficients[1]), None


def convolution(x: Tensor, kernel: Tensor) -> Tensor:
    """Stride 1, zero padding; for a 1x1 kernel a matrix product, which is faster."""
    if kernel.shape[-1] == 1:
        return F.linear(x.permute(0, 2, 3, 1), kernel[:, :, 0, 0]).permute(0, 3, 1, 2)
    return F.conv2d(x, kernel, padding=kernel.shape[-1] // 2)


def weight_gradient(x: Tensor, kernel: Tensor, cotangent: Tensor) -> Tensor:
    """The gradient of a convolution in its kernel alone."""
    if kernel.shape[-1] == 1:
        rows = [t.permute(0, 2, 3, 1).flatten(0, 2) for t in (cotangent, x)]
        return (rows[0].T @ rows[1])[:, :, None, None]
    padding = [kernel.shape[-1] // 2] * 2
    mask = [False, True, False]
    return torch.ops.aten.convolution_backward(
        cotangent, x, kernel, None, [1, 1], padding, [1, 1], False, [0, 0], 1, mask
    )[1]
