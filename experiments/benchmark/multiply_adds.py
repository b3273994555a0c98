"""Multiply-adds that the definition of a network needs.

A convolution counts the taps that meet the image, once per application of the
polynomial: d forward, d for the gradient in the input, and 1 ("fast"), 2 ("low_rank")
or d ("exact") gradients in the kernel. With the head's products that is the needed
arithmetic. Additions, activations, norms and the optimiser are not counted. A lowering
that multiplies less than the definition (Winograd's) can exceed 100% of the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lipjax import LipConvNet, ops

_LINEAR = ("kernel", "hidden_kernel", "output_kernel")


def of_step(model: LipConvNet, params: Any) -> int:
    """Multiply-adds of a training step, per image; `params` may be shapes."""
    exp = model.exp
    degree = len(exp.coefficients) - 1
    weight_gradients = {"fast": 1, "low_rank": 2, "exact": degree}[exp.gradient]
    applications = 2 * degree + weight_gradients
    return applications * sum(_layers(model, params)) + 3 * _linear(params)


def of_evaluation(model: LipConvNet, params: Any) -> int:
    """Multiply-adds of an evaluation, per image; `params` may be shapes."""
    degree = len(model.exp.eval_coefficients) - 1
    return degree * sum(_layers(model, params)) + _linear(params)


def _layers(model: LipConvNet, params: Any) -> Iterator[int]:
    """Multiply-adds of one application of every skew convolution, per image."""
    height, width, _ = model.image_shape
    for name, conv, _ in model.plan():
        height, width = height // conv.stride, width // conv.stride
        yield convolution(height, width, params[name]["conv"]["kernel"].shape)
    if "conv" in params["classifier"]:
        yield convolution(1, 1, params["classifier"]["conv"]["kernel"].shape)


def convolution(height: int, width: int, kernel: tuple[int, ...]) -> int:
    """Multiply-adds of a stride-1 convolution of one image with zero padding.

    Example: each of the four pixels of a 2x2 image meets four of the 3x3 taps.
      >>> convolution(2, 2, (3, 3, 1, 1))
      16
    """
    rows, columns, c_in, c_out = kernel
    meetings = ops.same_taps(height, rows) * ops.same_taps(width, columns)
    return meetings * c_in * c_out


def _linear(params: Any) -> int:
    head = params["classifier"]
    return sum(head[name].size for name in _LINEAR if name in head)
