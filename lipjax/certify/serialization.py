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
from lipjax.certify.layers import Activation, Flatten, Layer, SkewConvolution
from lipjax.certify.network import Linear, Network
from lipjax.ops import CurvatureWeights

MODEL_FORMAT = "lipjax model 1"


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
        header, parts = _describe(layer)
        layers.append(header | {"lipschitz": proven.lipschitz} | proven.evidence)
        arrays |= {f"layers.{i}.{name}": value for name, value in parts.items()}
    head = network.head
    arrays |= {f"head.{name}": value for name, value in head._asdict().items()}
    if isinstance(head, CurvatureWeights):
        arrays["head.curvatures"] = curvatures.bounds
    header = {
        "format": MODEL_FORMAT,
        "image_shape": network.image_shape,
        "layers": layers,
        "head": "linear" if isinstance(head, Linear) else "curvature",
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
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(arrays.pop("header").tobytes())
        if header["format"] != MODEL_FORMAT:
            raise ValueError(f"its format is {header['format']!r}")
        layers = tuple(
            _layer(described, _with_prefix(arrays, f"layers.{i}."))
            for i, described in enumerate(header["layers"])
        )
        parts = _with_prefix(arrays, "head.")
        parts.pop("curvatures", None)
        kind: Any = Linear if header["head"] == "linear" else CurvatureWeights
        return Network(
            image_shape=tuple(header["image_shape"]),
            mean=arrays["mean"],
            std=arrays["std"],
            layers=layers,
            head=kind(**parts),
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
            "runner_up": int(certificates.runner_up[i]),
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
        proof: dict[str, Any] = {"radius": float(radius), "method": "closed"}
        if (i, t) in certificates.points:
            eta, delta = certificates.points[i, t]
            packed = base64.b64encode(delta.astype("<f4").tobytes()).decode()
            proof |= {"method": "dual", "eta": eta, "delta": packed}
        proofs[str(t)] = proof
    return proofs


def _describe(layer: Layer) -> tuple[dict[str, Any], dict[str, Any]]:
    """A layer's header and its arrays."""
    if isinstance(layer, SkewConvolution):
        header = {
            "kind": "skew_convolution",
            "coefficients": layer.coefficients,
            "stride": layer.stride,
        }
        return header, {"kernel": layer.kernel, "bias": layer.bias}
    if isinstance(layer, Activation):
        angles = {f"angle{i}": angle for i, angle in enumerate(layer.angles)}
        return {"kind": layer.kind}, angles
    if isinstance(layer, Flatten):
        return {"kind": "flatten"}, {}
    raise ValueError(f"model records have no layer of the kind {type(layer).__name__}")


def _layer(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Layer:
    kind = header["kind"]
    if kind == "skew_convolution":
        coefficients = tuple(header["coefficients"])
        return SkewConvolution(
            arrays["kernel"], arrays["bias"], coefficients, header["stride"]
        )
    if kind == "flatten":
        return Flatten()
    return Activation(kind, tuple(arrays[f"angle{i}"] for i in range(len(arrays))))


def _with_prefix(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(prefix): value
        for name, value in arrays.items()
        if name.startswith(prefix)
    }
