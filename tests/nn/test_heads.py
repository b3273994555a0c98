"""Heads: published logits and certificates, state, and what they promise."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import golden, jaxprs
from helpers.dense import EPS, jacobian, normal, relative_error
from helpers.heads import GOLDEN_HEADS, golden_head
from helpers.registry import PUBLISHED, drawn, initialised
from lipjax import ops
from lipjax.nn import (
    SPECTRAL,
    CurvatureHead,
    NormalizedHead,
    OrthogonalHead,
    refresh_spectral,
)

DOUBLE = {"param_dtype": jnp.float64}
HEADS = {
    "orthogonal": OrthogonalHead(4, **DOUBLE),
    "normalized": NormalizedHead(4, **DOUBLE),
    "curvature": CurvatureHead(4, hidden=9, **DOUBLE),
}
SIZES = [*((name, 6) for name in HEADS), ("orthogonal", 3)]  # which grows


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]}-{size[1]}")
def case(request):
    name, size = request.param
    head, z = HEADS[name], jnp.asarray(normal(1, 40, size))
    return head, drawn(head, z), z


def certified(head, variables, z, classes):
    """Logits and pair radii, in one program."""

    @jax.jit
    def run(variables, z, classes):
        constants = head.apply(variables, method="pair_constants")
        radii = head.apply(variables, z, classes, constants, method="pair_radii")
        return head.apply(variables, z), radii

    return run(variables, z, jnp.asarray(classes))


def golden_case(name, arrays):
    """Our head, its variables, features and labels for a linear golden head."""
    features, labels = arrays["features"][:, :, 0, 0], arrays["labels"]
    classes = arrays["logits"].shape[1]
    if name.startswith("lln"):
        params = {"kernel": arrays["param/weight"].T, "bias": arrays["param/bias"]}
        return NormalizedHead(classes, **DOUBLE), {"params": params}, features, labels
    conv = golden.soc_variables(arrays, "param/ortho.")
    variables = {name: {"conv": parts} for name, parts in conv.items()}
    head = OrthogonalHead(classes, exp=PUBLISHED, **DOUBLE)
    return head, variables, features, labels


@pytest.mark.parametrize("name", ["lln_10", "lln_40", "soc_head_10", "soc_head_40"])
def test_golden_linear_heads(shared, name):
    arrays = golden.load(shared(f"golden/{name}.npz"))

    def errors(change=lambda variables: variables):
        head, variables, features, labels = golden_case(name, arrays)
        logits, radii = certified(head, change(variables), features, labels)
        others = np.sort(radii, axis=1)[:, :-1]
        return (
            relative_error(logits, arrays["logits"]),
            relative_error(others, arrays["certificates_sorted"]),
        )

    assert max(errors()) <= golden.FLOAT32

    def minus_bias(variables):
        return jax.tree.map(lambda w: -w if w.ndim == 1 else w, variables)

    def transposed(variables):
        flip = jax.tree.map(lambda w: w[..., ::-1], variables["params"])
        return {**variables, "params": flip}

    for change in (minus_bias, transposed):
        assert min(errors(change)) > 100 * golden.FLOAT32


@pytest.mark.parametrize("name", GOLDEN_HEADS[:2])
def test_golden_curvature_head(shared, name):
    arrays = golden.load(shared(f"golden/{name}.npz"))
    weights, features, labels = golden_head(arrays)
    head = CurvatureHead(10, hidden=32, **DOUBLE)
    state = {"hidden_kernel_vectors": ((arrays["param/_u"], arrays["param/_v"][None]),)}
    variables = {"params": weights._asdict(), SPECTRAL: state}
    logits, radii = certified(head, variables, features, labels)
    assert relative_error(logits, arrays["logits"]) <= golden.FLOAT32
    expected = ops.curvature_radii(
        weights, features, labels, ops.pair_curvatures(weights)
    )
    np.testing.assert_allclose(radii, expected, rtol=1e-12)


def test_certificates_hold(case):
    """No random point inside the radius is classified otherwise."""
    head, variables, z = case
    apply = jax.jit(head.apply)
    y = np.asarray(apply(variables, z)).argmax(1)
    logits, radii = certified(head, variables, z, y)
    found = ops.binding_radius(radii, y)
    assert np.isposinf(radii[np.arange(len(y)), y]).all()
    assert (found.radius > 0).all()
    noise = normal(2, 200, *z.shape)
    noise /= np.linalg.norm(noise, axis=-1, keepdims=True)
    moved = np.asarray(z) + (1 - 1e-9) * np.asarray(found.radius)[:, None] * noise
    predicted = np.asarray(apply(variables, moved.reshape(-1, z.shape[1]))).argmax(1)
    assert (predicted.reshape(200, -1) == y).all()


@pytest.mark.parametrize("name", ["orthogonal", "normalized"])
def test_linear_constants_bound_the_margins(name):
    """||grad (l_y - l_t)|| <= the pair's constant, up to the polynomial's gain."""
    head, z = HEADS[name], jnp.asarray(normal(1, 1, 6))
    variables = drawn(head, z)
    dense = jacobian(lambda z: head.apply(variables, z), z)
    slopes = np.linalg.norm(dense[:, None] - dense[None], axis=-1)
    constants = np.asarray(head.apply(variables, method="pair_constants"))
    assert (slopes <= constants * (1 + 64 * EPS) + EPS).all()
    # Tight: rows of an orthogonal matrix are sqrt 2 apart but for the 2.2e-5 that
    # the default polynomial may lose; the normalised rows are exact.
    assert (slopes >= constants * (1 - 1e-4)).all()


def test_normalized_rows():
    """Scaling a row changes nothing; a zero row gives logits without NaN."""
    head = HEADS["normalized"]
    z = jnp.asarray(normal(1, 5, 6))
    variables = drawn(head, z)
    kernel = variables["params"]["kernel"]
    apply = jax.jit(head.apply)

    def logits(kernel):
        return apply({"params": {**variables["params"], "kernel": kernel}}, z)

    scaled = kernel * jnp.array([[2.0, 0.1, 3.0, 1.0]])
    np.testing.assert_allclose(logits(scaled), logits(kernel), rtol=1e-13)
    assert np.isfinite(logits(kernel.at[:, 0].set(0))).all()


def test_gradients_are_finite(case):
    head, variables, z = case

    def loss(params):
        return jnp.sum(head.apply({**variables, "params": params}, z, train=True) ** 2)

    gradient = jax.jit(jax.grad(loss))(variables["params"])
    assert all(np.isfinite(g).all() and g.any() for g in jax.tree.leaves(gradient))


def test_creation(case):
    """Shapes as drawn; initial values within their limits."""
    head, variables, z = case
    created = initialised(head, z)
    shapes = jax.tree.map(jnp.shape, created)
    assert shapes == jax.tree.map(jnp.shape, variables)
    if isinstance(head, CurvatureHead):
        limits = {"hidden": 6**-0.5, "output": 9**-0.5}
        for name, w in created["params"].items():
            assert np.abs(w).max() <= limits[name.split("_")[0]]


def test_curvature_state():
    """One step by `update_stats`, none otherwise; it converges to W1's norm."""
    head = HEADS["curvature"]
    z = jnp.asarray(normal(1, 5, 6))
    variables = drawn(head, z)
    matrix = variables["params"]["hidden_kernel"]
    start = jax.tree.map(lambda v: v[..., ::-1], variables[SPECTRAL])
    variables = {**variables, SPECTRAL: start}
    apply = jax.jit(head.apply, static_argnames=("train", "update_stats", "mutable"))
    assert apply(variables, z).shape == (5, 4)
    for train in (False, True):
        _, same = apply(variables, z, train=train, mutable=(SPECTRAL,))
        chex.assert_trees_all_equal(same[SPECTRAL], start)
    _, new = apply(variables, z, update_stats=True, mutable=(SPECTRAL,))
    expected = ops.power_iteration(matrix[None], start["hidden_kernel_vectors"][0], 1)
    for found, vector in zip(
        new[SPECTRAL]["hidden_kernel_vectors"][0], expected, strict=True
    ):
        np.testing.assert_allclose(found, vector, atol=4 * EPS)
    refreshed = jax.jit(lambda v: refresh_spectral(v, 500))(variables)
    vectors = refreshed["hidden_kernel_vectors"][0]
    norm = np.linalg.norm(matrix, 2)
    assert ops.singular_value_estimate(matrix[None], vectors) == pytest.approx(
        norm, rel=1e-12
    )


