"""Proofs that claim predictions and bounds of layers, and no radii.

What the checker says of them depends on their sizes and numbers alone.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from helpers.oracle_by_definition import NUMPY, Definition
from helpers.small_proofs import Proof

J = np.array([[0.0, 1.0], [-1.0, 0.0]])
Layers = list[tuple[dict[str, Any], dict[str, Any]]]


def layer(kernel: Any, outputs: int, *coefficients: float, stride: int = 1) -> Any:
    """A convolution with generous claims."""
    norm = 1.001 * np.abs(kernel).sum(axis=(0, 1, 3)).max(initial=0)
    gain = sum(abs(a) * norm**k for k, a in enumerate(coefficients))
    parts = {"kernel": kernel, "bias": np.full(outputs, 0.125)}
    parts |= {"coefficients": np.array(coefficients, np.float64)}
    parts |= {"claims": np.array([norm, 1.001 * gain])}
    return {"kind": "skew_convolution", "stride": stride}, parts


def proof(
    shape: tuple[int, ...], layers: Layers, depth: int, levels: int = 16,
    classes: int = 3, brightest: int | None = None,
) -> Proof:  # fmt: skip
    """Two images under a linear head, with their predictions."""
    header: Any = {"format": "lipjax model 2", "image_shape": list(shape)}
    header["layers"] = [fields for fields, _ in layers]
    arrays: Any = {"mean": np.full(shape[2], 0.25), "std": np.full(shape[2], 0.5)}
    arrays |= {
        f"layers.{i}.{key}": value
        for i, (_, parts) in enumerate(layers)
        for key, value in parts.items()
    }
    kernel = np.resize([0.5, -0.25, 0.75, 1.0, -0.5, 0.125, -1.0], (depth, classes))
    arrays |= {"head.kernel": kernel, "head.bias": np.zeros(classes)}
    values = np.arange(19) % ((brightest or levels) + 1)
    images = np.resize(values[::-1], (2, *shape)).astype(np.uint8)
    y = Definition(header, arrays, NUMPY).logits(images / float(levels)).argmax(-1)
    data = {"images": images, "labels": y.astype(np.int64), "levels": np.array(levels)}
    row = {"radius": 0.0, "model": "", "image": "", "classes": {}}
    rows = [
        {"index": i, "label": int(t), "prediction": int(t), **row}
        for i, t in enumerate(y)
    ]
    return Proof(header, arrays, data, rows)


def taps(k: int, border: float = 0.0) -> np.ndarray:
    """J in the middle, and a multiple of it on the border."""
    kernel = np.zeros((k, k, 2, 2))
    kernel[0, 0] = kernel[-1, -1] = border * J
    kernel[k // 2, k // 2] = J
    return kernel


def plain(kernel: Any, circular: bool = True, stride: int = 1) -> Any:
    """A plain convolution with a generous claim."""
    sums = [np.abs(kernel).sum(axis=axis).max() for axis in ((0, 1, 2), (0, 1, 3))]
    parts = {"kernel": kernel, "bias": np.full(kernel.shape[3], 0.125)}
    parts |= {"claims": np.array([1.001 * np.sqrt(np.prod(sums))])}
    return {"kind": "circular_" * circular + "convolution", "stride": stride}, parts


PLAIN = {"kind": "flatten", "stride": 1}, {}
HALF = layer(np.zeros((1, 1, 4, 4)), 4, 0.5)


def proofs() -> Iterator[tuple[str, Proof, bool]]:
    """Name, proof, and whether it is accepted."""
    yield "levels of 1", proof((1, 2, 1), [], 2, levels=1), True
    yield "levels of 255", proof((1, 2, 1), [], 2, levels=255), True
    yield "levels of 256", proof((1, 2, 1), [], 2, levels=256), False
    bright = proof((1, 2, 1), [], 2, levels=10, brightest=18)
    yield "pixels of 1.8", bright, False
    blank = proof((1, 2, 1), [], 2)
    blank.arrays["head.kernel"][:] = 0
    yield "logits of zero", blank, True
    yield "two classes", proof((1, 2, 1), [], 2, classes=2), True
    yield "50 rows", proof((50, 1, 1), [], 50), True
    yield "50 columns", proof((1, 50, 1), [], 50), True
    one = layer(taps(1), 1, 1.0, 0.5)
    yield "one output", proof((1, 1, 2), [one], 1), True
    wide = np.array([[0.0, 1.0, 2.0], [-1.0, 0.0, 1.0], [-2.0, -1.0, 0.0]])[None, None]
    yield "three channels of two", proof((1, 1, 2), [layer(wide, 2, 1.0, 0.5)], 2), True
    yield "one coefficient", proof((1, 1, 2), [layer(taps(1), 2, 0.5)], 2), True
    for count in (49, 50):
        many = layer(taps(1), 2, *[0.5] * count)
        yield f"{count} coefficients", proof((1, 1, 2), [many], 2), count < 50
    even = layer(np.zeros((2, 2, 2, 2)), 2, 0.5)
    yield "an even kernel of zeros", proof((1, 1, 2), [even], 2), False
    yield "flattened channels", proof((1, 2, 2), [PLAIN, HALF], 4), True
    stride = {"kind": "flatten", "stride": 2}, {}
    yield "flattened channels, the last", proof((1, 2, 2), [PLAIN], 4), True
    yield "a flatten of stride 2", proof((1, 2, 2), [stride, HALF], 4), False
    for k, sides in ((3, (4, 1)), (3, (1, 4)), (5, (6, 1)), (5, (1, 6)), (5, (2, 2))):
        kernel = taps(k, 0.5)
        made = proof((*sides, 2), [layer(kernel, 2, 1.0, 0.5)], 2 * sides[0] * sides[1])
        yield f"{k} taps on {sides}", made, True
    for k in (3, 5):
        far = layer(taps(k, 100.0), 2, 1.0, 0.5)
        far[1]["claims"] = layer(taps(1), 2, 1.0, 0.5)[1]["claims"]
        yield f"{k} taps that meet one pixel", proof((1, 1, 2), [far], 2), True
    for circular in (False, True):
        name = f"circular {circular}: "
        for m, n, h, w in ((1, 1, 1, 1), (2, 3, 3, 2), (4, 1, 2, 3), (5, 6, 2, 1)):
            kernel = np.resize([0.5, -0.25, 0.75, 1.0, -1.0], (m, n, 2, 1))
            made = proof((h, w, 2), [plain(kernel, circular)], h * w)
            yield name + f"{m}x{n} taps on {h}x{w}", made, True
        wide = plain(np.full((1, 1, 4, 5), 0.5), circular, 2)
        yield name + "a stride", proof((2, 4, 1), [wide], 10), True
        narrow = plain(np.full((1, 1, 5, 5), 0.5), circular, 2)
        yield name + "a channel too many", proof((2, 4, 1), [narrow], 10), False
        far = np.zeros((3, 3, 2, 2))
        far[1, 1], far[0, 0] = J, 100 * J
        made = proof((1, 1, 2), [plain(far, circular)], 2)
        made.arrays["layers.0.claims"][:] = 1.001
        yield name + "a tap that meets nothing, or all", made, not circular
