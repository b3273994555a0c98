"""Layers and heads as the checker, lipjax/verify.py, reads them."""

import itertools
from types import SimpleNamespace

import numpy as np

from helpers.dense import any_convolution_matrix
from helpers.polynomials import extremes
from lipjax import verify as checker


def skew_kernel(rng, k, c):
    kernel = rng.normal(size=(k, k, c, c))
    return kernel - kernel[::-1, ::-1].transpose(0, 1, 3, 2)


def make_layer(kernel, size=(4, 4), stride=1, bias=None, coefficients=(0.0, 1.0)):
    """A skew convolution as read_model gives it, of images h x w before the stride."""
    k, c = kernel.shape[1:3]
    h, w = (n // stride for n in size)
    y, x = (k // 2 - min(k // 2, n - 1) for n in (h, w))
    return SimpleNamespace(
        kind="skew_convolution", name="layers.0", stride=stride,
        kernel=kernel[y : k - y, x : k - x], size=(h, w, c),
        bias=np.zeros(c) if bias is None else bias,
        coefficients=np.array(coefficients, float), claims=np.array([9.0, 9.0]),
    )  # fmt: skip


def absolute(layer):
    """The bound on || |J| || by row sums, without its rounding."""
    return np.abs(layer.kernel).sum((0, 1, 3)).max()


def jacobian(layer):
    """The dense matrix J with J z the convolution of z, both flattened."""
    h, w, c = layer.size
    basis = np.eye(h * w * c).reshape(-1, h, w, c)
    return checker.convolution(layer, basis).reshape(h * w * c, -1).T


def torus_norm(layer):
    """The norm on the torus, by dense matrices of position space."""
    (h, w, _), (m, n) = layer.size, layer.kernel.shape[:2]
    if layer.kind != "circular_convolution":
        h, w = h + m // 2, w + n // 2
    matrix = any_convolution_matrix(layer.kernel, h, w, "circular")
    return np.linalg.norm(matrix, 2)


def proven_layer(rng, coefficients, size=(4, 4), stride=1, k=3, c=4):
    layer = make_layer(skew_kernel(rng, k, c), size, stride, None, coefficients)
    scale = 1.5 / torus_norm(layer)
    layer = make_layer(
        layer.kernel * scale, size, stride, rng.normal(size=2), coefficients
    )
    norm = torus_norm(layer) * (1 + 1e-9)
    layer.claims = np.array([norm, extremes(coefficients, norm)[1] * (1 + 1e-12)])
    return layer


def plain_layer(rng, kind, taps, size=(4, 4), channels=2, outputs=2):
    """A convolution or circular_convolution as read_model gives it, of norm 1.2."""
    (h, w), (m, n) = size, taps
    kernel = rng.normal(size=(m, n, channels, outputs))
    if kind == "convolution":  # the taps that meet a pixel
        kernel = kernel[max(m // 2 - h + 1, 0) : m // 2 + h]
        kernel = kernel[:, max(n // 2 - w + 1, 0) : n // 2 + w]
    layer = SimpleNamespace(
        kind=kind, name="layers.0", stride=1, kernel=kernel, size=(h, w, channels),
        bias=rng.normal(size=outputs) / 4,
    )  # fmt: skip
    layer.kernel = kernel * (1.2 / torus_norm(layer))
    layer.claims = np.array([torus_norm(layer) * (1 + 1e-9)])
    return layer


def make_head(rng, curved, depth=3, hidden=7, classes=3):
    model = SimpleNamespace(curved=curved, depth=depth, proven=set(), per_unit=1.0)
    model.kernel = rng.normal(size=(hidden if curved else depth, classes))
    model.bias = rng.normal(size=classes) / 4
    model.norm, model.error, model.lipschitz = (0, 1), (0, 0), 1.0
    model.norms = [(0.0, 1.0)]
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


def entries_of(y, t, **given):
    kwargs = {"eta": 0.0, "delta": 0.0, "radius": 0.0} | given
    return [SimpleNamespace(y=y, t=t, **kwargs)]
