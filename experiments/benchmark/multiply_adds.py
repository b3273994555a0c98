"""Multiply-adds that the definition of a network needs.

A skew convolution counts the taps that meet the image, once per application of the
polynomial: d forward, d for the gradient in the input, and 1 ("fast"), 2 ("low_rank")
or d ("exact") gradients in the kernel. With the head's products that is the needed
arithmetic. The other convolutions count once forward and twice backward: block
convolutions their taps, those in the frequency domain the products of complex numbers
with their matrices, but neither transforms nor inverses. Additions, activations, norms
and the optimiser are not counted. A lowering
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
    return _trunk(model, params, applications, 3) + 3 * _linear(params)


def of_evaluation(model: LipConvNet, params: Any) -> int:
    """Multiply-adds of an evaluation, per image; `params` may be shapes."""
    degree = len(model.exp.eval_coefficients) - 1
    return _trunk(model, params, degree, 1) + _linear(params)


def _trunk(model: LipConvNet, params: Any, skew: int, other: int) -> int:
    """Multiply-adds of all convolutions, of so many applications each, per image."""
    each = skew if model.conv == "soc" else other
    head = params["classifier"].get("conv")
    of_head = convolution(1, 1, head["kernel"].shape) if head else 0
    return each * sum(_layers(model, params)) + skew * of_head


def _layers(model: LipConvNet, params: Any) -> Iterator[int]:
    """Multiply-adds of one application of every convolution, per image."""
    height, width, _ = model.image_shape
    for name, conv, _ in model.plan():
        height, width = height // conv.stride, width // conv.stride
        params_of = params[name]["conv"]
        if model.conv == "soc":
            yield convolution(height, width, params_of["kernel"].shape)
        elif model.conv == "bcop":
            taps, c_in, c_out = conv.size**2, *params_of["matrices"].shape[1:]
            yield height * width * taps * c_in * c_out
        else:
            *_, c, r = params_of["kernel"].shape
            products = 2 if model.conv == "reflector" else 1
            yield products * 4 * height * (width // 2 + 1) * c * r


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
