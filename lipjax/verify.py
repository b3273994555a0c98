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
from collections import namedtuple
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace as Record

import numpy as np
from numpy.polynomial import polynomial

Array = np.ndarray
U = 2.0**-53  # the unit roundoff
UP = 1 + 32 * U  # covers a few operations of the bounds themselves
TINY, HUGE = 2.0**-480, 2.0**300  # covers underflow; no overflow below HUGE
ONE, SLOPE = np.eye(2)  # pairs of numbers are affine functions, offset and slope
ANGLES = {"maxmin": 0, "max": 0, "householder": 1, "projection": 1, "householder2": 3}
ROUNDING = {"householder": 64 * U, "projection": 64 * U, "householder2": 512 * U}
Report = namedtuple("Report", "certificates images mean_radius margin")
HEADER = "format image_shape layers".split()
LINE = "index label prediction radius model image classes".split()
SKEW, CIRCULAR = "skew_convolution", "circular_convolution"
PLAIN = "kernel bias claims".split()  # claims: bounds of ||J||, of a skew J of p(J) too
PARTS = {SKEW: [*PLAIN[:2], "coefficients", "claims"]}
PARTS |= {"convolution": PLAIN, CIRCULAR: PLAIN}
HEAD = "hidden_kernel hidden_bias curvatures kernel bias".split()


class Rejected(Exception):
    """Something is not proven; the message says what, in one line."""


@np.errstate(all="ignore")  # comparisons refuse what has overflowed
def verify(certificates: str | Path, model: str | Path, data: str | Path) -> Report:
    """Verifies all certificates; raises Rejected, or ValueError for unusable files."""
    with reading(model, ValueError):
        network = read_model(Path(model).read_bytes())
    with reading(data, ValueError):
        images = read_images(Path(data).read_bytes(), network.shape)
    with reading(certificates, ValueError):
        *lines, rest = Path(certificates).read_bytes().split(b"\n")
        require(lines and not rest, "it has no certificate, or its last line no end")
    with reading(model, Rejected):
        prove_features(network)
        prove_head(network)
    radii, margin, batch = [], math.inf, []
    with reading(certificates, Rejected):
        for i, line in enumerate(lines, 1):
            with reading(f"line {i}", ValueError):
                batch.append(read_certificate(line, network, images))
            if i % 128 == 0 or i == len(lines):
                margin = min(margin, check_batch(batch, network, images))
                radii += [certificate.radius for certificate in batch]
                batch.clear()
    return Report(len(radii), len(images.bytes), math.fsum(radii) / len(radii), margin)


@contextlib.contextmanager
def reading(where: str | Path, refusal: type[Exception]) -> Iterator[None]:
    """Turns any failure to use an input into one printable line that says where."""
    try:
        yield
    except Exception as error:
        text = f"no such key: {error}" if isinstance(error, KeyError) else str(error)
        text = ascii(" ".join(text.split()))[1:-1]  # a file chooses what it prints
        raise refusal(f"{where}: {text:.300}") from error


