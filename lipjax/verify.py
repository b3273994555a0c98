"""Checks robustness certificates of lipjax. Needs NumPy only, and nothing of lipjax.

    python verify.py certificates.jsonl --model model.npz --data images.npz

Executes the network in float64 and proves every bound that the model record claims, and
every radius, by docs/guarantees.md. Exit code: 0 accepted, 1 rejected, 2 unusable file.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import io
import itertools
import json
import math
import zipfile
from collections import namedtuple
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace as Record
from typing import Any

import numpy as np
from numpy.polynomial import polynomial

Array = np.ndarray
U = 2.0**-53  # the unit roundoff
UP = 1 + 32 * U  # covers a few operations of the bounds themselves
TINY, HUGE = 2.0**-480, 2.0**300  # covers underflow; no overflow below HUGE
LEAST = 2.0**-100  # the least positive radius
ANGLES = {"maxmin": 0, "max": 0, "householder": 1, "projection": 1, "householder2": 3}
ROUNDING = {"householder": 64 * U, "projection": 64 * U, "householder2": 512 * U}
LINE = "index label prediction radius runner_up model image classes".split()
ENTRY = {"closed": ["radius", "method"], "dual": ["radius", "method", "eta", "delta"]}
SKEW = "kind coefficients stride lipschitz norm absolute_norm".split()


class Rejected(Exception):
    """Something is not proven; the message says what, in one line."""


class Unusable(Exception):
    """A file cannot be read as what it should be."""


Report = namedtuple("Report", "certificates images mean_radius margin")


@np.errstate(all="ignore")  # comparisons refuse what has overflowed
def verify(certificates: str | Path, model: str | Path, data: str | Path) -> Report:
    """Verifies all certificates in a file; raises Rejected or Unusable."""
    with reading(model, Unusable):
        network = read_model(Path(model).read_bytes())
    with reading(data, Unusable):
        images = read_images(Path(data).read_bytes(), network.shape)
    with reading(certificates, Unusable):
        *lines, rest = Path(certificates).read_bytes().split(b"\n")
        require(not rest, "the last line does not end")
    with reading(model, Rejected):
        prove_features(network)
        prove_head(network)
    radii, margin = [], math.inf
    with reading(certificates, Rejected):
        require(lines, "it contains no certificate")
        checked = read_lines(Path(certificates).name, lines, network, images)
        while batch := list(itertools.islice(checked, 128)):
            margin = min(margin, check_batch(batch, network, images))
            radii += [certificate.radius for certificate in batch]
    return Report(len(radii), len(images.bytes), math.fsum(radii) / len(radii), margin)


@contextlib.contextmanager
def reading(where: str | Path, refusal: type[Exception]) -> Any:
    """Turns any failure to use an input into one line that says where."""
    try:
        yield
    except (Rejected, Unusable):
        raise
    except Exception as error:
        text = f"no such key: {error}" if isinstance(error, KeyError) else str(error)
        raise refusal(f"{where}: {' '.join(text.split()):.300}") from error


def require(holds: Any, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def number(value: Any, least: float = 0, end: float = HUGE, kind: type = float) -> Any:
    """The value, if it is a number of this kind in the range [least, end), not -0."""
    fits = type(value) is kind and least <= value < end and str(value) != "-0.0"
    require(fits, f"{str(value):.40} is not {kind.__name__} in [{least:g}, {end:g})")
    return value


def read_json(text: bytes) -> Any:
    value = json.loads(text)
    require(json.dumps(value).encode() == text, "it is not JSON as Python writes it")
    return value


def read_arrays(content: bytes) -> dict[str, Array]:
    """Reads an .npz archive, if it is as NumPy's savez writes it."""
    arrays, left = {}, len(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for entry in archive.infolist():
            left -= entry.file_size
            name = entry.filename.removesuffix(".npy")
            fits = entry.compress_type == 0 < left and name not in arrays
            require(fits, f"{name} appears twice, is compressed or too large")
            with archive.open(entry) as file:
                arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
            again = io.BytesIO()
            np.lib.format.write_array(again, np.array(arrays[name], order="C"))
            same = again.getvalue() == archive.read(entry)
            require(same, f"{name} is not an array as NumPy writes it")
    return arrays


def read_images(content: bytes, shape: tuple[int, ...]) -> Record:
    """Reads images.npz: a pixel is byte / levels."""
    arrays = read_arrays(content)
    images, labels, levels = (arrays.pop(k) for k in ("images", "labels", "levels"))
    require(not arrays, "it has arrays of other names")
    types = images.dtype == np.uint8 and labels.dtype == levels.dtype == np.int64
    require(types, "the types are not uint8, int64 and int64")
    fits = images.shape[1:] == shape and labels.shape == images.shape[:1]
    require(fits, f"the images are not [n, {str(shape)[1:-1]}] with n labels")
    require(levels.shape == () and 0 < levels < 256, "levels is not in [1, 255]")
    return Record(bytes=images, levels=float(levels), labels=labels.tolist())


def read_model(content: bytes) -> Record:
    """Reads model.npz and trusts none of its claims."""
    source = read_arrays(content)
    header = read_json(source["header"].tobytes())
    require(header["format"] == "lipjax model 1", "the format is unknown")
    keys_are(header, ["format", "image_shape", "layers", "head"])
    fits = source["header"].dtype == np.uint8 and source["header"].ndim == 1
    require(fits, "the header is not bytes")

    def floats(name: str, *shape: int) -> Array:
        fits = source[name].dtype == np.float64 and source[name].shape == shape
        require(fits, f"{name} is not float64 of the shape {shape}")
        return model.arrays.setdefault(name, source[name])

    h, w, c = shape = tuple(number(n, 1, 2**20, int) for n in header["image_shape"])
    model = Record(sha256=hashlib.sha256(content).hexdigest(), shape=shape)
    model.layers, model.arrays, model.proven = [], {}, set()
    model.mean, model.std = floats("mean", c), floats("std", c)
    for i, fields in enumerate(header["layers"]):
        name, kind = f"layers.{i}", fields["kind"]
        layer = Record(name=name, kind=kind, lipschitz=number(fields["lipschitz"]))
        skew = kind == "skew_convolution"
        keys_are(fields, SKEW if skew else ["kind", "lipschitz"])
        if skew:
            s = layer.stride = number(fields["stride"], 1, kind=int)
            k, width = source[f"{name}.kernel"].shape[1:3]
            kernel = layer.kernel = floats(f"{name}.kernel", k, k, width, width)
            fits = k % 2 and h % s == w % s == 0 and c * s * s <= width
            require(fits, f"{name}: the kernel or the stride does not fit")
            c = number(source[f"{name}.bias"].size, 1, width + 1, int)
            layer.size = h, w, _ = h // s, w // s, width
            layer.coefficients = fields["coefficients"]
            require(0 < len(layer.coefficients) < 50, f"{name}: the degree is wrong")
            for a in layer.coefficients:
                require(type(a) is float, f"{name}: a coefficient is no float")
                number(abs(a), 1 / HUGE if a else 0)
            layer.bias, layer.norm = floats(f"{name}.bias", c), number(fields["norm"])
            layer.absolute_norm = number(fields["absolute_norm"])
            y, x = (min(k // 2, n - 1) for n in (h, w))  # farther taps meet no pixel
            layer.steps = list(itertools.product(range(-y, y + 1), range(-x, x + 1)))
            taps = kernel[k // 2 - y : k // 2 + y + 1, k // 2 - x : k // 2 + x + 1]
            layer.taps = taps.reshape(-1, width, width)
        elif kind == "flatten":
            h, w, c = 1, 1, h * w * c
        else:
            require(c % 2 == 0, f"{name}: the number of channels is odd")
            angles = (f"{name}.angle{j}" for j in range(ANGLES[kind]))
            layer.angles = [floats(angle, c // 2) for angle in angles]
            c = c // 2 if kind in ("max", "projection") else c
        model.layers.append(layer)
    model.depth = inputs = h * w * c
    output = {"linear": "head.", "curvature": "head.output_"}[header["head"]]
    model.curved = header["head"] == "curvature"
    model.classes = source[f"{output}bias"].size
    require(model.classes > 1, "the classes are fewer than two")
    if model.curved:
        inputs = source["head.hidden_bias"].size
        require(inputs, "the head has no hidden units")
        model.hidden_kernel = floats("head.hidden_kernel", model.depth, inputs)
        model.hidden_bias = floats("head.hidden_bias", inputs)
        model.curvatures = floats("head.curvatures", model.classes, model.classes)
    model.kernel = floats(f"{output}kernel", inputs, model.classes)
    model.bias = floats(f"{output}bias", model.classes)
    require(source.keys() == {"header", *model.arrays}, "it has arrays of other names")
    return model


def keys_are(fields: dict, names: list[str]) -> None:
    require(list(fields) == names, f"the keys are not {', '.join(names)}")


def features_of(model: Record, images: Array) -> Array:
    """The features [n, D] of images [n, h, w, c], executed in float64."""
    z = (images - model.mean) / model.std
    for layer in model.layers:
        if layer.kind == "skew_convolution":
            z = convolution(layer, z)
        elif layer.kind == "flatten":
            z = z.reshape(len(z), 1, 1, -1)
        else:
            z = activation(layer.kind, *np.split(z, 2, axis=-1), *layer.angles)
    return z.reshape(len(z), -1)


def convolution(layer: Record, z: Array) -> Array:
    """Space-to-depth, zero channels, p(J) by Horner's rule, fewer channels, bias."""
    (n, _, _, c), (h, w, width), s = z.shape, layer.size, layer.stride
    z = z.reshape(n, h, s, w, s, c).transpose(0, 1, 3, 5, 2, 4).reshape(n, h, w, -1)
    z = np.pad(z, [(0, 0), (0, 0), (0, 0), (0, width - z.shape[-1])])
    half, result = len(layer.kernel) // 2, layer.coefficients[-1] * z
    for a in layer.coefficients[-2::-1]:
        border = np.pad(result, [(0, 0), (half, half), (half, half), (0, 0)])
        result = a * z
        for (y, x), tap in zip(layer.steps, layer.taps, strict=True):  # A_t^T z_(p+t)
            part = border[:, half + y : half + y + h, half + x : half + x + w]
            result += (part.reshape(-1, width) @ tap).reshape(result.shape)
    return result[..., : len(layer.bias)] + layer.bias


def activation(kind: str, a: Array, b: Array, *angles: Array) -> Array:
    """An activation or a pooling of the channels' halves a and b."""

    def reflected(t: Array) -> tuple[Array, Array]:
        return a * np.cos(t) + b * np.sin(t), a * np.sin(t) - b * np.cos(t)

    if kind == "max":
        return np.maximum(a, b)
    if kind == "maxmin":
        return np.concatenate([np.maximum(a, b), np.minimum(a, b)], axis=-1)
    if kind == "projection":
        b, half = np.abs(b), np.clip(angles[0], 0, np.pi) / 2
        s, c = np.sin(half), np.cos(half)
        return np.where(a * c + b * s >= 0, b * c - a * s, np.sqrt(a * a + b * b))
    if kind == "householder":
        sectors = [a * np.sin(angles[0] / 2) <= b * np.cos(angles[0] / 2)]
        maps = [(a, b), reflected(angles[0])]
    else:
        t0, t1, t2 = np.clip(angles, 0, 2 * np.pi)
        phi = np.mod(np.arctan2(b, a) - t0 / 2, 2 * np.pi)
        sectors = [phi < t1 / 2, phi < (t1 + t2) / 2, phi < np.pi + t2 / 2]
        rotated = a * np.cos(t2) + b * np.sin(t2), b * np.cos(t2) - a * np.sin(t2)
        maps = [(a, b), reflected(t0 + t1), rotated, reflected(t0)]
    halves = zip(*maps, strict=True)
    return np.concatenate([np.select(sectors, m[:-1], m[-1]) for m in halves], axis=-1)


def head_of(model: Record, points: Array) -> tuple[Array, Array]:
    """The logits [n, C] of features [n, D], and the derivatives [n, H] of softplus."""
    if not model.curved:
        return points @ model.kernel + model.bias, np.ones(1)
    z = points @ model.hidden_kernel + model.hidden_bias
    small = np.exp(-np.abs(z))
    soft = np.maximum(z, 0) + np.log1p(small)
    return soft @ model.kernel + model.bias, np.where(z >= 0, 1, small) / (1 + small)


def gamma(n: int) -> float:
    return UP * n * U / (1 - n * U)


def lower(x: Array) -> Array:
    return x - 32 * U * np.abs(x)  # covers a few operations, too


def norm_of(x: Array, sign: int = 1) -> Array:
    """Euclidean norms along the last axis, rounded up (with the sign -1, down)."""
    norms = np.sqrt(np.square(x).sum(axis=-1))
    return (1 + sign * gamma(x.shape[-1] // 2 + 8)) * norms + max(sign, 0) * TINY


def prove_features(model: Record) -> None:
    """Proves the claims for every layer: L = lipschitz, and N and E, affine in n0.

    Pairs of numbers stand for an affine function: offset and slope.
    """
    for name, array in model.arrays.items():
        require((np.abs(array) < HUGE).all(), f"{name} has a number that is no float")
    require((model.std >= 1 / HUGE).all(), "std is not positive")
    model.per_unit = model.lipschitz = UP / float(model.std.min())
    sides = 2 + np.abs(model.mean).max()  # n0 within a diameter of all images
    model.largest = UP * math.sqrt(math.prod(model.shape)) * sides * model.per_unit
    model.norm, model.error = UP * np.array([[TINY, 1 + gamma(4)], [TINY, gamma(4)]])
    check_size(model, model.norm)
    for layer in model.layers:
        bias, inside = np.zeros(2), np.array([0, 1])
        rounding = np.array([TINY, ROUNDING.get(layer.kind, 0)])
        with reading(layer.name, ValueError):
            if layer.kind == "skew_convolution":
                n, rounding, inside = prove_convolution(layer)
                bias[0] = UP * norm_of(layer.bias) * np.sqrt(np.prod(layer.size[:2]))
                rounding[0] += UP * gamma(n) * bias[0] + TINY
            else:
                require(layer.lipschitz >= 1, "lipschitz is below 1")
        check_size(model, UP * after(inside, model.norm))
        fresh = UP * after(rounding, model.norm)
        model.norm = UP * (UP * layer.lipschitz * model.norm + bias + fresh)
        model.error = UP * (UP * layer.lipschitz * model.error + fresh)
        model.lipschitz = UP * (UP * layer.lipschitz * model.lipschitz + TINY)
        check_size(model, model.norm)


def after(f: Array, g: Array) -> Array:
    """The affine function f(g), of pairs that are offset and slope."""
    return f[1] * g + np.array([f[0], 0])


def check_size(model: Record, norm: Array) -> None:
    require(norm[0] + norm[1] * model.largest < HUGE, "numbers may overflow")


def prove_convolution(layer: Record) -> tuple[int, Array, Array]:
    """Proves the claims for a skew convolution.

    Returns n, and the error of p(J) and the norm of Horner's iterates, both affine in
    the norm of the input.
    """
    kernel, a, (h, w, c) = layer.kernel, layer.coefficients, layer.size
    norm, absolute, k = layer.norm, layer.absolute_norm, len(kernel)
    require((kernel == -kernel[::-1, ::-1].swapaxes(2, 3)).all(), "it is not skew")
    if layer.taps.any():
        s = np.abs(layer.taps).sum(axis=0) + TINY
        # Collatz and Wielandt: if v > 0, no eigenvalue of S exceeds max (S v)_i / v_i.
        v = np.linalg.solve(absolute * np.eye(c) - s, np.ones(c))
        ratios = UP * (1 + gamma(c + len(layer.taps))) * (s @ v) / v
        require((v > 0).all() and ratios.max() <= absolute, "absolute_norm not proven")
        require(norm_holds(layer), "norm not proven")
    require(gain_holds(a, norm, UP * layer.lipschitz), "lipschitz not proven")
    n = min(k, h) * min(k, w) * c + 2
    error, grid = (
        UP * np.array([TINY, gamma(n) * abs(a[-1])]),
        np.linspace(0, norm, 999),
    )
    iterate = inside = UP * (np.array([0, abs(a[-1])]) + error)
    for j in reversed(range(len(a) - 1)):
        error = UP * (norm * error + gamma(n) * absolute * iterate)
        error = UP * (error + UP * np.array([TINY, gamma(n) * abs(a[j])]))
        gain = UP * float(abs(polynomial.polyval(1j * grid, a[j:])).max()) + TINY
        for growth in 2.0 ** np.arange(-17, 9):
            if gain_holds(a[j:], norm, gain):
                break
            gain *= 1 + growth
        iterate = UP * (np.array([0, gain]) + error)
        inside = np.maximum(inside, iterate)
    return n, error, inside


def norm_holds(layer: Record) -> bool:
    """Whether ||J|| is at most the claimed norm, given that absolute_norm is proven.

    At each frequency of the torus, norm I - iK has to be positive, K = C + iS for the
    sums C of A_t cos and S of A_t sin. (-iK has the opposite frequency's eigenvalues.)
    A Hermitian X + iY is positive if and only if the real [[X, -Y], [Y, X]] is.
    """
    (h, w, c), (y, x), norm = layer.size, layer.steps[-1], layer.norm  # longest step
    sides = h + y if y else 1, w + x if x else 1
    # Each entry of C and S errs by less than gamma times that of the sum of |A_t|.
    rounding = 2 * layer.absolute_norm * gamma(len(layer.steps) + 64) + 9 * U * norm
    for frequency in itertools.product(*map(range, sides)):
        turns = layer.steps @ np.multiply(frequency, sides[::-1]) % math.prod(sides)
        angles = 2 * np.pi * (turns / math.prod(sides))
        cosine = np.tensordot(np.cos(angles), layer.taps, 1)
        shifted = np.tensordot(np.sin(angles), layer.taps, 1) + norm * np.eye(c)
        if not positive(np.block([[shifted, cosine], [-cosine, shifted]]), rounding):
            return False
    return True


def positive(matrix: Array, rounding: float) -> bool:
    """Whether symmetric matrices within `rounding` of this have no eigenvalue < 0."""
    # Cholesky's method errs by gamma_(n+1) trace (Rump 2006): subtract four times that.
    slack = 4 * gamma(len(matrix) + 8) * np.abs(np.diag(matrix)).sum() + rounding
    with contextlib.suppress(np.linalg.LinAlgError):
        shifted = matrix - UP * (slack + TINY) * np.eye(len(matrix))
        return bool(np.isfinite(np.linalg.cholesky(shifted)).all())
    return False


def gain_holds(coefficients: list[float], end: float, claim: float) -> bool:
    """Whether |p(i theta)| < claim for 0 <= theta <= end, exactly, by Sturm's theorem.

    q(s) = claim^2 - |p(i theta)|^2, s = theta^2, must be positive at both ends and have
    no root between them: its Sturm chain changes sign as often at 0 as at end^2.
    """
    q = np.array([Fraction(claim) ** 2] + [Fraction(0)] * (len(coefficients) - 1))
    for (j, a), (k, b) in itertools.product(enumerate(coefficients), repeat=2):
        if (j - k) % 2 == 0:  # a i^j times the conjugate of b i^k is real
            q[(j + k) // 2] -= (-1) ** (abs(j - k) // 2) * Fraction(a) * Fraction(b)
    chain, ends = [polynomial.polytrim(q)], []
    rest = polynomial.polyder(chain[0])
    while rest.any():
        chain.append(rest / abs(rest[-1]))
        rest = -polynomial.polydiv(chain[-2], chain[-1])[1]
    for s in (Fraction(0), Fraction(end) ** 2):
        values = [polynomial.polyval(s, p) for p in chain]
        signs = [values[0] > 0] + [v > 0 for v in values if v]
        ends.append((signs[0], sum(x != y for x, y in itertools.pairwise(signs))))
    return ends[0] == ends[1] and ends[0][0]


def prove_head(model: Record) -> None:
    """Bounds a logit's error by slope times the norm of the features, plus offset."""
    kernel, hidden = np.abs(model.kernel), len(model.kernel)
    model.columns = model.slope = norm_of(kernel.T)
    model.offset = np.zeros_like(model.bias)
    unit = model.tail = gamma(hidden + (6 if model.curved else 2))
    if model.curved:
        model.units = norm_of(model.hidden_kernel.T)  # with them, |z| + 1 is bounded
        model.sizes = np.abs(model.hidden_bias) + 1
        kappa = model.kappa = gamma(model.depth + 4) + 24 * U
        unit = UP * (kappa + model.tail) * (1 + 2 * kappa + gamma(2 * hidden + 8))
        model.slope, model.offset = model.units @ kernel, model.sizes @ kernel
        largest = model.norm[0] + model.norm[1] * model.largest
        unbounded = UP * (model.units * largest + model.sizes).max()
        require(unbounded < HUGE, "numbers of the head may overflow")
    model.offset = UP * (unit * model.offset + model.tail * np.abs(model.bias)) + TINY
    model.slope = UP * unit * model.slope


def curvature(model: Record, y: int, t: int) -> float:
    """The claimed m of the margin of y over t, proven when it is first used."""
    claim = float(model.curvatures[y, t])
    if (y, t) not in model.proven:
        lost = np.maximum(model.kernel[:, t] - model.kernel[:, y], 0)
        root = model.hidden_kernel[:, lost > 0] * np.sqrt(lost[lost > 0])
        gram = root.T @ root if root.shape[0] > root.shape[1] else root @ root.T
        error = gamma(max(root.shape) + 16) * np.trace(gram) + 64 * U * claim
        holds = positive(4 * claim * np.eye(len(gram)) - gram, UP * error)
        if claim < 0 or (root.any() and not holds):
            raise Rejected(f"the curvature {claim} of {y} over {t} is not proven")
        model.proven.add((y, t))
    return claim


def read_lines(name: str, lines: list, model: Record, images: Record) -> Any:
    """Yields the certificates after all checks that need no execution."""
    seen: set[int] = set()
    for i, line in enumerate(lines, 1):
        with reading(f"{name} line {i}", Rejected):
            fields = read_json(line)
            index = number(fields["index"], 0, len(images.bytes), int)
            require(index not in seen, f"there is another one for image {index}")
        seen.add(index)
        with reading(where := f"{name} line {i} (image {index})", Rejected):
            certificate = read_certificate(fields, images.bytes[index], model, images)
        yield Record(where=where, index=index, **certificate)


def read_certificate(fields: dict, x: Array, model: Record, images: Record) -> dict:
    """Checks all of a certificate of the image x, in bytes, except its radii."""
    keys_are(fields, LINE)
    require(fields["model"] == model.sha256, "it belongs to another model")
    pixels = x / images.levels
    require((pixels <= 1).all(), "a pixel is not in [0, 1]")
    digest = hashlib.sha256(pixels.astype("<f8").tobytes()).hexdigest()
    require(fields["image"] == digest, "it belongs to another image")
    keys = "label", "prediction", "runner_up"
    label, y, second = (number(fields[k], 0, model.classes, int) for k in keys)
    require(label == images.labels[fields["index"]], "the label is not the image's")
    radius = number(fields["radius"])
    require(radius == 0 or radius >= LEAST, "its radius is below 2^-100")
    require(radius == 0 or y == label, "the prediction is wrong and has a radius")
    others = [t for t in range(model.classes) if t != y] if radius else []
    classes, entries = fields["classes"], []
    keys_are(classes, list(map(str, others)))
    for t in others:
        with reading(f"class {t}", ValueError):
            entry = Record(**{"eta": 0.0, "delta": "", **classes[str(t)]}, y=y, t=t)
            keys_are(classes[str(t)], ENTRY[entry.method])
            require(number(entry.radius) >= radius, "its radius is below the image's")
            dual, _ = entry.method == "dual", number(entry.eta)
            require(model.curved or not dual, "the head is linear")
            content = base64.b64decode(entry.delta, validate=True)
            same = base64.b64encode(content).decode() == entry.delta
            delta = np.frombuffer(content, "<f4")
            fits = (
                same and delta.size == model.depth * dual and np.isfinite(delta).all()
            )
            require(fits, f"delta is not {model.depth} finite numbers")
            entry.delta = delta.astype(np.float64) if dual else 0.0
            entries.append(entry)
    least = classes[str(second)]["radius"] if radius else 0
    require(least == radius, "the radius is not the runner-up's")
    return {"prediction": y, "radius": radius, "entries": entries}


def check_batch(batch: list[Record], model: Record, images: Record) -> float:
    """Proves predictions and radii; returns the least excess over the claimed radii."""
    pixels = images.bytes[[c.index for c in batch]] / images.levels
    n0 = norm_of(((pixels - model.mean) / model.std).reshape(len(batch), -1))
    features = features_of(model, pixels)
    for c, logits in zip(batch, head_of(model, features)[0], strict=True):
        # Summed in another order, a tie may break the other way. It proves no radius.
        near = logits.max() - 2.0**-30 * np.abs(logits).max()
        if not logits[c.prediction] >= near:
            raise Rejected(f"{c.where}: the prediction is {logits.argmax()}")
    rows = [i for i, c in enumerate(batch) for _ in c.entries]
    entries = [entry for c in batch for entry in c.entries]
    if not rows:
        return math.inf
    radii = proven_radii(features[rows], n0[rows], entries, model).tolist()
    for i, entry, radius in zip(rows, entries, radii, strict=True):
        if not entry.radius <= radius:
            claim = f"the radius {entry.radius} against class {entry.t} is not proven"
            raise Rejected(f"{batch[i].where}: {claim} ({max(0.0, radius)} is)")
    return min(r - entry.radius for r, entry in zip(radii, entries, strict=True))


def proven_radii(features: Array, n0: Array, entries: list, model: Record) -> Array:
    """Proven radii of features [n, D] against a class each; NaN or below 0 if none."""
    y, t = np.array([(entry.y, entry.t) for entry in entries]).T
    eta, claims = np.array([(entry.eta, entry.radius) for entry in entries]).T
    # n0, N and E for all images within the claimed radius.
    reach = UP * (n0 + UP * model.per_unit * claims)
    norm, error = (UP * (a + b * reach) for a, b in (model.norm, model.error))
    # The dual holds for any delta: take the one that leads to the rounded sum.
    points = np.array([f + e.delta for f, e in zip(features, entries, strict=True)])
    delta = points - features
    length, here = norm_of(delta), UP * (norm + norm_of(delta))
    logits, slopes = head_of(model, points)
    g = logits[range(len(y)), y] - logits[range(len(y)), t]
    rounding = 8 * U * np.abs(g)
    for k, size in itertools.product((y, t), (here, norm)):
        rounding = rounding + UP * (model.slope[k] * size + model.offset[k])
    g = lower(g - UP * rounding)
    gradient = model.kernel.T[y] - model.kernel.T[t]
    relative, m = 4 * U, np.zeros(len(y))
    if model.curved:
        gradient = (gradient * slopes) @ model.hidden_kernel.T
        most = np.array([(model.units * size + model.sizes).max() for size in here])
        relative = norm_of(model.units) * (model.kappa * most / 4 + 20 * U + model.tail)
        m += [curvature(model, *pair) for pair in np.stack([y, t], 1).tolist()]
    doubt = UP * relative * (model.columns[y] + model.columns[t]) + TINY
    steep = UP * (norm_of(gradient) + UP * doubt)
    closed = lower(2 * g / (steep + UP * np.sqrt(steep**2 + 2 * m * g)))
    rest = lower(1 - UP * eta * m)
    residual = norm_of(delta + eta[:, None] * gradient) + 4 * U * (length + eta * steep)
    residual = UP * (residual + UP * eta * doubt)
    square = lower(norm_of(delta, -1) ** 2) + lower(2 * eta * g)
    square = lower(square - UP * residual**2 / rest)
    dual = lower(np.sqrt(np.where(rest > 0, square, np.nan)))
    distance = np.where([entry.method == "dual" for entry in entries], dual, closed)
    proven = lower(distance - UP * 2 * error) / (UP * model.lipschitz)
    return np.where((here < HUGE) & (reach <= model.largest), lower(proven), np.nan)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Checks certificates of lipjax.")
    parser.add_argument("certificates", help="certificates.jsonl")
    parser.add_argument("--model", required=True, help="model.npz, the model record")
    parser.add_argument("--data", required=True, help="images.npz: images and labels")
    try:
        r = verify(**vars(parser.parse_args(arguments)))
    except (Rejected, Unusable) as error:
        print("rejected:" if isinstance(error, Rejected) else "error:", error)
        return 1 if isinstance(error, Rejected) else 2
    print(f"accepted: {r.certificates} certificates of {r.images} images", end=", ")
    print(f"mean radius {r.mean_radius:.4g}, proven with {r.margin:.1e} to spare")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
