"""Multiply-adds that the mathematics needs, and how fast the machine multiplies.

A convolution counts the taps that meet the image, once per application of the series:
d forward, d for the input's gradient, and 1 ("fast"), 2 ("low_rank") or d ("exact")
weight gradients. With the head's products that is the needed arithmetic; additions,
activations, norms and the optimiser are not counted. A lowering that multiplies less
than the definition (Winograd's) can exceed 100 % of the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from lipjax import LipConvNet, ops

WEIGHT_GRADIENTS: dict[str, Callable[[int], int]] = {
    "fast": lambda degree: 1,
    "low_rank": lambda degree: 2,
    "exact": lambda degree: degree,
}
_LINEAR = ("kernel", "hidden_kernel", "output_kernel")
_REPEATS = 5


def of_step(model: LipConvNet, params: Any) -> int:
    """Multiply-adds of a training step, per image."""
    exp = model.exp
    degree = len(exp.coefficients) - 1
    applications = 2 * degree + WEIGHT_GRADIENTS[exp.gradient](degree)
    return applications * sum(layers(model, params)) + 3 * _linear(params)


def of_evaluation(model: LipConvNet, params: Any) -> int:
    """Multiply-adds of an evaluation, per image."""
    degree = len(model.exp.eval_coefficients) - 1
    return degree * sum(layers(model, params)) + _linear(params)


def layers(model: LipConvNet, params: Any) -> Iterator[int]:
    """Multiply-adds of one application of every skew convolution, per image.

    Args:
      model: the network.
      params: its parameters, or their shapes.
    """
    height, width, _ = model.image_shape
    for name, conv, _ in model.plan():
        height, width = height // conv.stride, width // conv.stride
        yield convolution(height, width, params[name]["conv"]["kernel"].shape)
    if "conv" in params["classifier"]:
        yield convolution(1, 1, params["classifier"]["conv"]["kernel"].shape)


def convolution(height: int, width: int, kernel: tuple[int, ...]) -> int:
    """Multiply-adds of a stride-1 convolution with zero padding of one image.

    Example, 3x3 taps of which the corners of a 2x2 image meet four each:
      >>> convolution(2, 2, (3, 3, 1, 1))
      16
    """
    rows, columns, c_in, c_out = kernel
    meetings = ops.same_taps(height, rows) * ops.same_taps(width, columns)
    return meetings * c_in * c_out


def _linear(params: Any) -> int:
    head = params["classifier"]
    return sum(head[name].size for name in _LINEAR if name in head)


def best_rate(dtype: str, size: int, with_torch: bool) -> float:
    """Multiply-adds a second of the best square matrix product, by JAX or PyTorch.

    Products of float32 numbers are in full precision, as lipjax's are.
    """
    runs: list[Callable[[], object]] = [_jax_product(dtype, size)]
    if with_torch:
        from .theirs import product

        runs.append(product(dtype, size))
    return size**3 / min(_fastest(run) for run in runs)


def _jax_product(dtype: str, size: int) -> Callable[[], object]:
    matrix = jax.random.normal(jax.random.key(0), (size, size), jnp.dtype(dtype))
    product = jax.jit(lambda a: jnp.matmul(a, a, precision=jax.lax.Precision.HIGHEST))
    return lambda: jax.block_until_ready(product(matrix))


def _fastest(run: Callable[[], object]) -> float:
    run()
    seconds = []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)
