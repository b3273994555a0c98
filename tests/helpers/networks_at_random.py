"""Small random networks at all scales, for the oracle, and mutations of them."""

import dataclasses
import math

import numpy as np

from lipjax import ops
from lipjax.certify import (
    Activation,
    Convolution,
    Flatten,
    Linear,
    Network,
    SkewConvolution,
)
from lipjax.ops import CurvatureWeights

SHAPES = [
    *[(1, 1, 2)] * 14, *[(1, 1, 4)] * 2, (1, 1, 1), (1, 2, 2), (2, 1, 2), (2, 2, 1),
    (2, 2, 2),
]  # fmt: skip
ANGLES = {"maxmin": 0, "max": 0, "householder": 1, "projection": 1, "householder2": 3}
BORDERS = [0.0, -1.0, 5e-324, math.pi / 2, math.pi, math.nextafter(math.pi, 4)]
BORDERS += [2 * math.pi, math.nextafter(2 * math.pi, 9), 7.0, 2.0**200, 1e-160]
# Exponents of two, and how often they are drawn.
RANGES, OFTEN = [0, 3, 40, 300, 1000], [0.5, 0.2, 0.15, 0.1, 0.05]


def scale(rng):
    """A power of two, log-uniform in one of several ranges."""
    return 2.0 ** rng.integers(-(top := rng.choice(RANGES, p=OFTEN)), top + 1)


def numbers(rng, *shape):
    """Normal numbers, small integers (ties) or equal ones."""
    with np.errstate(all="ignore"):
        kind = rng.random()
        if kind < 0.5:
            return rng.normal(size=shape)
        if kind < 0.8:
            return rng.integers(-2, 3, shape).astype(float)
        return np.full(shape, rng.normal())


def skew(kernel):
    return kernel - kernel[::-1, ::-1].swapaxes(2, 3)


