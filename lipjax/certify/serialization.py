"""Model records and certificates as files that `lipjax/verify.py` checks.

The formats are described in docs/guarantees.md.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from lipjax.certify.certifier import Certificates, Certifier
from lipjax.certify.curvature import Curvatures
from lipjax.certify.layers import (
    Activation,
    Convolution,
    Flatten,
    Layer,
    LayerBound,
    SkewConvolution,
)
from lipjax.certify.network import Head, Linear, Network
from lipjax.ops import CurvatureWeights

MODEL_FORMAT = "lipjax model 2"
PADDINGS = {"convolution": "zero", "circular_convolution": "circular"}
"""Of the kinds of plain convolutions."""


def model_record(certifier: Certifier, curvatures: Curvatures) -> bytes:
    """The content of a model record: the weights and what is proven of each layer.

    An .npz archive of float64 arrays and a `header` in JSON. The same network and
    curvatures always give the same bytes.

    Args:
      certifier: of the network.
      curvatures: those of the last certificates, so that the record proves all images.

    Raises:
      ValueError: for a layer that the format does not have: `Dense`, of frozen
        networks.
    """
    network, bound = certifier.network, certifier.bound
    arrays: dict[str, np.ndarray] = {"mean": network.mean, "std": network.std}
    layers = []
    for i, (layer, proven) in enumerate(zip(network.layers, bound.layers, strict=True)):
        header, parts = _describe(layer, proven)
        layers.append(header)
        arrays |= {f"layers.{i}.{name}": value for name, value in parts.items()}
    parts = _head_arrays(network.head, curvatures)
    arrays |= {f"head.{name}": value for name, value in parts.items()}
    header = {
        "format": MODEL_FORMAT,
        "image_shape": network.image_shape,
        "layers": layers,
    }
    entries: Any = {n: np.asarray(value, np.float64) for n, value in arrays.items()}
    entries["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    content = io.BytesIO()
    np.savez(content, **entries)
    return content.getvalue()


def read_network(content: bytes) -> Network:
    """The network of a model record.

    Raises:
      ValueError: if it is not one.
    """
    try:
        if not content.startswith(b"PK"):  # NumPy would speak of pickled objects
            raise ValueError("it is no .npz archive")
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(arrays.pop("header").tobytes())
        if header["format"] != MODEL_FORMAT:
            raise ValueError(f"its format is {header['format']!r}")
        layers = tuple(
            _layer(described, _with_prefix(arrays, f"layers.{i}."))
            for i, described in enumerate(header["layers"])
        )
        return Network(
            image_shape=tuple(header["image_shape"]),
            mean=arrays["mean"],
            std=arrays["std"],
            layers=layers,
            head=_head(_with_prefix(arrays, "head.")),
        )
    except Exception as error:
        raise ValueError(f"not a model record: {error}") from error


def certificate_rows(
    certificates: Certificates,
    x: np.ndarray,
    labels: np.ndarray,
    model: str,
    first: int = 0,
) -> Iterator[dict[str, Any]]:
    """Yields one certificate per image, as a dictionary for a line of JSON.

    Args:
      certificates: of a batch.
      x: its images, float64 in [0, 1].
      labels: of shape [n].
      model: SHA-256 of the model record, in hexadecimal digits.
      first: index of the batch's first image.
    """
    for i, label in enumerate(labels):
        prediction = int(certificates.prediction[i])
        radius = float(certificates.radius[i])
        right = prediction == int(label) and radius > 0
        row = {
            "index": first + i,
            "label": int(label),
            "prediction": prediction,
            "radius": radius if right else 0.0,
            "model": model,
            "image": image_hash(x[i]),
        }
        yield row | {"classes": _classes(certificates, i) if right else {}}


def image_hash(image: np.ndarray) -> str:
    """SHA-256 of an image's float64 numbers, row by row, little-endian."""
    return hashlib.sha256(np.ascontiguousarray(image, "<f8").tobytes()).hexdigest()


def _classes(certificates: Certificates, i: int) -> dict[str, Any]:
    proofs = {}
    for t, radius in enumerate(certificates.radii[i]):
        if t == certificates.prediction[i]:
            continue
        proof: dict[str, Any] = {"radius": float(radius)}
        if (i, t) in certificates.points:
            eta, delta = certificates.points[i, t]
            packed = base64.b64encode(delta.astype("<f4").tobytes()).decode()
            proof |= {"eta": eta, "delta": packed}
        proofs[str(t)] = proof
    return proofs


def _head_arrays(head: Head, curvatures: Curvatures) -> dict[str, Any]:
    if isinstance(head, Linear):
        return head._asdict()
    return {
        "hidden_kernel": head.hidden_kernel,
        "hidden_bias": head.hidden_bias,
        "curvatures": curvatures.bounds,
        "kernel": head.output_kernel,
        "bias": head.output_bias,
    }


def _head(arrays: dict[str, Any]) -> Head:
    output = arrays["kernel"], arrays["bias"]
    if "hidden_bias" not in arrays:
        return Linear(*output)
    return CurvatureWeights(arrays["hidden_kernel"], arrays["hidden_bias"], *output)


def _describe(layer: Layer, bound: LayerBound) -> tuple[dict[str, Any], dict[str, Any]]:
    """A layer's header and its arrays."""
    if isinstance(layer, SkewConvolution):
        arrays = {
            "kernel": layer.kernel,
            "bias": layer.bias,
            "coefficients": layer.coefficients,
            "claims": (bound.norm, bound.lipschitz),
        }
        return {"kind": "skew_convolution", "stride": layer.stride}, arrays
    if isinstance(layer, Convolution):
        kind = next(kind for kind, p in PADDINGS.items() if p == layer.padding)
        arrays = {"kernel": layer.kernel, "bias": layer.bias}
        arrays["claims"] = (bound.lipschitz,)
        return {"kind": kind, "stride": layer.stride}, arrays
    if isinstance(layer, Activation):
        angles = {f"angle{i}": angle for i, angle in enumerate(layer.angles)}
        return {"kind": layer.kind, "stride": 1}, angles
    if isinstance(layer, Flatten):
        return {"kind": "flatten", "stride": 1}, {}
    raise ValueError(f"model records have no layer of the kind {type(layer).__name__}")


def _layer(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Layer:
    kind = header["kind"]
    if kind == "skew_convolution":
        coefficients = tuple(arrays["coefficients"].tolist())
        return SkewConvolution(
            arrays["kernel"], arrays["bias"], coefficients, header["stride"]
        )
    if kind in PADDINGS:
        parts = arrays["kernel"], arrays["bias"]
        return Convolution(*parts, header["stride"], PADDINGS[kind])
    if kind == "flatten":
        return Flatten()
    return Activation(kind, tuple(arrays[f"angle{i}"] for i in range(len(arrays))))


def _with_prefix(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(prefix): value
        for name, value in arrays.items()
        if name.startswith(prefix)
    }
