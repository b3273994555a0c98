"""Layers and heads as the checker, lipjax/verify.py, reads them."""

import itertools
from types import SimpleNamespace

import numpy as np

from helpers.polynomials import extremes
from lipjax import verify as checker


def skew_kernel(rng, k, c):
    kernel = rng.normal(size=(k, k, c, c))
    return kernel - kernel[::-1, ::-1].transpose(0, 1, 3, 2)


def make_layer(kernel, size=(4, 4), stride=1, bias=None, coefficients=(0.0, 1.0)):
    """A skew convolution as read_model gives it, of images h x w before the stride."""
    k, c = kernel.shape[1:3]
    h, w = (n // stride for n in size)
    y, x = (min(k // 2, n - 1) for n in (h, w))
    steps = list(itertools.product(range(-y, y + 1), range(-x, x + 1)))
    taps = np.array([kernel[k // 2 + i, k // 2 + j] for i, j in steps])
    return SimpleNamespace(
        kind="skew_convolution", name="layers.0", kernel=kernel, stride=stride,
        bias=np.zeros(c) if bias is None else bias, coefficients=list(coefficients),
        size=(h, w, c), steps=steps, taps=taps, lipschitz=9.0, norm=9.0,
        absolute_norm=9.0,
    )  # fmt: skip


def jacobian(layer):
    """The dense matrix J with J z the convolution of z, both flattened."""
    h, w, c = layer.size
    basis = np.eye(h * w * c).reshape(-1, h, w, c)
    return checker.convolution(layer, basis).reshape(h * w * c, -1).T


def torus_norm(layer):
    """The norm on the torus, by dense matrices of position space."""
    (h, w, c), (y, x) = layer.size, layer.steps[-1]
    h, w = (h + y if y else 1), (w + x if x else 1)
    matrix = np.zeros((h, w, c, h, w, c))
    for (i, j), tap in zip(layer.steps, layer.taps, strict=True):
        for p, q in itertools.product(range(h), range(w)):
            matrix[p, q, :, (p + i) % h, (q + j) % w] += tap.T
    return np.linalg.norm(matrix.reshape(h * w * c, -1), 2)


def proven_layer(rng, coefficients, size=(4, 4), stride=1, k=3, c=4):
    layer = make_layer(skew_kernel(rng, k, c), size, stride, None, coefficients)
    scale = 1.5 / torus_norm(layer)
    layer = make_layer(
        layer.kernel * scale, size, stride, rng.normal(size=2), coefficients
    )
    layer.norm = torus_norm(layer) * (1 + 1e-9)
    layer.absolute_norm = np.linalg.norm(np.abs(layer.taps).sum(axis=0), 2) * 1.001
    gain = extremes(coefficients, layer.norm)[1]
    layer.lipschitz = gain * (1 + 1e-12)
    return layer


def make_head(rng, curved, depth=3, hidden=7, classes=3):
    model = SimpleNamespace(curved=curved, depth=depth, proven=set(), per_unit=1.0)
    model.kernel = rng.normal(size=(hidden if curved else depth, classes))
    model.bias = rng.normal(size=classes) / 4
    model.norm, model.error, model.lipschitz = (0, 1), (0, 0), 1.0
    model.largest = 1e9
    if curved:
        model.hidden_kernel = rng.normal(size=(depth, hidden))
        model.hidden_bias = rng.normal(size=hidden)
        model.curvatures = np.zeros((classes, classes))
        for y, t in itertools.permutations(range(classes), 2):
            lost = np.maximum(model.kernel[:, t] - model.kernel[:, y], 0)
            gram = (model.hidden_kernel * lost) @ model.hidden_kernel.T
            model.curvatures[y, t] = np.linalg.eigvalsh(gram)[-1] / 4 * (1 + 1e-11)
    checker.prove_head(model)
    return model


def entries_of(y, t, **kwargs):
    kwargs = {"eta": 0.0, "delta": 0.0, "radius": 0.0, "method": "closed"} | kwargs
    return [SimpleNamespace(y=y, t=t, **kwargs)]
