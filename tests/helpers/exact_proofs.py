"""Proofs whose networks are executed without any rounding, in any order of sums.

All numbers are multiples of small powers of two, and margins are tiny. So what the
checker proves of them depends on its allowances for rounding, by a part in ten or so,
and is the same on every machine.
"""

import base64
import itertools
import math
from typing import Any

import numpy as np

from helpers.oracle_by_definition import NUMPY, Definition
from helpers.small_proofs import Proof

ROTATION = np.array([[0.0, 1.0], [-1.0, 0.0]])
SKEW = "skew_convolution"


def layer(coefficients: list[float], width: int = 2, **settings: Any) -> Any:
    """A rotation of channels, on pixels, with bounds that are a little too large."""
    up = 1 + 2.0**-20
    gain = math.hypot(sum(coefficients[::2]), sum(coefficients[1::2])) + 2.0**-20
    fields = {"kind": SKEW, "stride": 1} | settings
    claims = np.array([up, max(1.001 * gain, 1.0)])
    kernel = np.kron(np.eye(width // 2), ROTATION)[None, None]
    parts = {"kernel": kernel, "bias": np.full(width, 0.125)}
    return fields, parts | {"coefficients": np.array(coefficients), "claims": claims}


def torus(kind: str) -> Any:
    """Two taps: a rotation of channels, and half of the neighbour."""
    kernel = np.stack([ROTATION, np.eye(2) / 2])[None]
    parts = {"kernel": kernel, "bias": np.full(2, 0.125), "claims": np.array([1.75])}
    return {"kind": kind, "stride": 1}, parts


def plain(kind: str, angles: int = 0, channels: int = 2) -> Any:
    parts = {f"angle{j}": np.zeros(channels // 2) for j in range(angles)}
    return {"kind": kind, "stride": 1}, parts


NETWORKS: dict[str, tuple[tuple[int, int, int], list[Any]]] = {
    "nothing": ((1, 1, 2), []),
    "rotation": ((1, 1, 2), [layer([0.5, 0.25, 0.125])]),
    "steep": ((1, 1, 2), [layer([0.0, 4.0]), layer([0.25, 0.5])]),
    "bent": ((1, 1, 2), [layer([0.5, 0.5, 0.0, 0.5])]),
    "pixels": ((2, 2, 1), [layer([0.5, 0.25, 0.5], 4, stride=2), plain("maxmin")]),
    "zero padding": ((1, 2, 2), [torus("convolution")]),
    "circular": ((1, 2, 2), [torus("circular_convolution")]),
    "maximum": ((1, 1, 2), [plain("max")]),
    "householder": ((1, 1, 2), [plain("householder", 1), layer([0.5, 0.5])]),
    "householder2": ((1, 1, 2), [plain("householder2", 3)]),
    "projection": ((1, 1, 2), [plain("projection", 1), plain("flatten")]),
}


def exact_proof(name: str, curved: bool) -> Proof:
    """A proof of one image, its radii still 2^-99."""
    shape, layers = NETWORKS[name]
    header: Any = {"format": "lipjax model 2", "image_shape": list(shape)}
    header["layers"] = [fields for fields, _ in layers]
    arrays = {"mean": np.full(shape[2], 0.25), "std": np.full(shape[2], 0.5)}
    arrays |= {
        f"layers.{i}.{key}": value
        for i, (_, parts) in enumerate(layers)
        for key, value in parts.items()
    }
    pixels = np.arange(3, 3 + math.prod(shape), dtype=np.uint8).reshape(1, *shape)
    data = {"images": pixels, "labels": np.zeros(1, np.int64), "levels": np.array(16)}
    depth = depth_of(header, arrays, pixels / 16.0)
    if curved:
        arrays |= curvature_head(depth)
    else:
        arrays |= {"head.kernel": dyadic(depth, 3), "head.bias": np.zeros(3)}
    logits = Definition(header, arrays, NUMPY).logits(pixels / 16.0)[0]
    margin = 2.0**-36 if curved or name == "householder2" else 2.0**-42
    arrays["head.bias"] = np.array([margin, 0, 0]) - logits
    entry: Any = {"radius": 2.0**-99}
    row = {"index": 0, "label": 0, "prediction": 0, "radius": 2.0**-99}
    row |= {"model": "", "image": "", "classes": {"1": dict(entry), "2": dict(entry)}}
    if curved:
        row["classes"]["2"] |= exact_dual(arrays, margin, 2)
    proof = Proof(header, arrays, data, [row])
    proof.rehash(proof.model())
    return proof


def depth_of(header: Any, arrays: dict[str, np.ndarray], x: np.ndarray) -> int:
    for depth in range(1, 9):
        head = {"head.kernel": np.eye(depth), "head.bias": np.zeros(depth)}
        try:
            Definition(header, arrays | head, NUMPY).logits(x)
        except ValueError:
            continue
        return depth
    raise ValueError("no depth fits")


def dyadic(rows: int, columns: int) -> np.ndarray:
    values = np.array([0.5, -0.25, 0.75, 1.0, -0.5, 0.125, -1.0])
    return np.resize(values, (rows, columns)).copy()


def curvature_head(depth: int) -> dict[str, np.ndarray]:
    """Hidden units so far from zero that softplus is the positive part, exactly."""
    hidden, output = dyadic(depth, 3), dyadic(3, 3) / 4
    curvatures = np.zeros((3, 3))
    for y, t in itertools.permutations(range(3), 2):
        lost = np.maximum(output[:, t] - output[:, y], 0)
        gram = (hidden * lost) @ hidden.T / 4
        curvatures[y, t] = np.trace(gram) + 2.0**-10
    return {
        "head.hidden_kernel": hidden, "head.hidden_bias": np.array([64.0, -96.0, 80.0]),
        "head.curvatures": curvatures, "head.kernel": output, "head.bias": np.zeros(3),
    }  # fmt: skip


def exact_dual(arrays: dict[str, np.ndarray], margin: float, t: int) -> dict[str, Any]:
    """Where softplus is linear, the best delta is a step along the gradient."""
    output, active = arrays["head.kernel"], np.array([1.0, 0.0, 1.0])
    gradient = arrays["head.hidden_kernel"] @ (active * (output[:, 0] - output[:, t]))
    eta = math.ldexp(round(margin / (gradient @ gradient) * 2.0**40), -40)
    delta = np.round(-eta * gradient * 2.0**44) / 2.0**44
    packed = base64.b64encode(delta.astype("<f4").tobytes()).decode()
    return {"eta": eta, "delta": packed}
