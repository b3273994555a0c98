"""Certified networks in any precision of NumPy, with sums taken term after term.

Rounding is measured against the execution in 80 bits. In 64 or 32 bits this is an
allowed execution whose order of summation is a bad one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lipjax.certify import (
    Activation,
    Convolution,
    Flatten,
    Linear,
    Network,
    SkewConvolution,
)
from lipjax.certify.layers import Layer

EXTENDED = np.longdouble


def has_extended() -> bool:
    """Whether this CPU has 80-bit numbers."""
    return np.finfo(EXTENDED).nmant >= 63


def execute(
    network: Network, x: np.ndarray, dtype: Any = EXTENDED
) -> tuple[np.ndarray, np.ndarray]:
    """Features [n, D] and logits [n, C] of images [n, h, w, c], all in `dtype`."""
    x, mean, std = (np.asarray(v, dtype) for v in (x, network.mean, network.std))
    z = (x - mean) / std
    for layer in network.layers:
        z = apply(layer, z, dtype)
    features = z.reshape(len(z), -1)
    head = network.head
    if isinstance(head, Linear):
        return features, _product(features, head.kernel, dtype) + _as(head.bias, dtype)
    w1, b1, w2, b2 = (_as(w, dtype) for w in head)
    t = _product(features, w1, dtype) + b1
    softplus = np.maximum(t, 0) + np.log1p(np.exp(-np.abs(t)))
    return features, _product(softplus, w2, dtype) + b2


def _as(values, dtype):
    return np.asarray(values).astype(dtype)


def _product(x, matrix, dtype):
    """x [..., n] times a matrix [n, m], in sequence over n."""
    matrix = _as(matrix, dtype)
    total = np.zeros((*x.shape[:-1], matrix.shape[1]), dtype)
    for i, row in enumerate(matrix):
        total += x[..., i, None] * row
    return total


def apply(layer: Layer, z: np.ndarray, dtype: Any = EXTENDED) -> np.ndarray:
    """One layer's output."""
    z = z.astype(dtype)
    if isinstance(layer, Flatten):
        return z.reshape(len(z), 1, 1, -1)
    if isinstance(layer, Activation):
        return _pairs(layer, z, dtype)
    assert isinstance(layer, (Convolution, SkewConvolution))
    n, height, width, channels = z.shape
    s = layer.stride
    z = z.reshape(n, height // s, s, width // s, s, channels)
    z = z.transpose(0, 1, 3, 5, 2, 4).reshape(n, height // s, width // s, -1)
    if isinstance(layer, Convolution):
        z = _convolution(z, np.asarray(layer.kernel), dtype, layer.padding)
        return z + _as(layer.bias, dtype)
    missing = layer.kernel.shape[2] - z.shape[-1]
    x = np.pad(z, ((0, 0), (0, 0), (0, 0), (0, missing)))
    kernel, a = np.asarray(layer.kernel), _as(layer.coefficients, dtype)
    z = a[-1] * x
    for coefficient in a[-2::-1]:
        z = coefficient * x + _convolution(z, kernel, dtype)
    return z[..., : len(layer.bias)] + _as(layer.bias, dtype)


def _convolution(x, kernel, dtype, padding="zero"):
    rows, columns = kernel.shape[:2]
    height, width = x.shape[1:3]
    margins = [(k // 2, k - 1 - k // 2) for k in (rows, columns)]
    mode = "wrap" if padding == "circular" else "constant"
    padded = np.pad(x, [(0, 0), *margins, (0, 0)], mode)
    views = [
        padded[:, i : i + height, j : j + width] for i, j in np.ndindex(rows, columns)
    ]
    return _product(
        np.concatenate(views, -1), kernel.reshape(-1, kernel.shape[-1]), dtype
    )


def _pairs(layer, z, dtype):
    a, b = np.split(z, 2, axis=-1)
    angles = [_as(angle, dtype) for angle in layer.angles]
    pi = dtype("3.14159265358979323846264338327950288")
    if layer.kind == "maxmin":
        return np.concatenate([np.maximum(a, b), np.minimum(a, b)], -1)
    if layer.kind == "max":
        return np.maximum(a, b)
    if layer.kind == "projection":
        half = np.clip(angles[0], 0, pi) / 2
        sin, cos, b = np.sin(half), np.cos(half), np.abs(b)
        return np.where(a * cos + b * sin >= 0, b * cos - a * sin, np.hypot(a, b))
    if layer.kind == "householder":
        (t,) = angles
        sectors = [a * np.sin(t / 2) <= b * np.cos(t / 2)]
        maps, last = [(a, b)], _reflect(a, b, t)
    else:
        t0, t1, t2 = (np.clip(angle, 0, 2 * pi) for angle in angles)
        phi = np.mod(np.arctan2(b, a) - t0 / 2, 2 * pi)
        turned = (a * np.cos(t2) + b * np.sin(t2), b * np.cos(t2) - a * np.sin(t2))
        sectors = [phi < t1 / 2, phi < (t1 + t2) / 2, phi < pi + t2 / 2]
        maps, last = [(a, b), _reflect(a, b, t0 + t1), turned], _reflect(a, b, t0)
    chosen = [np.select(sectors, [m[i] for m in maps], last[i]) for i in (0, 1)]
    return np.concatenate(chosen, -1)


def _reflect(a, b, t):
    return a * np.cos(t) + b * np.sin(t), a * np.sin(t) - b * np.cos(t)
