"""A frozen network is the model to rounding, and what is proven of it holds."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.dense import normal
from helpers.networks import KINDS, images
from helpers.registry import drawn
from lipjax import (
    FrozenNetwork,
    LipConvNet,
    certificate_constants,
    freeze,
    ops,
    predict_with_radius,
)
from lipjax.certify import Dense, SkewConvolution
from lipjax.inference.frozen import as_matrix, pays

LOGITS = jax.jit(lambda frozen, x: frozen(x))
NONE, SOME, ALL = 0, 20_000, 2**26  # entries of the largest matrix


@functools.cache
def small_model(kind, seed, dtype=jnp.float32):
    """A model for 8x8 images of one channel and 5 classes, and its variables."""
    settings = dict(stages=3, width=4, mean=(0.3,), std=(0.4,), param_dtype=dtype)
    model = LipConvNet((8, 8, 1), 5, **settings, **KINDS[kind])
    return model, drawn(model, jnp.zeros((1, 8, 8, 1), dtype), seed=seed)


def kinds_of(frozen):
    """How each convolution of the trunk is applied: densely or not."""
    kinds = {Dense: "dense", SkewConvolution: "convolution"}
    layers = frozen.network.layers
    return [kinds[type(each)] for each in layers if type(each) in kinds]


@functools.cache
def expected(kind):
    """Model and variables in float64, images, and their features and logits."""
    with jax.enable_x64(True):
        model, variables = small_model(kind, 0, jnp.float64)
        x = images(4)
        run = jax.jit(
            lambda v, x: (model.apply(v, x, method="features"), model.apply(v, x))
        )
        return model, variables, x, *run(variables, x)


@pytest.mark.parametrize(
    ("kind", "entries"),
    [("normalized", SOME), ("orthogonal", ALL)]
    + [
        pytest.param(*case, marks=pytest.mark.long)
        for case in [
            *((kind, ALL) for kind in KINDS if kind != "orthogonal"),
            *((kind, NONE) for kind in ("normalized", "orthogonal", "curvature")),
        ]
    ],
)
def test_features_and_logits_in_double_precision(kind, entries):
    model, variables, x, features, logits = expected(kind)
    frozen = freeze(model, variables, dense_entries=entries)
    chex.assert_tree_all_finite(frozen)
    count = {NONE: 0, SOME: 3, ALL: 4}[entries]
    assert kinds_of(frozen).count("dense") == count
    found = jax.jit(FrozenNetwork.features)(frozen, x)
    np.testing.assert_allclose(found, features, rtol=0, atol=1e-12)
    np.testing.assert_allclose(frozen.classify(found), logits, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "entries"),
    [
        ("normalized", ALL),
        pytest.param("normalized", NONE, marks=pytest.mark.long),
        pytest.param("orthogonal", ALL, marks=pytest.mark.long),
        pytest.param("curvature", ALL, marks=pytest.mark.long),
    ],
)
def test_single_precision(kind, entries):
    """In the variables' precision; as near to the exact logits as the model is."""
    model, variables, x, _, logits = expected(kind)
    model = model.clone(param_dtype=jnp.float32)
    variables = jax.tree.map(jnp.float32, variables)
    frozen = freeze(model, variables, dense_entries=entries)
    assert {leaf.dtype for leaf in jax.tree.leaves(frozen)} == {jnp.dtype("float32")}
    found = LOGITS(frozen, x.astype(np.float32))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, logits, rtol=0, atol=2e-5 * np.abs(logits).max())


def convolution(seed=0, k=3, channels=4, out=4, stride=1):
    kernel = 0.3 * normal(seed, k, k, channels, channels)
    kernel = (kernel - kernel[::-1, ::-1].swapaxes(2, 3)) / 2  # jax is not x64 yet here
    bias = normal(seed + 1, out)
    return SkewConvolution(kernel, bias, ops.chebyshev(8, 2.2), stride)


@pytest.mark.parametrize(
    ("conv", "shape"),
    [
        (convolution(0, channels=6, out=6), (1, 1, 6)),
        (convolution(1, channels=8, out=8), (2, 2, 4)),  # expands
        (convolution(2, channels=8, out=3), (2, 2, 8)),  # shrinks
        (convolution(3, channels=8, out=6), (3, 2, 5)),
        (convolution(4, channels=12, out=12, stride=2), (4, 6, 3)),
        (convolution(5, channels=9, out=5, stride=2), (2, 2, 2)),
        (convolution(6, k=1, channels=8, out=8, stride=2), (4, 4, 2)),
        (convolution(7, k=5, channels=4), (2, 3, 4)),
        (convolution(8, channels=40, out=20), (4, 4, 40)),  # in two blocks
    ],
)
def test_layers_as_matrices(conv, shape):
    dense = as_matrix(conv, shape, np.float64)
    x = normal(9, 3, *shape)
    y = conv(x)
    assert dense.matrix.shape == (x[0].size, y[0].size)
    np.testing.assert_allclose(dense(x), y, rtol=0, atol=1e-12)
    half = as_matrix(conv, shape, np.float32).matrix
    # Rounded once: what single precision does best with these numbers.
    chex.assert_trees_all_close(half, dense.matrix.astype(np.float32), rtol=2e-7)


