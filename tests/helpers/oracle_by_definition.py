"""The function of a model record by its definition, in NumPy or in 200 bits.

Written from docs/guarantees.md, and shares no code with the library or the checker: the
forger's judge evaluates with it what a checker has accepted.
"""

from types import SimpleNamespace
from typing import Any

import mpmath
import numpy as np

Array = np.ndarray
WIDE = mpmath.MPContext()
WIDE.prec = 200


def _elementwise(function: Any, inputs: int = 1) -> Any:
    return np.frompyfunc(function, inputs, 1)


NUMPY = SimpleNamespace(
    number=np.float64, sin=np.sin, cos=np.cos, atan2=np.arctan2, exp=np.exp,
    log1p=np.log1p, sqrt=np.sqrt,
)  # fmt: skip
EXACT = SimpleNamespace(
    number=_elementwise(WIDE.mpf), sin=_elementwise(WIDE.sin),
    cos=_elementwise(WIDE.cos), atan2=_elementwise(WIDE.atan2, 2),
    exp=_elementwise(WIDE.exp), log1p=_elementwise(WIDE.log1p),
    sqrt=_elementwise(WIDE.sqrt),
)  # fmt: skip


def where(condition: Array, x: Array, y: Array) -> Array:
    return np.where(condition.astype(bool), x, y)


def jacobian(kernel: Array, h: int, w: int, circular: bool = False) -> Array:
    """J as a dense matrix: (J z)_p is the sum of A_t^T z_(p+t)."""
    m, n, c, out = kernel.shape
    matrix = np.zeros((h, w, out, h, w, c), kernel.dtype)
    for p, q, i, j in np.ndindex(h, w, m, n):
        y, x = p + i - m // 2, q + j - n // 2
        if circular:
            y, x = y % h, x % w
        if 0 <= y < h and 0 <= x < w:
            matrix[p, q, :, y, x] += kernel[i, j].T
    return matrix.reshape(h * w * out, -1)


def blocks_of(z: Array, s: int, width: int, f: Any) -> Array:
    """Space-to-depth, and zero channels."""
    n, h, w, c = z.shape
    blocks = np.zeros((n, h // s, w // s, width)) * f.number(0.0)
    for channel, i, j in np.ndindex(c, s, s):
        blocks[..., channel * s * s + i * s + j] = z[:, i::s, j::s, channel]
    return blocks


def plain_convolution(
    z: Array, s: int, kernel: Array, bias: Array, circular: bool, f: Any
) -> Array:
    blocks = blocks_of(z, s, kernel.shape[2], f)
    n, h, w, _ = blocks.shape
    product = blocks.reshape(n, -1) @ jacobian(kernel, h, w, circular).T
    return product.reshape(n, h, w, -1) + bias


def convolution(z: Array, s: int, parts: list[Array], f: Any) -> Array:
    kernel, bias, coefficients = parts
    blocks = blocks_of(z, s, kernel.shape[2], f)
    n, h, w, _ = blocks.shape
    matrix, flat = jacobian(kernel, h, w).T, blocks.reshape(n, -1)
    result, power = 0 * flat, flat
    for a in coefficients:
        result = result + a * power
        power = power @ matrix
    return result.reshape(blocks.shape)[..., : len(bias)] + bias


def activation(kind: str, z: Array, angles: list, f: Any) -> Array:
    a, b = np.split(z, 2, axis=-1)
    if kind in ("max", "maxmin"):
        largest, least = where(a >= b, a, b), where(a >= b, b, a)
        return largest if kind == "max" else np.concatenate([largest, least], -1)

    def reflected(t: Array) -> Array:
        c, s = f.cos(t), f.sin(t)
        return np.stack([a * c + b * s, a * s - b * c])

    same = np.stack([a, b])
    if kind == "projection":
        half, b = clipped(angles[0], np.pi, f) / 2, where(b >= 0, b, -b)
        s, c = f.sin(half), f.cos(half)
        return where(a * c + b * s >= 0, b * c - a * s, f.sqrt(a * a + b * b))
    if kind == "householder":
        half = angles[0] / 2
        near = a * f.sin(half) <= b * f.cos(half)
        return np.concatenate(where(near, same, reflected(angles[0])), -1)
    t0, t1, t2 = (clipped(t, 2 * np.pi, f) for t in angles)
    turn = f.number(2 * np.pi)
    phi = (f.atan2(b, a) - t0 / 2) % turn
    c, s = f.cos(t2), f.sin(t2)
    turned = np.stack([a * c + b * s, b * c - a * s])
    far = where(phi < f.number(np.pi) + t2 / 2, turned, reflected(t0))
    far = where(phi < (t1 + t2) / 2, reflected(t0 + t1), far)
    return np.concatenate(where(phi < t1 / 2, same, far), -1)


def clipped(angle: Array, end: float, f: Any) -> Array:
    angle = where(angle > 0, angle, 0 * angle)
    return where(angle < end, angle, 0 * angle + f.number(end))


class Definition:
    """The network of a record: its header and arrays, with numbers of `f`."""

    def __init__(self, header: dict, arrays: dict[str, Array], f: Any) -> None:
        self.header, self.f = header, f
        self.arrays = {name: f.number(value) for name, value in arrays.items()}

    def logits(self, x: Array) -> Array:
        """Logits [n, C] of images [n, h, w, c], which are numbers of `f`."""
        arrays, f = self.arrays, self.f
        z = (x - arrays["mean"]) / arrays["std"]
        for i, fields in enumerate(self.header["layers"]):
            name, kind = f"layers.{i}", fields["kind"]
            if kind == "skew_convolution":
                keys = ("kernel", "bias", "coefficients")
                parts = [arrays[f"{name}.{key}"] for key in keys]
                z = convolution(z, fields["stride"], parts, f)
            elif kind.endswith("convolution"):
                keys, circular = ("kernel", "bias"), kind.startswith("circular")
                kernel, bias = (arrays[f"{name}.{key}"] for key in keys)
                z = plain_convolution(z, fields["stride"], kernel, bias, circular, f)
            elif kind == "flatten":
                z = z.reshape(len(z), 1, 1, -1)
            else:
                keys = (f"{name}.angle{j}" for j in range(3))
                z = activation(kind, z, [arrays[k] for k in keys if k in arrays], f)
        z = z.reshape(len(z), -1)
        if "head.hidden_kernel" in arrays:
            z = z @ arrays["head.hidden_kernel"] + arrays["head.hidden_bias"]
            z = where(z >= 0, z, 0 * z) + f.log1p(f.exp(where(z >= 0, -z, z)))
        return z @ arrays["head.kernel"] + arrays["head.bias"]