def kernel(rng, c, height, width):
    """A skew kernel; of 1x1 images' channels, often rotations of pairs."""
    k = 1 if height == width == 1 and rng.random() < 0.9 else 3
    a = np.zeros((k, k, c, c))
    if c % 2 == 0 and rng.random() < 0.5:
        half = np.arange(c // 2)
        a[k // 2, k // 2, half, half + c // 2] = 1.0
    else:
        a = numbers(rng, k, k, c, c) / c
    with np.errstate(all="ignore"):
        return skew(a) * scale(rng)


def coefficients(rng):
    """Of p: published series, powers, random ones; seldom of a high degree."""
    degree = int(rng.choice([0, 1, 2, 3, 5, 8], p=[0.35, 0.3, 0.2, 0.12, 0.02, 0.01]))
    kind = rng.random()
    if rng.random() < 0.003:
        degree, kind = int(rng.integers(9, 50)), 0.5  # a power: quick to prove
    if kind < 0.3 and degree:
        found = ops.taylor(degree)
    elif kind < 0.4 and degree > 1:
        found = ops.chebyshev(degree, float(rng.uniform(0.5, 3)))
    elif kind < 0.6:
        found = (0.0,) * degree + (1.0,)
    else:
        found = tuple(numbers(rng, degree + 1).tolist())
    size = float(scale(rng))
    return tuple(float(a) * size for a in found)


def angles(rng, kind, channels):
    result = []
    for _ in range(ANGLES[kind]):
        angle = rng.uniform(0, 2 * np.pi, channels)
        border = rng.choice(BORDERS, channels)
        result.append(np.where(rng.random(channels) < 0.4, border, angle))
    return tuple(result)


def layer(rng, shape):
    """A layer for inputs of this shape, and the shape of its output."""
    h, w, c = shape
    kind = rng.random()
    if kind < 0.4 and c % 2 == 0:
        kind = str(rng.choice(list(ANGLES)))
        less = 2 if kind in ("max", "projection") else 1
        return Activation(kind, angles(rng, kind, c // 2)), (h, w, c // less)
    if kind < 0.43:
        return Flatten(), (1, 1, h * w * c)
    stride = 2 if h == w == 2 and rng.random() < 0.5 else 1
    h, w, c = h // stride, w // stride, c * stride**2
    if rng.random() < 0.3:
        made = plain(rng, c, h, w, stride)
        return made, (h, w, len(made.bias))
    width = max(2, c + int(rng.random() < 0.05))
    out = c if rng.random() < 0.9 else int(rng.integers(1, width + 1))
    bias = numbers(rng, out) * scale(rng) if rng.random() < 0.3 else np.zeros(out)
    made = SkewConvolution(kernel(rng, width, h, w), bias, coefficients(rng), stride)
    return made, (h, w, out)


def plain(rng, c, height, width, stride):
    """A plain convolution, of taps of any number; often they only move channels."""
    few = height == width == 1 and rng.random() < 0.7
    m, n = (1, 1) if few else rng.integers(1, 4, 2).tolist()
    out = c if rng.random() < 0.7 else int(rng.integers(1, 4))
    a = numbers(rng, m, n, c, out) / c
    if rng.random() < 0.4:
        a = np.zeros((m, n, c, out))
        a[rng.integers(m), rng.integers(n)] = np.eye(c, out)
    bias = numbers(rng, out) * scale(rng) if rng.random() < 0.3 else np.zeros(out)
    padding = str(rng.choice(["zero", "circular"]))
    return Convolution(a * scale(rng), bias, stride, padding)


def head(rng, features):
    classes = int(rng.choice([2, 3], p=[0.8, 0.2]))
    bias = (
        numbers(rng, classes) * scale(rng) if rng.random() < 0.5 else np.zeros(classes)
    )
    if rng.random() < 0.65:
        weights = np.eye(features, classes) if rng.random() < 0.5 else numbers(
            rng, features, classes)  # fmt: skip
        return Linear(weights * scale(rng), bias)
    hidden = int(rng.choice([1, 2, 4], p=[0.1, 0.8, 0.1]))
    inner, outer = numbers(rng, features, hidden), numbers(rng, hidden, classes)
    shift = numbers(rng, hidden) * scale(rng)
    return CurvatureWeights(inner * scale(rng), shift, outer * scale(rng), bias)


def network(rng):
    """A network of 0 to 4 layers. Often their scales cancel."""
    with np.errstate(all="ignore"):
        shape = SHAPES[rng.integers(len(SHAPES))]
        c = shape[2]
        mean = rng.choice([0.0, 0.5, 1.0], c) if rng.random() < 0.9 else numbers(rng, c)
        std = np.abs(rng.uniform(0.2, 1, c)) * scale(rng)
        layers, after = [], shape
        for _ in range(rng.choice([0, 1, 2, 3, 4], p=[0.1, 0.3, 0.3, 0.2, 0.1])):
            made, after = layer(rng, after)
            layers.append(made)
        net = Network(shape, mean, std, tuple(layers), head(rng, math.prod(after)))
        return cancelled(rng, net) if rng.random() < 0.5 else net


def cancelled(rng, net):
    """The last convolution takes back what the other layers scale."""
    places = [i for i, a in enumerate(net.layers) if isinstance(a, SkewConvolution)]
    total = -np.log2(net.std.min())
    for i in places:
        norm = max(float(np.abs(net.layers[i].kernel).max()), 5e-324)
        a = [(abs(a), k) for k, a in enumerate(net.layers[i].coefficients) if a]
        total += max((math.log2(a) + k * math.log2(norm) for a, k in a), default=0)
    if not places or not math.isfinite(total):
        return net
    return scaled(
        net, int(rng.choice(places)), 2.0 ** np.clip(-round(total), -1022, 1023)
    )


def scaled(net, i, factor):
    """The network with the i-th layer's polynomial multiplied."""
    a = tuple(float(a * float(factor)) for a in net.layers[i].coefficients)
    made = dataclasses.replace(net.layers[i], coefficients=a)
    return replaced(net, i, made)


def replaced(net, i, made):
    layers = (*net.layers[:i], made, *net.layers[i + 1 :])
    return dataclasses.replace(net, layers=layers)


def image(rng, net):
    """An image in [0, 1]: random, a tie, on an axis, subnormal, or near a border."""
    kind, shape = rng.random(), net.image_shape
    x = rng.uniform(size=shape)
    if kind < 0.15:
        x[:] = x.flat[0]
    elif kind < 0.3:
        x = rng.integers(0, 2, shape).astype(float)
    elif kind < 0.4:
        x = rng.integers(0, 256, shape) / 255
    elif kind < 0.45:
        x *= 2.0 ** float(-rng.integers(0, 1074))
    elif kind < 0.7:
        x = on_border(rng, net, x)
    return np.clip(x, 0, 1)


def on_border(rng, net, x):
    """Channels whose normalised halves lie at the angles of the first activation."""
    first = net.layers[0] if net.layers else None
    if not isinstance(first, Activation) or not first.angles:
        return x
    t = [np.clip(t, -7, 7) for t in first.angles]
    base = t[0] / 2
    ends = [base, -base, base + np.pi / 2, np.pi - base]
    if len(t) == 3:
        ends += [base + t[1] / 2, base + (t[1] + t[2]) / 2, base + np.pi + t[2] / 2]
    at = ends[rng.integers(len(ends))]
    z = np.concatenate([np.cos(at), np.sin(at)]) * rng.uniform(0.1, 1)
    return np.broadcast_to(z * net.std + net.mean, x.shape)


def mutated(rng, net):
    """A network with one part changed: scales, numbers, angles, a whole layer."""
    with np.errstate(all="ignore"):
        for _ in range(int(rng.integers(1, 4))):
            net = _mutated(rng, net)
        return net


def _mutated(rng, net):
    kind = rng.random()
    places = [i for i, a in enumerate(net.layers) if isinstance(a, SkewConvolution)]
    if kind < 0.15:
        return dataclasses.replace(net, head=changed(rng, net.head))
    if kind < 0.25:
        return dataclasses.replace(net, std=np.abs(change(rng, net.std)))
    if kind < 0.45 and len(places) > 1:
        i, j = rng.choice(places, 2, replace=False)
        step = 2.0 ** int(rng.integers(-60, 61))
        return scaled(scaled(net, int(i), step), int(j), 1 / step)
    if kind < 0.55 and places:
        return scaled(net, int(rng.choice(places)), scale(rng))
    if not net.layers:
        return dataclasses.replace(net, head=changed(rng, net.head))
    i = int(rng.integers(len(net.layers)))
    old = net.layers[i]
    if isinstance(old, Activation) and old.angles:
        return replaced(
            net, i, Activation(old.kind, angles(rng, old.kind, len(old.angles[0])))
        )
    if isinstance(old, SkewConvolution):
        return replaced(net, i, _convolution(rng, old))
    if isinstance(old, Convolution):
        name = str(rng.choice(["kernel", "bias"]))
        made = dataclasses.replace(old, **{name: change(rng, getattr(old, name))})
        return replaced(net, i, made)
    return net


def _convolution(rng, old):
    kind = rng.random()
    if kind < 0.3:
        return dataclasses.replace(old, kernel=skew(change(rng, old.kernel)) / 2)
    if kind < 0.5:
        return dataclasses.replace(old, bias=change(rng, old.bias))
    if kind < 0.75:
        a = tuple(change(rng, np.array(old.coefficients)).tolist())
        return dataclasses.replace(old, coefficients=a)
    return dataclasses.replace(old, coefficients=coefficients(rng))


def change(rng, array):
    """All numbers times a power of two, some redrawn, or all by a little."""
    kind = rng.random()
    if kind < 0.3:
        return array * scale(rng)
    if kind < 0.5:
        return np.where(
            rng.random(array.shape) < 0.5, rng.normal(size=array.shape), array
        )
    return array * (
        1 + rng.normal(size=array.shape) * 2.0 ** -float(rng.integers(2, 50))
    )


def changed(rng, head):
    """A head with one of its arrays changed."""
    name = str(rng.choice(head._fields))
    return head._replace(**{name: change(rng, getattr(head, name))})