def test_penalty():
    head = HEADS["curvature"]
    z = jnp.asarray(normal(1, 5, 6))
    variables = drawn(head, z)
    logits, labels = jax.jit(head.apply)(variables, z), jnp.array([0, 1, 2, 3, 0])
    found = jax.jit(lambda *a: head.apply(variables, *a, method="penalty"))(
        logits, labels
    )
    weights = ops.CurvatureWeights(**variables["params"])
    start = variables[SPECTRAL]["hidden_kernel_vectors"][0][0]
    expected = ops.curvature_penalty(weights, logits, labels, start)
    assert found == pytest.approx(float(expected), rel=1e-12)


def test_curvature_head_computes_in_its_own_precision():
    head = CurvatureHead(4, hidden=9)
    z = jnp.ones((2, 6), jnp.bfloat16)
    variables = drawn(head, z)
    assert jax.jit(head.apply)(variables, z).dtype == jnp.float32


def test_precision_is_stated(case):
    head, variables, z = case
    jaxpr = jax.make_jaxpr(jax.grad(lambda v: head.apply(v, z).sum()))(variables)
    assert jaxprs.contractions(jaxpr) and not jaxprs.imprecise(jaxpr)
    constants = jax.make_jaxpr(lambda v: head.apply(v, method="pair_constants"))
    assert not jaxprs.imprecise(constants(variables))
