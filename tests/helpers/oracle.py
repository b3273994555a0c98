"""The oracle: exact networks, evaluated in interval arithmetic of 400 bits.

It implements docs/guarantees.md from the definitions, for small networks. Numbers are
balls (Arb's), which contain the true ones. Near the border of two maps both are
evaluated, and the ball holds both values.
"""

import functools
import math

import numpy as np
from flint import arb, arb_mat, ctx

from lipjax.certify import Activation, Convolution, Flatten, SkewConvolution
from lipjax.certify.network import Linear

BITS = 400
ZERO = arb(0)


def exactly(function):
    """Evaluates a function with many bits."""

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        with ctx.workprec(BITS):
            return function(*args, **kwargs)

    return wrapped


def balls(numbers):
    """An array of balls, each a float64 number, subnormal ones as well."""
    flat = [arb(v) for v in np.asarray(numbers, np.float64).ravel().tolist()]
    result = np.empty(len(flat), object)
    result[:] = flat
    return result.reshape(np.shape(numbers))


def norm(vector):
    """The Euclidean norm of all entries."""
    return _root(sum((v * v for v in np.ravel(vector)), ZERO))


def _root(square):
    root = square.sqrt()
    # Of a ball that reaches below 0: between 0 and the root of its upper end.
    return root if root.is_finite() else square.abs_upper().sqrt().union(ZERO)


@exactly
def ratio(size, bound):
    """The largest size / bound, a float; infinite where that is not known."""
    if size.is_zero():
        return 0.0
    value = float((size / bound).abs_upper())
    return math.inf if math.isnan(value) else value


@exactly
def normalized(network, x):
    mean, std = balls(network.mean), balls(network.std)
    return (balls(x) - mean) / std


@exactly
def features(network, x):
    """The features [n, D] of images [n, h, w, c] of float64 numbers."""
    z = normalized(network, x)
    for layer in network.layers:
        z = applied(layer, z)
    return z.reshape(len(z), -1)


@exactly
def logits(head, points):
    """The logits [n, C] of features [n, D], balls or float64 numbers."""
    points = points if points.dtype == object else balls(points)
    if isinstance(head, Linear):
        return points @ balls(head.kernel) + balls(head.bias)
    hidden = points @ balls(head.hidden_kernel) + balls(head.hidden_bias)
    soft = np.vectorize(_softplus, otypes=[object])(hidden)
    return soft @ balls(head.output_kernel) + balls(head.output_bias)


def _softplus(z):
    return z.max(ZERO) + (-abs(z)).exp().log1p()


@exactly
def applied(layer, z):
    """The exact output of a layer at z [n, h, w, c], balls or float64 numbers."""
    z = z if z.dtype == object else balls(z)
    if isinstance(layer, Flatten):
        return z.reshape(len(z), 1, 1, -1)
    if isinstance(layer, SkewConvolution):
        return _convolved(layer, z)
    if isinstance(layer, Convolution):
        return _plainly_convolved(layer, z)
    return _activated(layer, z)


def jacobian(kernel, height, width):
    """J of the zero-padded convolution, [h w c, h w c]: J z for a flattened z."""
    half, c = len(kernel) // 2, kernel.shape[-1]
    matrix = np.zeros((height, width, c, height, width, c))
    for p, q, r, s in np.ndindex(height, width, height, width):
        if max(abs(r - p), abs(s - q)) <= half:
            matrix[p, q, :, r, s] = kernel[half + r - p, half + s - q].T
    return matrix.reshape(height * width * c, -1)