def require(holds: object, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def number(value, least: float = 0, end: float = HUGE, kind: type = float):
    """The value, if it is a number of this kind in the range [least, end), not -0."""
    fits = type(value) is kind and least <= value < end and str(value) != "-0.0"
    require(fits, f"{str(value):.40} is not {kind.__name__} in [{least:g}, {end:g})")
    return value


def read_json(text: bytes, keys: Sequence[str]) -> dict:
    value = json.loads(text)
    require(json.dumps(value).encode() == text, "it is not JSON as Python writes it")
    require(list(value) == list(keys), f"the keys are not {', '.join(keys)}")
    return value


def read_arrays(content: bytes) -> dict[str, Array]:
    """Reads an .npz archive, if it is as NumPy's savez writes it."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        size = sum(entry.file_size for entry in archive.zip.infolist())
        require(size < len(content), "its arrays are compressed")
        arrays = dict(archive)
    np.savez(again := io.BytesIO(), **arrays)
    same = len(again.getvalue()) == len(content)  # some bytes depend on the platform
    require(same, "it is not an archive as NumPy's savez writes it")
    return arrays


def check_arrays(arrays: dict[str, Array], shapes: dict[str, tuple]) -> None:
    require(list(arrays) == list(shapes), f"the arrays are not {', '.join(shapes)}")
    types = {"header": "u1", "images": "u1", "labels": "i8", "levels": "i8"}
    for name, x in arrays.items():
        kind, shape = np.dtype(types.get(name, "f8")), shapes[name]
        fits = x.dtype == kind and x.shape == shape and x.flags.c_contiguous
        fits = fits and (np.abs(x) < HUGE).all()
        require(fits, f"{name} is not {kind} of the shape {shape}, below 2^300")


def read_images(content: bytes, shape: tuple[int, ...]) -> Record:
    """Reads images.npz: a pixel is byte / levels."""
    arrays = read_arrays(content)
    n = number(len(images := arrays["images"]), 1, kind=int)
    check_arrays(arrays, {"images": (n, *shape), "labels": (n,), "levels": ()})
    levels, labels = number(arrays["levels"].item(), 1, 256, int), arrays["labels"]
    return Record(bytes=images, levels=float(levels), labels=labels, seen=set())


def read_model(content: bytes) -> Record:
    """Reads model.npz and trusts none of its claims."""
    arrays = read_arrays(content)
    header = read_json(bytes(arrays["header"].tolist()), HEADER)
    require(header["format"] == "lipjax model 2", "the format is unknown")
    h, w, c = image = tuple(number(n, 1, 2**20, int) for n in header["image_shape"])
    model = Record(layers=[], proven=set(), mean=arrays["mean"], std=arrays["std"])
    model.shape, model.sha256 = image, hashlib.sha256(content).hexdigest()
    shapes: dict[str, tuple] = {"mean": (c,), "std": (c,)}
    for i, fields in enumerate(header["layers"]):
        layer = Record(**fields, name=f"layers.{i}", lipschitz=1.0)
        model.layers.append(layer)
        require(list(fields) == ["kind", "stride"], "a layer has other keys")
        parts = PARTS.get(layer.kind)  # of a convolution
        s = number(layer.stride, 1, 2**20 if parts else 2, int)
        if parts:
            names = [f"{layer.name}.{part}" for part in parts]
            vars(layer).update(zip(parts, map(arrays.get, names), strict=True))
            m, n, width, outputs = layer.kernel.shape
            inputs, c, sizes = c * s * s, len(layer.bias), [(len(layer.bias),), (1,)]
            fits = inputs == width and outputs == c
            if layer.kind == SKEW:
                sizes[1:] = (d := len(layer.coefficients),), (2,)
                fits = inputs <= width == outputs >= c and m == n and m % 2
                fits = fits and 0 < d < 50
            fits = fits and h % s == w % s == 0 < min(m, n, c)
            require(fits, f"{layer.name}: the shapes do not fit")
            shapes.update(zip(names, [layer.kernel.shape, *sizes], strict=True))
            layer.size = h, w, _ = h // s, w // s, width
            if layer.kind != CIRCULAR:  # the taps that act
                y, x = max(m // 2 - h + 1, 0), max(n // 2 - w + 1, 0)
                layer.kernel = layer.kernel[y : m // 2 + h, x : n // 2 + w]
        elif layer.kind == "flatten":
            h, w, c = 1, 1, h * w * c
        else:
            angles = [f"{layer.name}.angle{j}" for j in range(ANGLES[layer.kind])]
            shapes |= dict.fromkeys(angles, (c // 2,))
            layer.angles = [arrays[angle] for angle in angles]
            c = c // 2 if layer.kind in ("max", "projection") else c
    names = [f"head.{part}" for part in HEAD]
    vars(model).update(zip(HEAD, map(arrays.get, names), strict=True))
    depth = model.depth = h * w * c
    classes = model.classes = number(model.bias.size, 2, kind=int)
    width, model.curved = number(len(model.kernel), 1, kind=int), names[0] in arrays
    inputs = width if model.curved else depth
    sizes = (depth, width), (width,), 2 * (classes,), (inputs, classes), (classes,)
    shapes.update(list(zip(names, sizes, strict=True))[0 if model.curved else 3 :])
    check_arrays(arrays, shapes | {"header": arrays["header"].shape})
    return model


def features_of(model: Record, images: Array) -> Array:
    """The features [n, D] of images [n, h, w, c], executed in float64."""
    z = (images - model.mean) / model.std
    for layer in model.layers:
        if layer.kind in PARTS:
            z = convolution(layer, z)
        elif layer.kind == "flatten":
            z = z.reshape(len(z), 1, 1, -1)
        else:
            z = activation(layer.kind, *np.split(z, 2, axis=-1), *layer.angles)
    return z.reshape(len(z), -1)


def convolution(layer: Record, z: Array) -> Array:
    """Space-to-depth, then J z + bias. With p(J) instead of a skew J: by Horner's rule,
    after zero channels and before fewer channels."""
    (n, _, _, c), (h, w, width), s = z.shape, layer.size, layer.stride
    z = z.reshape(n, h, s, w, s, c).transpose(0, 1, 3, 5, 2, 4).reshape(n, h, w, -1)
    if layer.kind != SKEW:
        return plus_product(np.zeros((n, h, w, 1)) + layer.bias, layer, z)
    z = np.pad(z, [(0, 0), (0, 0), (0, 0), (0, width - z.shape[-1])])
    result = layer.coefficients[-1] * z
    for a in layer.coefficients[-2::-1]:
        result = plus_product(a * z, layer, result)
    return result[..., : len(layer.bias)] + layer.bias


def plus_product(result: Array, layer: Record, z: Array) -> Array:
    """The result, to which J z is added: at p the sum of A_t^T z_(p+t)."""
    (h, w, width), (m, n) = layer.size, layer.kernel.shape[:2]
    borders = (m // 2, m - 1 - m // 2), (n // 2, n - 1 - n // 2)
    if layer.kind == CIRCULAR and m == h:  # a product per column: rows are channels
        z = np.pad(z.swapaxes(1, 2), [(0, 0), borders[1], (0, 0), (0, 0)], "wrap")
        i = np.subtract.outer(np.arange(h), np.arange(h) - m // 2) % m
        for j in range(n):
            matrix = layer.kernel[i, j].swapaxes(1, 2).reshape(h * width, -1)
            part = z[:, j : j + w].reshape(-1, h * width) @ matrix
            result += part.reshape(len(z), w, h, -1).swapaxes(1, 2)
        return result
    mode = "wrap" if layer.kind == CIRCULAR else "constant"
    z = np.pad(z, [(0, 0), *borders, (0, 0)], mode)
    for i, j in np.ndindex(m, n):
        part = z[:, i : i + h, j : j + w].reshape(-1, width)
        result += (part @ layer.kernel[i, j]).reshape(result.shape)
    return result


def activation(kind: str, a: Array, b: Array, *angles: Array) -> Array:
    """An activation or a pooling of the channels' halves a and b."""

    def reflected(t: Array) -> tuple[Array, Array]:
        return a * np.cos(t) + b * np.sin(t), a * np.sin(t) - b * np.cos(t)

    if kind in ("max", "maxmin"):
        larger, smaller = np.maximum(a, b), np.minimum(a, b)
        return larger if kind == "max" else np.concatenate([larger, smaller], axis=-1)
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


def lower(x: Array | float) -> Array:
    return x - 32 * U * np.abs(x)  # covers a few operations, too


def norm_of(x: Array) -> Array:
    """Bounds on the Euclidean norms along the last axis."""
    return (1 + gamma(x.shape[-1] + 8)) * np.sqrt(np.square(x).sum(axis=-1)) + TINY


def prove_features(model: Record) -> None:
    """Proves the claims for every layer: L = lipschitz, and N and E, affine in n0."""
    require((model.std >= 1 / HUGE).all(), "std is not positive")
    model.per_unit = model.lipschitz = UP / float(model.std.min())
    model.error = UP * (TINY * ONE + gamma(4) * SLOPE)
    model.norm = UP * (SLOPE + model.error)
    model.norms = [model.norm]  # of all vectors that are computed on the way
    for layer in model.layers:
        rounding = TINY * ONE + ROUNDING.get(layer.kind, 0) * SLOPE
        bias, inside = 0 * ONE, SLOPE
        if layer.kind in PARTS:
            with reading(layer.name, ValueError):
                rounding, bias, inside = prove_convolution(layer)
        fresh = UP * (rounding[1] * model.norm + rounding[0] * ONE)
        model.norms.append(UP * (inside[1] * model.norm + inside[0] * ONE))
        model.norm = UP * (UP * layer.lipschitz * model.norm + bias + fresh)
        model.error = UP * (UP * layer.lipschitz * model.error + fresh)
        model.lipschitz = UP * (UP * layer.lipschitz * model.lipschitz + TINY)
        model.norms.append(model.norm)


def prove_convolution(layer: Record) -> tuple[Array, Array, Array]:
    """Proves a convolution's claims; returns the norms of errors, bias and iterates."""
    kernel, (h, w, c), skew = layer.kernel, layer.size, layer.kind == SKEW
    claims = [number(claim) for claim in layer.claims.tolist()]
    norm, layer.lipschitz = claims[0], claims[-1]
    if skew:
        same = kernel == -kernel[::-1, ::-1].swapaxes(2, 3)
        require(same.all(), "it is not skew")
    sums = (np.abs(kernel).sum(axis=(0, 1, axis)).max() for axis in (2, 3))
    absolute = UP * (1 + gamma(kernel.size)) * math.prod(map(math.sqrt, sums)) + TINY
    require(not kernel.any() or norm_holds(layer, norm, absolute), "norm not proven")
    m, n = kernel.shape[:2]
    if layer.kind != CIRCULAR:  # there a pixel meets all taps
        m, n = min(m, h), min(n, w)
    unit = gamma(m * n * c + 2)
    bias = UP * float(norm_of(layer.bias)) * math.sqrt(h * w) * ONE
    error, inside = UP * unit * absolute * SLOPE, SLOPE
    if skew:
        error, inside = prove_polynomial(layer, norm, absolute, unit)
    return UP * (error + UP * unit * bias + TINY * ONE), bias, inside


def prove_polynomial(
    layer: Record, norm: float, absolute: float, unit: float
) -> tuple[Array, Array]:
    """Proves the claim for p(J); returns the norms of the errors and the iterates."""
    a = layer.coefficients.tolist()
    require(all(v == 0 or abs(v) >= 1 / HUGE for v in a), "a coefficient is too small")
    require(gain_holds(a, norm, UP * layer.lipschitz), "lipschitz not proven")
    grid = 1j * np.linspace(0, norm, 1000)
    iterate = error = inside = 0 * ONE
    for j in reversed(range(len(a))):
        fresh = UP * unit * (absolute * iterate + abs(a[j]) * SLOPE)
        error = UP * (UP * norm * error + fresh + TINY * ONE)
        # Between points of the grid |p| rises by at most its slope times half a step.
        slope = polynomial.polyval(norm, polynomial.polyder(np.abs(a[j:])))
        gain = np.abs(polynomial.polyval(grid, a[j:])).max() + norm / 999 * slope
        iterate = UP * (UP * gain * SLOPE + error)
        inside = np.maximum(inside, iterate)
    return error, inside


def norm_holds(layer: Record, norm: float, absolute: float) -> bool:
    """Whether ||J|| is at most the norm; `absolute` is a bound on || |J| ||."""
    (h, w, _), (m, n) = layer.size, layer.kernel.shape[:2]
    if layer.kind != CIRCULAR:
        h, w = h + m // 2, w + n // 2  # the torus
    h, w = h ** (m > 1), w ** (n > 1)
    y, x = np.arange(m) - m // 2, np.arange(n) - n // 2
    # At each frequency and its opposite, ||K|| has to be at most the norm: K = C + iS
    # with the sums of A_t cos and A_t sin, which err by gamma sum |A_t|. Of a skew
    # kernel, norm I - iK and norm I + iK are positive. X + iY is [[X, -Y], [Y, X]].
    error = 2 * absolute * gamma(y.size * x.size + 64)
    for i, j in np.ndindex(h // 2 + 1, w):
        angles = 2 * np.pi * (np.add.outer(y * i * w, x * j * h) % (h * w) / (h * w))
        c, s = (np.tensordot(f(angles), layer.kernel) for f in (np.cos, np.sin))
        if layer.kind == SKEW:
            shifts = (norm * np.eye(len(s)) + t for t in (s, -s))
            blocks = (np.block([[t, c], [-c, t]]) for t in shifts)
            holds = all(positive(block, error + 9 * U * norm) for block in blocks)
        else:
            root, left = np.block([[c, -s], [s, c]]) if s.any() else c, norm - error
            holds = left > 0 and squares_hold(root / norm, (left / norm) ** 2)
        if not holds:
            return False
    return True


def squares_hold(root: Array, most: float) -> bool:
    """Whether the squared norm is at most this, of a matrix known to a few units."""
    gram = root.T @ root if root.shape[0] > root.shape[1] else root @ root.T
    error = UP * gamma(max(root.shape) + 16) * np.trace(gram)
    return positive(lower(most) * np.eye(len(gram)) - gram, error)


def positive(matrix: Array, rounding: float) -> bool:
    """Whether symmetric matrices within `rounding` of this have no eigenvalue < 0."""
    # Cholesky's method errs by gamma_(n+1) trace (Rump 2006): subtract four times that.
    slack = 4 * gamma(len(matrix) + 8) * np.abs(np.diag(matrix)).sum() + rounding
    with contextlib.suppress(np.linalg.LinAlgError):
        shifted = matrix - UP * (slack + TINY) * np.eye(len(matrix))
        return bool(np.isfinite(np.linalg.cholesky(shifted)).all())
    return False


def gain_holds(coefficients: list[float], end: float, claim: float) -> bool:
    """Whether |p(i theta)| < claim for 0 <= theta <= end, in exact arithmetic.

    q(s) = claim^2 - |p(i theta)|^2, s = theta^2, is positive on an interval where its
    Bernstein coefficients are: on [0, end^2], else on both halves of it, and so on.
    """
    signed = [Fraction(a) * (-1) ** (k // 2) for k, a in enumerate([*coefficients, 0])]
    re, im = (polynomial.polymul(x, x) for x in (signed[::2], signed[1::2]))
    q = polynomial.polysub([Fraction(claim) ** 2], polynomial.polyadd(re, [0, *im]))
    n, end = len(q) - 1, Fraction(end) ** 2
    q = [a * end**k / math.comb(n, k) for k, a in enumerate(q)]
    b = [sum(math.comb(i, k) * q[k] for k in range(i + 1)) for i in range(n + 1)]
    pieces = [[int(x * math.lcm(*(y.denominator for y in b))) for x in b]]
    while pieces:
        rows = [pieces.pop()]
        if min(rows[0][0], rows[0][-1]) <= 0 or len(pieces) > 99:  # endless at a touch
            return False
        if min(rows[0]) <= 0:  # de Casteljau's algorithm, without dividing by 2
            for _ in range(n):
                rows.append([x + y for x, y in itertools.pairwise(rows[-1])])
            pieces.append([row[0] << n - k for k, row in enumerate(rows)])
            pieces.append([row[-1] << n - k for k, row in enumerate(rows)][::-1])
    return True


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
    model.offset = UP * (unit * model.offset + model.tail * np.abs(model.bias)) + TINY
    model.slope = UP * unit * model.slope


def curvature(model: Record, y: int, t: int) -> float:
    """The claimed m of the margin of y over t, proven when it is first used."""
    claim = float(model.curvatures[y, t])
    if (y, t) not in model.proven:
        lost = np.maximum(model.kernel[:, t] - model.kernel[:, y], 0)
        root = model.hidden_kernel[:, lost > 0] * np.sqrt(lost[lost > 0])
        holds = squares_hold(root, 4 * claim)
        proven = claim >= 0 and (holds or not root.any())
        require(proven, f"the curvature {claim} of {y} over {t} is not proven")
        model.proven.add((y, t))
    return claim


def read_certificate(line: bytes, model: Record, images: Record) -> Record:
    """Checks all of a certificate that needs no execution."""
    fields = read_json(line, LINE)
    require(fields["model"] == model.sha256, "it belongs to another model")
    index = number(fields["index"], 0, len(images.bytes), int)
    require(index not in images.seen, f"there is another one for image {index}")
    images.seen.add(index)
    pixels = images.bytes[index] / images.levels
    require((pixels <= 1).all(), "a pixel is not in [0, 1]")
    digest = hashlib.sha256(pixels.astype("<f8").tobytes()).hexdigest()
    require(fields["image"] == digest, "it belongs to another image")
    label, y = (number(fields[key], 0, model.classes, int) for key in LINE[1:3])
    require(label == images.labels[index], "the label is not the image's")
    radius = number(fields["radius"])
    require(radius == 0 or y == label, "the prediction is wrong and has a radius")
    others = [t for t in range(model.classes) if t != y] if radius else []
    classes, entries = fields["classes"], []
    fits = type(classes) is dict and list(classes) == list(map(str, others))
    require(fits, "the classes are not the others")
    for t in others:
        entry = Record(**{"eta": 0.0, "delta": "", **classes[str(t)]}, y=y, t=t)
        keys = ["radius", "eta", "delta"] if entry.delta else ["radius"]
        require(list(classes[str(t)]) == keys, f"class {t} has other keys")
        delta = np.frombuffer(base64.b64decode(entry.delta), "<f4")
        same = base64.b64encode(delta.tobytes()).decode() == entry.delta
        fits = delta.size in (0, model.depth) and np.isfinite(delta).all()
        require(same and fits, f"class {t}: delta is not {model.depth} finite numbers")
        entry.radius, entry.eta = number(entry.radius), number(entry.eta)
        entry.delta = delta.astype(np.float64) if delta.size else 0.0
        entries.append(entry)
    least = min([entry.radius for entry in entries], default=0)
    require(radius == least, "the radius is not the least of its classes")
    return Record(index=index, prediction=y, radius=radius, entries=entries)


def check_batch(batch: list[Record], model: Record, images: Record) -> float:
    """Proves predictions and radii; returns the least excess over the claimed radii."""
    pixels = images.bytes[[c.index for c in batch]] / images.levels
    n0 = norm_of(((pixels - model.mean) / model.std).reshape(len(batch), -1))
    features = features_of(model, pixels)
    for c, z in zip(batch, head_of(model, features)[0], strict=True):
        near = z.max() - 2.0**-30 * np.abs(z).max()  # a tie may break either way
        require(
            z[c.prediction] >= near, f"image {c.index}: prediction {z.argmax()} is due"
        )
    rows = [i for i, c in enumerate(batch) for _ in c.entries]
    entries = [entry for c in batch for entry in c.entries]
    if not rows:
        return math.inf
    radii = proven_radii(features[rows], n0[rows], entries, model).tolist()
    for i, entry, radius in zip(rows, entries, radii, strict=True):
        claim = f"the radius {entry.radius} against class {entry.t} is not proven"
        require(
            entry.radius <= radius, f"image {batch[i].index}: {claim} ({radius} is)"
        )
    return min(r - entry.radius for r, entry in zip(radii, entries, strict=True))


def proven_radii(features: Array, n0: Array, entries: list, model: Record) -> Array:
    """Proven radii of features [n, D] against a class each; NaN or below 0 if none."""
    y, t = np.array([(entry.y, entry.t) for entry in entries]).T
    eta, claims = np.array([(entry.eta, entry.radius) for entry in entries]).T
    reach = UP * (n0 + UP * model.per_unit * claims)  # n0 within the claimed radius
    norm, error = (UP * (a + b * reach) for a, b in (model.norm, model.error))
    points = np.array([f + e.delta for f, e in zip(features, entries, strict=True)])
    delta = points - features  # of the rounded sum: the dual holds for any delta
    length, here = norm_of(delta), UP * (norm + norm_of(delta))
    logits, slopes = head_of(model, points)
    g = logits[range(len(y)), y] - logits[range(len(y)), t]
    rounding = 8 * U * np.abs(g)
    for k, size in itertools.product((y, t), (here, norm)):
        rounding = rounding + UP * (model.slope[k] * size + model.offset[k])
    g = lower(g - UP * rounding)
    gradient = model.kernel.T[y] - model.kernel.T[t]
    relative, m, most = 4 * U, np.zeros(len(y)), here
    if model.curved:
        gradient = (gradient * slopes) @ model.hidden_kernel.T
        most = np.max(model.units * here[:, None] + model.sizes, axis=1)
        relative = norm_of(model.units) * (model.kappa * most / 4 + 20 * U + model.tail)
        m += [curvature(model, *pair) for pair in np.stack([y, t], 1).tolist()]
    doubt = UP * relative * (model.columns[y] + model.columns[t]) + TINY
    steep = UP * (norm_of(gradient) + UP * doubt)
    closed = lower(2 * g / (steep + UP * np.sqrt(steep**2 + 2 * m * g)))
    rest = lower(1 - UP * eta * m)
    residual = norm_of(delta + eta[:, None] * gradient) + 4 * U * (length + eta * steep)
    residual = UP * (residual + UP * eta * doubt)
    square = (1 - gamma(model.depth + 8)) * np.square(delta).sum(axis=-1)
    square = lower(square) + lower(2 * eta * g)
    square = lower(square - UP * residual**2 / rest)
    dual = lower(np.sqrt(np.where(rest > 0, square, np.nan)))
    distance = np.where([np.ndim(entry.delta) > 0 for entry in entries], dual, closed)
    proven = lower(distance - UP * 2 * error) / (UP * model.lipschitz)
    sizes = [*polynomial.polyval(reach, np.transpose(model.norms)), here, UP * most]
    return np.where(np.max(sizes, axis=0) < HUGE, lower(proven) - TINY, np.nan)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Checks certificates of lipjax.")
    parser.add_argument("certificates", help="certificates.jsonl")
    parser.add_argument("--model", required=True, help="model.npz, the model record")
    parser.add_argument("--data", required=True, help="images.npz: images and labels")
    try:
        r = verify(**vars(parser.parse_args(arguments)))
    except (Rejected, ValueError) as error:
        print("rejected:" if isinstance(error, Rejected) else "error:", error)
        return 1 if isinstance(error, Rejected) else 2
    print(f"accepted: {r.certificates} certificates of {r.images} images", end=", ")
    print(f"mean radius {r.mean_radius:.4g}, proven with {r.margin:.1e} to spare")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
