"""The checker's norms, heads, closed forms and duals."""

import math
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.checker import entries_of, make_head
from lipjax import verify as checker

pytestmark = pytest.mark.usefixtures("quiet")

U = checker.U


def test_norms_are_bounds():
    rng = np.random.default_rng(6)
    x = rng.normal(size=(20, 300)) * 10.0 ** rng.uniform(-100, 50, size=(20, 1))
    for row, up in zip(x, checker.norm_of(x), strict=True):
        square = sum(Fraction(v) ** 2 for v in row.tolist())
        assert square <= Fraction(up) ** 2 <= square * Fraction(1 + 1e-12)
    assert 0 < checker.norm_of(np.full(3, 1e-200))  # squares underflow


def test_curvatures_are_proven_or_refused():
    model = make_head(np.random.default_rng(7), curved=True)
    true = model.curvatures.copy()
    assert checker.curvature(model, 0, 1) == true[0, 1] != true[1, 0]
    for factor in (1 - 1e-9, 0.5, 0.0, -1.0):
        model.curvatures, model.proven = true * factor, set()
        with pytest.raises(ValueError, match="curvature"):
            checker.curvature(model, 0, 1)
    # Where y's column dominates t's, the margin is convex, and m = 0 is true.
    model.kernel[:, 0] = model.kernel[:, 1] + 1
    model.curvatures[0, 1] = 0
    assert checker.curvature(model, 0, 1) == 0
    model.curvatures[0, 1] = -1
    model.proven.clear()
    with pytest.raises(ValueError, match="curvature"):
        checker.curvature(model, 0, 1)


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
            entries = entries_of(y, t, eta=eta, delta=delta)
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
    entries = entries_of(y, t, eta=eta, delta=np.zeros(3))
    (dual,) = checker.proven_radii(f, np.zeros(1), entries, model)
    np.testing.assert_allclose(dual, closed, rtol=1e-9)
    for bad in (1 / m, 2 / m):
        entries = entries_of(y, t, eta=bad, delta=np.zeros(3))
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