@pytest.mark.parametrize(
    ("side", "channels", "degree", "due"),
    [(1, 64, 4, True), (1, 64, 2, False), (2, 64, 3, True), (2, 64, 2, False)]
    + [(4, 32, 8, True), (4, 32, 6, False), (8, 16, 8, False)],
)
def test_where_a_matrix_pays(side, channels, degree, due):
    kernel = np.zeros((3, 3, channels, channels))
    conv = SkewConvolution(kernel, np.zeros(channels), ops.taylor(degree))
    shape = (side, side, channels)
    size = side * side * channels
    assert pays(conv, shape, size**2) == due
    assert not pays(conv, shape, size**2 - 1)


@pytest.mark.parametrize(
    ("kind", "entries"),
    [
        ("projection", SOME),
        pytest.param("normalized", NONE, marks=pytest.mark.long),
        pytest.param("normalized", ALL, marks=pytest.mark.long),
    ],
)
def test_the_constant_is_proven_and_tight(kind, entries):
    """Of the frozen float32 numbers: above all Jacobians, and hardly above 1 / std."""
    frozen = freeze(*small_model(kind, 0), dense_entries=entries)
    constants = frozen.certificate_constants()
    exact = frozen.exact()
    assert {leaf.dtype for leaf in jax.tree.leaves(exact)} == {np.dtype("float64")}
    jacobian = jax.jit(jax.jacrev(lambda x: exact.features(x[None])[0]))
    for x in images(2):
        dense = np.asarray(jacobian(x)).reshape(-1, x.size)
        assert np.linalg.norm(dense, 2) <= constants.lipschitz
    assert constants.lipschitz <= (1 + 1e-5) / np.float32(0.4)


def test_kernels_stay_skew_in_every_bit():
    frozen = freeze(*small_model("normalized", 0), dense_entries=NONE)
    layers = frozen.network.layers[::2]
    kernels = [each.kernel for each in layers if isinstance(each, SkewConvolution)]
    assert len(kernels) == 4
    for kernel in map(np.asarray, kernels):
        assert kernel.dtype == np.float32
        np.testing.assert_array_equal(kernel, -kernel[::-1, ::-1].swapaxes(2, 3))


@pytest.mark.parametrize(
    "kind",
    ["normalized", pytest.param("orthogonal", marks=pytest.mark.long), "curvature"],
)
def test_radii(kind):
    """With the model's constants its radii; with its own, the same to its loss."""
    model, variables, x, *_ = expected(kind)
    constants = certificate_constants(model, variables)
    labels = jnp.array([0, 1, 2, 3])
    due = predict_with_radius(model, variables, x, labels=labels, constants=constants)
    frozen = freeze(model, variables)
    run = jax.jit(lambda frozen, *a, **k: frozen.predict_with_radius(*a, **k))
    found = run(frozen, x, labels=labels, constants=constants)
    chex.assert_trees_all_close(found, due, rtol=1e-9, atol=1e-11)
    unlabelled = run(frozen, x, constants=constants)
    own = frozen.predict_with_radius(x)
    np.testing.assert_array_equal(own.prediction, unlabelled.prediction)
    np.testing.assert_allclose(own.radius, unlabelled.radius, rtol=1e-4)


def test_a_pytree_compiled_once():
    """New weights are new arguments; the structure survives flattening."""
    chex.clear_trace_counter()
    logits = jax.jit(chex.assert_max_traces(FrozenNetwork.__call__, n=1))
    x = images(2).astype(np.float32)
    found = []
    for seed in (0, 1):
        frozen = freeze(*small_model("normalized", seed))
        leaves, structure = jax.tree.flatten(frozen)
        again = jax.tree.unflatten(structure, leaves)
        found += [logits(frozen, x), logits(again, x)]
        assert isinstance(again, FrozenNetwork)
        assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.allclose(found[0], found[2])


def test_bad_input():
    model, variables = small_model("normalized", 0)
    with pytest.raises(ValueError, match="dense_entries must not be negative: -1"):
        freeze(model, variables, dense_entries=-1)
    frozen = freeze(model, variables)
    with pytest.raises(ValueError, match=r"images \(8, 4, 1\) where \(8, 8, 1\)"):
        frozen(jnp.zeros((2, 8, 4, 1)))
    broken = jax.tree.map(lambda leaf: leaf * jnp.float32(np.nan), frozen)
    with pytest.raises(ValueError, match="not finite"):
        broken.certificate_constants()
