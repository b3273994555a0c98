"""Converted networks compute what the published code computes."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.golden import NETWORKS, published_names, published_state
from lipjax import (
    ExpApproximation,
    certificate_constants,
    ops,
    predict_with_radius,
)
from lipjax.convert import from_torch

# Float32 (eps 1.2e-7) through at most 11 layers of 15 convolutions on features of size
# up to 10, each rounding about 1e-6 of its own: 3e-5 leaves a factor of ten.
TOLERANCE = 3e-5


def _images(file):
    return jnp.asarray(file["x"].transpose(0, 2, 3, 1), jnp.float32)


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def golden(request, shared):
    """A network's name, its golden arrays, and what we make of it."""
    with np.load(shared(f"golden/lipconvnet_{request.param}.npz")) as npz:
        file = dict(npz)
    names = published_names(request.param)
    return request.param, file, *from_torch(published_state(file), **names)


@functools.partial(jax.jit, static_argnums=0)
def _run(model, variables, x):
    def both(module, x):
        features = module.features(x)
        return features, module.classifier(features)

    return model.apply(variables, x, method=both)


def test_features_and_logits_are_the_published_ones(golden):
    _, file, model, variables = golden
    features, logits = _run(model, variables, _images(file))
    due = file["features"][:, :, 0, 0]
    np.testing.assert_allclose(features, due, atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(logits, file["logits"], atol=TOLERANCE, rtol=0)


def test_the_tolerance_rejects_a_sign_and_a_degree(shared):
    with np.load(shared("golden/lipconvnet_ortho_max_maxmin_5.npz")) as npz:
        file = dict(npz)
    state, x = published_state(file), _images(file)
    due = file["features"][:, :, 0, 0]
    for entry in ("weight", "_u1", "_u2", "_u3", "_u4"):  # the same scale, J negated
        state[f"block5.0.ortho.{entry}"] *= -1
    model, variables = from_torch(state, **published_names("ortho_max_maxmin_5"))
    assert np.max(np.abs(_run(model, variables, x)[0] - due)) > 10 * TOLERANCE
    for entry in ("weight", "_u1", "_u2", "_u3", "_u4"):
        state[f"block5.0.ortho.{entry}"] *= -1
    exp = ExpApproximation(ops.taylor(5), ops.taylor(6))
    model = from_torch(state, **published_names("ortho_max_maxmin_5"))[0].clone(exp=exp)
    assert np.max(np.abs(_run(model, variables, x)[0] - due)) > 10 * TOLERANCE


def test_certificates_agree(golden):
    """Radii against all classes are the published ones, up to the two constants.

    The published curvature certificates come from another method; the mathematics of
    ours is tested in tests/certify.
    """
    _, file, model, variables = golden
    labels = jnp.asarray(file["labels"])
    constants = certificate_constants(model, variables)
    estimate = float(file["lip_const_reference"])
    assert 1 - 1e-6 < constants.lipschitz / estimate < 1.001
    radii = predict_with_radius(
        model, variables, _images(file), labels=labels, constants=constants
    )
    np.testing.assert_array_equal(radii.prediction, np.argmax(file["logits"], axis=1))
    assert np.all(radii.radius[radii.prediction != labels] == 0)
    if model.head == "curvature":
        return
    logits = jnp.asarray(file["logits"])
    pairs = ops.linear_radii(logits, labels, constants.pairs) / estimate
    ours = np.sort(np.asarray(pairs), axis=1)[:, :-1]
    published = np.sort(file["certificates_sorted"], axis=1)
    # a difference of two float32 logits of size 10, divided by at least 1.4 * 3.98
    np.testing.assert_allclose(ours, published, atol=1e-6, rtol=1e-5)
    pairs = ops.linear_radii(logits, radii.prediction, constants.pairs)
    due = ops.binding_radius(pairs / constants.lipschitz, radii.prediction, labels)
    np.testing.assert_allclose(radii.radius, due.radius, atol=TOLERANCE)
    np.testing.assert_array_equal(radii.runner_up, due.runner_up)


def _broken(state, change):
    state = dict(state)
    change(state)
    return state


@pytest.mark.parametrize(
    "change, named",
    [
        (lambda s: s.pop("block3.0.ortho._u2"), "block3.0.ortho._u2"),
        (lambda s: s.pop("shift"), "shift"),
        (lambda s: s.update(extra=np.zeros(3)), "extra"),
        (lambda s: s.update({"logits_layer.ortho.bias": np.zeros(())}), "scalar"),
        (
            lambda s: s.update({"block2.0.ortho.weight": np.zeros((4, 4, 3, 3))}),
            "block2.0.ortho.weight",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_named(shared, change, named):
    name = "ortho_max_maxmin_5"
    with np.load(shared(f"golden/lipconvnet_{name}.npz")) as file:
        state = published_state(dict(file))
    with pytest.raises(ValueError, match=named) as error:
        from_torch(_broken(state, change), **published_names(name))
    assert "\n" not in str(error.value)


BAD_VALUES = [
    ("block2.0.ortho.weight", np.nan, "finite"),
    ("logits_layer.ortho.bias", -np.inf, "finite"),
    ("block2.0.ortho._u3", 1j, "finite number"),
    ("block1.0.ortho.bias", "x", "finite number"),
    ("block1.0.ortho.bias", 1e39, "too large for float32"),
    ("shift", np.nan, "finite"),
    ("scale", -0.5, "std positive"),
    ("scale", 0.0, "std positive"),
]


@pytest.mark.parametrize("entry, value, named", BAD_VALUES)
def test_bad_values_are_refused_in_one_line(shared, entry, value, named):
    name = "ortho_max_maxmin_5"
    with np.load(shared(f"golden/lipconvnet_{name}.npz")) as file:
        state = published_state(dict(file))
    dtype = np.float64 if isinstance(value, float) else type(value)
    state[entry] = np.full(state[entry].shape, value, dtype)
    with pytest.raises(ValueError, match=named) as error:
        from_torch(state, **published_names(name))
    assert "\n" not in str(error.value)
    assert entry in str(error.value) or entry == "scale"


def test_the_order_of_bytes_makes_no_difference(shared):
    name = "ortho_max_maxmin_5"
    with np.load(shared(f"golden/lipconvnet_{name}.npz")) as file:
        state = published_state(dict(file))
    swapped = {n: a.astype(a.dtype.newbyteorder()) for n, a in state.items()}
    names = published_names(name)
    chex.assert_trees_all_equal(
        from_torch(swapped, **names), from_torch(state, **names)
    )


@pytest.mark.parametrize("wrong", ["activation", "pooling", "head"])
def test_unknown_names_list_the_choices(wrong):
    names = published_names("ortho_max_maxmin_5") | {wrong: "nonsense"}
    with pytest.raises(ValueError, match="nonsense.*choose from"):
        from_torch({}, **names)


def test_an_empty_state_is_refused():
    with pytest.raises(ValueError, match="no entry"):
        from_torch({}, **published_names("lln_lip1_hh1_10"))
