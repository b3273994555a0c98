"""Certified networks as the attackers' programs read them."""

import json
from types import SimpleNamespace

import numpy as np

from experiments.attackers.balls import Target
from experiments.attackers.execution import Execution
from helpers.checker import skew_kernel
from lipjax.certify import (
    Activation,
    Certifier,
    Flatten,
    Linear,
    Network,
    SkewConvolution,
    certificate_rows,
    model_record,
    unfolding_bound,
)
from lipjax.ops import CurvatureWeights, taylor
from lipjax.verify import ANGLES, read_model


def linear_target(seed=0, count=20, classes=5, shape=(5, 5, 3), scale=1.0):
    """A linear classifier, and images with `scale` times their true radius."""
    draw = np.random.default_rng(seed)
    depth = int(np.prod(shape))
    model = SimpleNamespace(
        mean=np.full(3, 0.5), std=np.full(3, 0.5), layers=[], curved=False,
        classes=classes, kernel=draw.normal(size=(depth, classes)),
        bias=draw.normal(size=classes),
    )  # fmt: skip
    x = draw.uniform(size=(count, *shape))
    logits = (x.reshape(count, -1) - 0.5) / 0.5 @ model.kernel + model.bias
    labels = logits.argmax(axis=1)
    gaps = logits.max(axis=1, keepdims=True) - logits
    slopes = 2 * np.linalg.norm(
        model.kernel.T[labels][:, None] - model.kernel.T[None], axis=2
    )
    others = np.arange(classes) != labels[:, None]
    ratios = np.divide(gaps, slopes, out=np.full(gaps.shape, np.inf), where=others)
    radius = scale * (1 - 1e-9) * ratios.min(axis=1)
    index = np.arange(count)
    return Target("linear", model, Execution(model), index, x, labels, radius)


def tiny_network(curved, activation, pooling, classes=5):
    """A random network of 6x6 images: two convolutions, no time to initialise."""
    draw = np.random.default_rng(0)

    def convolution(c, stride):
        kernel = skew_kernel(draw, 3, c)
        kernel = kernel / unfolding_bound(kernel)
        return SkewConvolution(kernel, draw.normal(size=c) / 4, taylor(6), stride)

    def angled(kind, c):
        angles = draw.uniform(0, np.pi, (ANGLES[kind], c // 2))
        return Activation(kind, tuple(angles))

    layers = convolution(4, 2), angled(activation, 4), convolution(4, 1)
    layers += angled(pooling, 4), Flatten()
    shapes = [(18, 9), (9,), (9, classes)] if curved else [(18, classes)]
    weights = [draw.normal(size=shape) / 2 for shape in [*shapes, (classes,)]]
    head = (CurvatureWeights if curved else Linear)(*weights)
    return Network((6, 6, 1), np.array([0.4]), np.array([0.5]), layers, head)


def write_certified(folder, network, count=20, levels=255):
    """Writes a network and certificates of random images."""
    draw = np.random.default_rng(1)
    images = draw.integers(0, 256, (count, *network.image_shape), np.uint8)
    certifier = Certifier(network)
    x = images / levels
    found = certifier(x)
    record = model_record(certifier, found.curvatures)
    (folder / "model.npz").write_bytes(record)
    labels = found.prediction.astype(np.int64)
    levels = np.array(levels)
    np.savez(folder / "images.npz", images=images, labels=labels, levels=levels)
    rows = certificate_rows(found, x, labels, read_model(record).sha256)
    write_rows(folder, rows)


def write_rows(folder, rows):
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "certificates.jsonl").write_text(lines)