def _blocks(z, s):
    """Space-to-depth."""
    n, h, w, c = z.shape
    z = z.reshape(n, h // s, s, w // s, s, c).transpose(0, 1, 3, 5, 2, 4)
    return z.reshape(n, h // s, w // s, -1)


def met(layer: Convolution, height, width):
    """The taps that a pixel meets, and where: (p, q, i, j, row, column)."""
    m, n = layer.kernel.shape[:2]
    for p, q, i, j in np.ndindex(height, width, m, n):
        r, s = p + i - m // 2, q + j - n // 2
        if layer.padding == "circular":
            r, s = r % height, s % width
        if 0 <= r < height and 0 <= s < width:
            yield p, q, i, j, r, s


def plain_jacobian(layer: Convolution, height, width, numbers=np.asarray):
    """J of a convolution, [h w out, h w in], its folded taps added up as `numbers`."""
    kernel = numbers(layer.kernel)
    _, _, c, out = kernel.shape
    matrix = np.full((height, width, out, height, width, c), numbers(0.0).item())
    for p, q, i, j, r, s in met(layer, height, width):
        matrix[p, q, :, r, s] = matrix[p, q, :, r, s] + kernel[i, j].T
    return matrix.reshape(height * width * out, -1)


def _plainly_convolved(layer: Convolution, z):
    z = _blocks(z, layer.stride)
    n, h, w, _ = z.shape
    product = z.reshape(n, -1) @ plain_jacobian(layer, h, w, balls).T
    return product.reshape(n, h, w, -1) + balls(layer.bias)


def _convolved(layer: SkewConvolution, z):
    width, z = layer.kernel.shape[2], _blocks(z, layer.stride)
    n, h, w, _ = z.shape
    padded = np.full((n, h, w, width), ZERO, object)
    padded[..., : z.shape[-1]] = z
    x = arb_mat(padded.reshape(n, -1).T.tolist())
    j = arb_mat(jacobian(np.asarray(layer.kernel), h, w).tolist())
    result = x * arb(layer.coefficients[-1])
    for a in layer.coefficients[-2::-1]:
        result = x * arb(a) + j * result
    result = np.array(result.tolist(), object).T.reshape(n, h, w, width)
    return result[..., : len(layer.bias)] + balls(layer.bias)


def _activated(layer: Activation, z):
    a, b = np.split(z, 2, axis=-1)
    maps = [_MAPS[layer.kind](*angles) for angles in _angles(layer, a.shape[-1])]
    outputs = [
        [maps[i % len(maps)](u, v) for i, (u, v) in enumerate(zip(*pair, strict=True))]
        for pair in zip(a.reshape(len(a), -1), b.reshape(len(b), -1), strict=True)
    ]
    parts = np.array(outputs, object).reshape(*a.shape, -1)
    return np.concatenate([parts[..., k] for k in range(parts.shape[-1])], axis=-1)


def _angles(layer, channels):
    rows = [np.asarray(angle).tolist() for angle in layer.angles]
    return list(zip(*rows, strict=True)) if rows else [()] * channels


def hull(values):
    """Balls around all of some points' coordinates."""
    return tuple(
        functools.reduce(arb.union, each) for each in zip(*values, strict=True)
    )


def _maxmin():
    return lambda a, b: (a.max(b), a.min(b))


def _max():
    return lambda a, b: (a.max(b),)


def _reflection(t):
    s, c = t.sin_cos()
    return lambda a, b: (a * c + b * s, a * s - b * c)


def _householder(theta):
    theta = arb(theta)
    (s, c), reflected = (theta / 2).sin_cos(), _reflection(theta)

    def apply(a, b):
        side = a * s - b * c
        maps = [(a, b)] if not side > 0 else []
        return hull(maps + ([reflected(a, b)] if not side <= 0 else []))

    return apply


def _clamped(theta, turns):
    """An angle, clamped to [0, turns pi] for the real pi."""
    return max(ZERO, arb(theta)).min(arb.pi() * turns)


def _projection(theta):
    if arb(theta) > arb.pi():  # the wedge is a half-plane, and has no tip
        return lambda a, b: (-a,)
    s, c = (_clamped(theta, 1) / 2).sin_cos()

    def apply(a, b):
        b = abs(b)
        side = a * c + b * s
        values = [(b * c - a * s,)] if not side < 0 else []
        return hull(values + ([(_root(a * a + b * b),)] if not side >= 0 else []))

    return apply


def _householder2(*angles):
    t0, t1, t2 = (_clamped(theta, 2) for theta in angles)
    (s, c), (s2, c2) = (t0 / 2).sin_cos(), t2.sin_cos()
    first, last = _reflection(t0 + t1), _reflection(t0)
    ends = [t1 / 2, (t1 + t2) / 2, arb.pi() + t2 / 2]
    maps = [
        lambda a, b: (a, b),
        first,
        lambda a, b: (a * c2 + b * s2, b * c2 - a * s2),
        last,
    ]

    def apply(a, b):
        angles = _turns(a * c + b * s, b * c - a * s)
        chosen = {k for phi in angles for k in _sectors(phi, ends)}
        return hull([maps[k](a, b) for k in sorted(chosen)])

    return apply


def _turns(a, b):
    """The angles in [0, 2 pi) that a point may have: atan2 away from its cut."""
    if not a > 0:
        return [arb.pi() + arb.atan2(-b, -a)]
    angle = arb.atan2(b, a)
    below = [] if angle >= 0 else [angle + 2 * arb.pi()]
    return below if angle < 0 else [angle, *below]


def _sectors(phi, ends):
    """All sectors that the angle may lie in: the first k with phi < ends[k]."""
    for k, end in enumerate(ends):
        if not phi >= end:
            yield k
        if phi < end:
            return
    yield len(ends)


_MAPS = {
    "maxmin": _maxmin,
    "max": _max,
    "householder": _householder,
    "projection": _projection,
    "householder2": _householder2,
}
