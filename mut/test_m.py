"""The parts of the checker, lipjax/verify.py, each against another way to get there."""

import hashlib
import itertools
import json
import math
import subprocess
import sys
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

import verify as checker

U = checker.U
TAYLOR = [1 / math.factorial(k) for k in range(9)]


@pytest.fixture(autouse=True)
def quiet():
    """As in `verify`: what overflows is refused where it is compared."""
    with np.errstate(all="ignore"):
        yield


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


def true_gain(coefficients, end):
    """The maximum by the roots of the derivative of |p(i theta)|^2 in theta."""
    even = np.array([a * (-1) ** (k // 2) * (k % 2 == 0) for k, a in coefficients])
    odd = np.array([a * (-1) ** (k // 2) * (k % 2 == 1) for k, a in coefficients])
    squared = np.polynomial.Polynomial(even) ** 2 + np.polynomial.Polynomial(odd) ** 2
    roots = squared.deriv().roots()
    points = [0.0, end, *(r.real for r in roots if 0 < r.real < end)]
    return math.sqrt(max(squared(np.array(points))))


# --- Polynomials


@pytest.mark.parametrize("degree", range(1, 10))
def test_gain_is_decided_as_by_roots(degree):
    rng = np.random.default_rng(degree)
    for end in (0.0, 0.7, 2.5):
        a = rng.normal(size=degree + 1).tolist()
        gain = true_gain(list(enumerate(a)), end)
        assert checker.gain_holds(a, end, gain * (1 + 1e-9))
        assert not checker.gain_holds(a, end, gain * (1 - 1e-9))


def test_gain_is_exact_at_a_touch():
    ulp = 2.0**-52
    assert checker.gain_holds([0.0, 1.0], 2.0, 2.0 + 2 * ulp)
    assert not checker.gain_holds([0.0, 1.0], 2.0, 2.0)  # it is reached
    assert checker.gain_holds([3.0], 2.0, 3.0 + 2 * ulp)
    assert not checker.gain_holds([3.0], 2.0, 3.0)
    assert checker.gain_holds([1.0, 0.0, 0.0], 2.0, 1 + ulp)


@pytest.mark.parametrize(
    ("degree", "end"), [(3, 1.73), (4, 2.82), (7, 1.76), (8, 3.39)]
)
def test_non_expansive_taylor_polynomials_pass_with_one(degree, end):
    a = TAYLOR[: degree + 1]
    assert checker.gain_holds(a, end, checker.UP)
    assert not checker.gain_holds(a, end, 1 - 1e-12)
    assert not checker.gain_holds(a, end + 0.02, checker.UP)


def test_a_peak_inside_is_found_to_the_last_digits():
    a = TAYLOR[:6]
    gain = true_gain(list(enumerate(a)), 1.7)
    ends = [abs(sum(c * (1j * x) ** k for k, c in enumerate(a))) for x in (0, 1.7)]
    assert gain > max(ends) + 1e-4
    assert not checker.gain_holds(a, 1.7, gain * (1 - 1e-13))
    assert checker.gain_holds(a, 1.7, gain * (1 + 1e-13))


# --- Convolutions


SIZES = [(5, 1, 1), (3, 1, 5), (3, 2, 2), (5, 2, 3), (3, 4, 5), (1, 3, 2)]


@pytest.mark.parametrize(("k", "h", "w"), SIZES)
def test_norm_against_dense_matrices(k, h, w):
    layer = make_layer(skew_kernel(np.random.default_rng(k + h), k, 3), (h, w))
    layer.absolute_norm = np.linalg.norm(np.abs(layer.taps).sum(axis=0), 2) * 1.1
    dense, torus = jacobian(layer), torus_norm(layer)
    np.testing.assert_array_equal(dense, -dense.T)
    assert np.linalg.norm(dense, 2) <= torus * (1 + 1e-12)
    for factor, holds in ((1 + 1e-9, True), (1 - 1e-9, False), (0.999, False)):
        layer.norm = torus * factor
        assert checker.norm_holds(layer) == holds


def test_absolute_norm():
    rng = np.random.default_rng(0)
    kernel = skew_kernel(rng, 3, 4)
    kernel[:, :, 1] = kernel[:, :, :, 1] = 0  # a channel apart: S is reducible
    layer = make_layer(kernel)
    layer.norm = layer.lipschitz = torus_norm(layer) * (1 + 1e-9)
    beta = np.linalg.norm(np.abs(layer.taps).sum(axis=0), 2)
    for factor in (1 + 1e-12, 1.01, 100):
        layer.absolute_norm = beta * factor
        checker.prove_convolution(layer)
    for factor in (1 - 1e-9, 0.5, 0):
        layer.absolute_norm = beta * factor
        with pytest.raises(ValueError, match=r"absolute_norm|Singular"):
            checker.prove_convolution(layer)


def proven_layer(rng, coefficients, size=(4, 4), stride=1, k=3, c=4):
    layer = make_layer(skew_kernel(rng, k, c), size, stride, None, coefficients)
    scale = 1.5 / torus_norm(layer)
    layer = make_layer(
        layer.kernel * scale, size, stride, rng.normal(size=2), coefficients
    )
    layer.norm = torus_norm(layer) * (1 + 1e-9)
    layer.absolute_norm = np.linalg.norm(np.abs(layer.taps).sum(axis=0), 2) * 1.001
    gain = true_gain(list(enumerate(coefficients)), layer.norm)
    layer.lipschitz = gain * (1 + 1e-12)
    return layer


def test_claims_of_a_convolution():
    rng = np.random.default_rng(1)
    layer = proven_layer(rng, TAYLOR[:6])
    n, rho = checker.prove_convolution(layer)
    assert n == 9 * 4 + 2
    assert 10 * U < rho < 1e4 * U
    layer.lipschitz *= 0.999
    with pytest.raises(ValueError, match="lipschitz"):
        checker.prove_convolution(layer)
    layer.lipschitz /= 0.999
    layer.kernel[0, 0, 0, 1] = np.nextafter(layer.kernel[0, 0, 0, 1], 9)
    with pytest.raises(ValueError, match="skew"):
        checker.prove_convolution(layer)


def test_convolution_by_definition():
    rng = np.random.default_rng(2)
    layer = proven_layer(rng, TAYLOR[:5], (4, 6), 2, c=9)
    z = rng.normal(size=(2, 4, 6, 2))
    blocks = np.zeros((2, 2, 3, 9))
    for p, q, i, j in itertools.product(range(2), range(3), range(2), range(2)):
        blocks[:, p, q, 2 * i + j] = z[:, 2 * p + i, 2 * q + j, 0]
        blocks[:, p, q, 4 + 2 * i + j] = z[:, 2 * p + i, 2 * q + j, 1]
    identity = make_layer(layer.kernel, (2, 3), 1)
    j = jacobian(identity)
    p = sum(a * np.linalg.matrix_power(j, k) for k, a in enumerate(layer.coefficients))
    expected = (blocks.reshape(2, -1) @ p.T).reshape(blocks.shape)[..., :2] + layer.bias
    np.testing.assert_allclose(checker.convolution(layer, z), expected, atol=1e-12)
    # J itself: (J z)_p is the sum of A_t^T z_(p+t).
    direct = np.zeros_like(blocks)
    for a, b, s, t in itertools.product(range(2), range(3), range(-1, 2), range(-1, 2)):
        if 0 <= a + s < 2 and 0 <= b + t < 3:
            tap = layer.kernel[1 + s, 1 + t]
            direct[:, a, b] += blocks[:, a + s, b + t] @ tap
    got = checker.convolution(identity, blocks)
    np.testing.assert_allclose(got, direct, atol=1e-12)


def test_rounding_of_a_convolution_is_covered():
    rng = np.random.default_rng(3)
    layer = proven_layer(rng, TAYLOR[:7])
    n, rho = checker.prove_convolution(layer)
    z = rng.normal(size=(50, 4, 4, 4))
    exact = SimpleNamespace(**vars(layer))
    exact.taps, exact.bias = (
        layer.taps.astype(np.longdouble),
        layer.bias * np.longdouble(1),
    )
    wide = checker.convolution(exact, z.astype(np.longdouble))
    if wide.dtype.itemsize == 8:
        pytest.skip("no wider floating point")
    error = np.linalg.norm(
        (checker.convolution(layer, z) - wide).reshape(50, -1), axis=1
    )
    alpha = n * U * np.linalg.norm(layer.bias) * 4
    bound = rho * np.linalg.norm(z.reshape(50, -1), axis=1) + alpha
    assert (error <= bound).all() and error.max() > 1e-4 * bound.max()


def test_positive():
    rng = np.random.default_rng(4)
    basis = np.linalg.qr(rng.normal(size=(30, 30)))[0]
    for least, holds in ((1e-9, True), (-1e-9, False), (-1.0, False)):
        matrix = (basis * np.linspace(least, 5, 30)) @ basis.T
        assert checker.positive(matrix, 0.0) == holds
        assert not checker.positive(matrix, 2e-9)
    # Where rounding decides whether the factorisation ends, nothing is proven.
    assert not checker.positive(np.diag([1e-16, *[1.0] * 29]), 0.0)
    assert not checker.positive(np.full((2, 2), np.nan), 0.0)
    assert not checker.positive(np.zeros((2, 2)), 0.0)


# --- Pairs


def angles_of(kind, rng, n):
    return rng.uniform(-1, 7.5, size=(checker.ANGLES[kind], n))


@pytest.mark.parametrize("kind", sorted(checker.ANGLES))
def test_pairs_do_not_expand(kind):
    rng = np.random.default_rng(5)
    angles = angles_of(kind, rng, 2000)
    x = rng.normal(size=(2, 2, 2000))
    x[1] = x[0] + rng.normal(size=(2, 2000)) * 10.0 ** rng.uniform(-6, 0.5, size=2000)
    y = checker.pairs(kind, x[:, 0], x[:, 1], *angles).reshape(2, -1, 2000)
    before, after = (np.linalg.norm(z[1] - z[0], axis=0) for z in (x, y))
    assert (after <= before * (1 + 1e-9) + 1e-14).all()
    assert (np.linalg.norm(y, axis=1) <= np.linalg.norm(x, axis=1) * (1 + 1e-12)).all()
    if len(y[0]) == 2:  # no norm is lost
        np.testing.assert_allclose(*(np.linalg.norm(z, axis=1) for z in (x, y)), 1e-12)


def test_pairs_by_hand():
    a, b, quarter = np.array([[1.0]]), np.array([[-2.0]]), np.array([np.pi / 2])
    assert checker.pairs("max", a, b).tolist() == [[1.0]]
    assert checker.pairs("maxmin", a, b).tolist() == [[1.0, -2.0]]
    swapped = checker.pairs("householder", a, b, quarter)
    np.testing.assert_allclose(swapped, [[-2, 1]], atol=1e-15)
    # A wedge of half-angle 45 degrees; the point's distance to it is (2 - 1) / sqrt 2.
    distance = checker.pairs("projection", a, b, quarter)
    np.testing.assert_allclose(distance, [[math.sqrt(0.5)]])
    behind = checker.pairs("projection", -a - 9, b, quarter)
    np.testing.assert_allclose(behind, [[math.hypot(10, 2)]])
    identity = checker.pairs("householder2", a, b, 0 * quarter, 8 + quarter, quarter)
    turned = checker.pairs("householder2", a, b, 0 * quarter, 0 * quarter, 8 + quarter)
    np.testing.assert_allclose(identity, [[1, 2]], atol=1e-14)  # reflected by 0
    np.testing.assert_allclose(turned, [[1, -2]], atol=1e-14)  # turned by 2 pi


# --- Norms and heads


def test_norms_are_bounds():
    rng = np.random.default_rng(6)
    x = rng.normal(size=(20, 300)) * 10.0 ** rng.uniform(-100, 50, size=(20, 1))
    for row, up, down in zip(
        x, checker.norm_of(x), checker.norm_of(x, -1), strict=True
    ):
        square = sum(Fraction(v) ** 2 for v in row.tolist())
        assert Fraction(down) ** 2 <= square <= Fraction(up) ** 2
        assert up <= down * (1 + 1e-12)
    assert 0 < checker.norm_of(np.full(3, 1e-200))  # squares underflow


def make_head(rng, curved, depth=3, hidden=7, classes=3):
    model = SimpleNamespace(curved=curved, depth=depth, proven=set(), per_unit=1.0)
    model.kernel = rng.normal(size=(hidden if curved else depth, classes))
    model.bias = rng.normal(size=classes) / 4
    model.norm, model.error, model.lipschitz = (0, 1), (0, 0), 1.0
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


def test_curvatures_are_proven_or_refused():
    model = make_head(np.random.default_rng(7), curved=True)
    true = model.curvatures.copy()
    assert checker.curvature(model, 0, 1) == true[0, 1] != true[1, 0]
    for factor in (1 - 1e-9, 0.5, 0.0, -1.0):
        model.curvatures, model.proven = true * factor, set()
        with pytest.raises(checker.Rejected, match="curvature"):
            checker.curvature(model, 0, 1)
    # Where y's column dominates t's, the margin is convex, and m = 0 is true.
    model.kernel[:, 0] = model.kernel[:, 1] + 1
    model.curvatures[0, 1] = 0
    assert checker.curvature(model, 0, 1) == 0
    model.curvatures[0, 1] = -1
    model.proven.clear()
    with pytest.raises(checker.Rejected):
        checker.curvature(model, 0, 1)


def entries_of(y, t, **kwargs):
    kwargs = {"eta": 0.0, "delta": 0.0, "radius": 0.0, "method": "closed"} | kwargs
    return [SimpleNamespace(y=y, t=t, **kwargs)]


@pytest.mark.parametrize("curved", [False, True])
def test_no_point_within_a_proven_radius_changes_the_class(curved):
    rng = np.random.default_rng(8)
    found = []
    for _ in range(150):
        model = make_head(rng, curved)
        f = rng.normal(size=(1, 3))
        logits = checker.head_of(model, f)[0][0]
        y, t = logits.argmax(), logits.argmin()
        entries = entries_of(y, t)
        if curved and rng.random() < 0.7:
            eta = rng.uniform(0, 1) / model.curvatures[y, t]
            delta = np.zeros(3)
            for _ in range(rng.integers(0, 30)):
                z, slopes = checker.head_of(model, f + delta)
                d = model.kernel[:, y] - model.kernel[:, t]
                gradient = model.hidden_kernel @ (slopes[0] * d)
                delta -= 0.3 * (delta + eta * gradient)
            entries = entries_of(y, t, method="dual", eta=eta, delta=delta)
        (radius,) = checker.proven_radii(f, np.zeros(1), entries, model)
        if not radius > 0:
            continue
        steps = rng.normal(size=(4000, 3))
        steps *= radius / np.linalg.norm(steps, axis=1, keepdims=True)
        moved = checker.head_of(model, f + steps)[0]
        margins = moved[:, y] - moved[:, t]
        assert margins.min() > 0
        found.append(margins.min() / (logits[y] - logits[t]))
    assert len(found) > 50 and min(found) < 0.05  # and some radii are tight


def test_dual_at_zero_is_the_closed_form():
    model = make_head(np.random.default_rng(9), curved=True)
    f = np.ones((1, 3))
    logits, slopes = checker.head_of(model, f)
    y, t = logits[0].argmax(), logits[0].argmin()
    (closed,) = checker.proven_radii(f, np.zeros(1), entries_of(y, t), model)
    d, m = model.kernel[:, y] - model.kernel[:, t], model.curvatures[y, t]
    gradient = np.linalg.norm(model.hidden_kernel @ (slopes[0] * d))
    g = logits[0, y] - logits[0, t]
    eta = closed / math.sqrt(gradient**2 + 2 * m * g)
    entries = entries_of(y, t, method="dual", eta=eta, delta=np.zeros(3))
    (dual,) = checker.proven_radii(f, np.zeros(1), entries, model)
    np.testing.assert_allclose(dual, closed, rtol=1e-9)
    for bad in (1 / m, 2 / m):
        entries = entries_of(y, t, method="dual", eta=bad, delta=np.zeros(3))
        assert not checker.proven_radii(f, np.zeros(1), entries, model)[0] > 0


@pytest.mark.parametrize("curved", [False, True])
def test_rounding_of_the_head_is_covered(curved):
    rng = np.random.default_rng(10)
    model = make_head(rng, curved, depth=200, hidden=300, classes=4)
    f = rng.normal(size=(20, 200))
    wide = SimpleNamespace(**vars(model))
    for name in ("kernel", "bias") + ("hidden_kernel", "hidden_bias") * curved:
        setattr(wide, name, getattr(model, name).astype(np.longdouble))
    exact, slopes = checker.head_of(wide, f.astype(np.longdouble))
    if exact.dtype.itemsize == 8:
        pytest.skip("no wider floating point")
    logits, rounded = checker.head_of(model, f)
    norms = np.linalg.norm(f, axis=1)[:, None]
    bound = model.slope * norms + model.offset
    assert (np.abs(logits - exact) <= bound).all()
    assert np.abs(logits - exact).max() > 1e-5 * bound.max()
    assert np.abs(rounded - slopes).max() < 1e-13
    # The worst case is far above what happens: against the page's formula, too.
    columns, d, h = np.abs(model.kernel), 200 * U, 300 * U
    if curved:
        units = np.linalg.norm(model.hidden_kernel, axis=0)[:, None] * norms[0]
        sizes = units[:, 0] + np.abs(model.hidden_bias) + 1
        formula = (d + h + 34 * U) * (sizes @ columns) + (h + 6 * U) * np.abs(
            model.bias
        )
    else:
        formula = (d + 2 * U) * np.linalg.norm(columns, axis=0) * norms[0]
        formula += (d + 2 * U) * np.abs(model.bias)
    np.testing.assert_allclose(bound[0], formula, rtol=1e-9)


# --- Whole files


def write_example(path, radius):
    """A model without layers: two pixels z = (x - 0.5) / 0.25, logits z and 0.2."""
    header = {"format": "lipjax model 1", "image_shape": [1, 2, 1], "layers": []}
    arrays = {
        "header": np.frombuffer(json.dumps(header | {"head": "linear"}).encode(), "u1"),
        "mean": np.array([0.5]),
        "std": np.array([0.25]),
        "head.kernel": np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        "head.bias": np.array([0.0, 0.0, 0.2]),
    }
    np.savez(path / "model.npz", **arrays)
    images = np.array([[[[9], [6]]], [[[6], [9]]]], np.uint8)
    np.savez(path / "images.npz", images=images, levels=10, labels=np.array([0, 1]))
    x = images[0] / 10.0
    classes = {
        "1": {"radius": radius, "method": "closed"},
        "2": {"radius": max(radius, 0.35 * (1 - 1e-9)), "method": "closed"},
    }
    sha256 = hashlib.sha256((path / "model.npz").read_bytes()).hexdigest()
    return {
        "index": 0, "label": 0, "prediction": 0, "radius": radius, "runner_up": 1,
        "slack": 0.0, "model": sha256,
        "image": hashlib.sha256(x.tobytes()).hexdigest(), "classes": classes,
    }  # fmt: skip


# The boundary to class 1 is where the pixels are equal, 0.3 / sqrt 2 away.
NEAREST = 0.3 / math.sqrt(2)


def check(path, *rows):
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (path / "certificates.jsonl").write_text("".join(line + "\n" for line in lines))
    names = "certificates.jsonl", "model.npz", "images.npz"
    return checker.verify(*(path / name for name in names))


def test_a_file_by_hand(tmp_path):
    row = write_example(tmp_path, NEAREST * (1 - 1e-10))
    report = check(tmp_path, row)
    assert (report.certificates, report.images) == (1, 2)
    assert report.mean_radius == row["radius"]
    assert 0 < report.margin < 1e-10
    row = write_example(tmp_path, NEAREST * (1 + 1e-10))
    with pytest.raises(checker.Rejected, match=r"line 1 \(image 0\): .* not proven"):
        check(tmp_path, row)


def changed(row, keys, value):
    row = json.loads(json.dumps(row))
    inner = row
    for key in keys[:-1]:
        inner = inner[key]
    if value is None:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    return row


BROKEN = [
    (["label"], 1), (["label"], True), (["prediction"], 1), (["radius"], 0.1),
    (["radius"], 0), (["radius"], float("nan")), (["radius"], "0.2"), (["index"], 2),
    (["index"], 1), (["model"], "0"), (["image"], "0"), (["runner_up"], 2),
    (["runner_up"], 0), (["slack"], -1), (["slack"], None), (["classes"], {}),
    (["classes", "1"], None), (["classes", "0"], {"radius": 9.0, "method": "closed"}),
    (["classes", "2", "radius"], 0.36), (["classes", "2", "radius"], float("inf")),
    (["classes", "2", "radius"], -1.0), (["classes", "2", "radius"], None),
    (["classes", "2", "method"], "dual"), (["classes", "2", "method"], []),
    (["classes", "2", "eta"], 0.0), (["extra"], 1),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "value"), BROKEN)
def test_broken_certificates_are_rejected(tmp_path, keys, value):
    row = write_example(tmp_path, 0.2)
    with pytest.raises(checker.Rejected, match="line 1") as caught:
        check(tmp_path, changed(row, keys, value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("line", ["", "{", "[]", "1", '"x"', "null", "[" * 10**5])
def test_lines_that_are_no_certificates_are_rejected(tmp_path, line):
    row = write_example(tmp_path, 0.2)
    with pytest.raises(checker.Rejected, match="line 2"):
        check(tmp_path, row, line)


def test_duplicates_are_rejected_and_a_radius_of_zero_is_not(tmp_path):
    row = write_example(tmp_path, 0.2)
    with pytest.raises(checker.Rejected, match="line 2: there is another"):
        check(tmp_path, row, row)
    with pytest.raises(checker.Rejected, match="twice"):
        check(tmp_path, json.dumps(row).replace("{", '{"radius": 9, ', 1))
    with pytest.raises(checker.Rejected, match="no certificate"):
        check(tmp_path)
    nothing = row | {"radius": 0.0, "classes": {}}
    assert check(tmp_path, nothing) == (1, 2, 0.0, math.inf)


def test_an_image_must_be_labelled_so_and_have_pixels_up_to_1(tmp_path):
    row = write_example(tmp_path, 0.2)
    nothing = row | {"radius": 0.0, "classes": {}}
    with pytest.raises(checker.Rejected, match="label"):
        check(tmp_path, nothing | {"label": 1})
    arrays = dict(np.load(tmp_path / "images.npz"))
    np.savez(tmp_path / "images.npz", **arrays | {"labels": np.array([2, 2])})
    check(tmp_path, nothing | {"label": 2})
    with pytest.raises(checker.Rejected, match="prediction is wrong"):
        check(tmp_path, row | {"label": 2})
    np.savez(tmp_path / "images.npz", **arrays | {"levels": np.array(8)})
    sha256 = hashlib.sha256((arrays["images"][0] / 8.0).tobytes()).hexdigest()
    with pytest.raises(checker.Rejected, match="pixel"):
        check(tmp_path, nothing | {"image": sha256})


def test_a_tie_may_break_either_way_and_has_no_radius(tmp_path):
    row = write_example(tmp_path, 0.2)
    images = np.full((1, 1, 2, 1), 8, np.uint8)
    labels = np.array([1])
    np.savez(tmp_path / "images.npz", images=images, levels=10, labels=labels)
    row["image"] = hashlib.sha256((images / 10.0).tobytes()).hexdigest()
    nothing = row | {"label": 1, "radius": 0.0, "classes": {}}
    for prediction in (0, 1):
        check(tmp_path, nothing | {"prediction": prediction})
    with pytest.raises(checker.Rejected, match="the prediction is"):
        check(tmp_path, nothing | {"prediction": 2})
    entry = {"radius": 1e-12, "method": "closed"}
    tie = {"label": 1, "prediction": 1, "radius": 1e-12, "runner_up": 0}
    with pytest.raises(checker.Rejected, match="not proven"):
        check(tmp_path, row | tie | {"classes": {"0": entry, "2": entry}})


@pytest.mark.parametrize("name", ["model.npz", "images.npz", "certificates.jsonl"])
def test_the_command_line(tmp_path, capsys, name):
    row = write_example(tmp_path, 0.2)
    check(tmp_path, row)
    paths = [
        str(tmp_path / n) for n in ("certificates.jsonl", "model.npz", "images.npz")
    ]
    arguments = [paths[0], "--model", paths[1], "--data", paths[2]]
    assert checker.main(arguments) == 0
    assert capsys.readouterr().out.startswith("accepted: 1 certificates of 2 images")
    (tmp_path / name).write_bytes(b"PK\x03\x04 no archive")
    code = checker.main(arguments)
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    if name == "certificates.jsonl":
        assert code == 1 and said.startswith("rejected: ")
    else:
        assert code == 2 and said.startswith("error: ")
    (tmp_path / name).unlink()
    assert checker.main(arguments) == 2


@pytest.mark.parametrize("std", [0.0, -0.25, float("nan"), float("inf")])
def test_a_model_that_cannot_be_is_rejected(tmp_path, std):
    row = write_example(tmp_path, 0.2)
    arrays = dict(np.load(tmp_path / "model.npz"))
    np.savez(tmp_path / "model.npz", **arrays | {"std": np.array([std])})
    with pytest.raises(checker.Rejected, match="std"):
        check(tmp_path, row)


def test_the_checker_needs_nothing_but_numpy(tmp_path):
    row = write_example(tmp_path, 0.2)
    check(tmp_path, row)
    code = (
        "import runpy, sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name.split('.')[0] in ('lipjax', 'jax', 'scipy', 'flax'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    arguments = [checker.__file__, "certificates.jsonl"]
    arguments += ["--model", "model.npz", "--data", "images.npz"]
    program = f"import sys; sys.argv = {arguments}\n" + code
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("accepted: ")
