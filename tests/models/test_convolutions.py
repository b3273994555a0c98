"""Networks of every kind of convolution: exact, frozen, proven, checked, converted."""

import hashlib
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.networks import images
from helpers.registry import drawn
from lipjax import LipConvNet, exact_network, freeze, predict_with_radius, verify
from lipjax.certify import Certifier, certificate_rows, model_record
from lipjax.convert import from_torch, published_names, to_torch

KINDS = ["bcop", "cayley", "reflector"]


@pytest.fixture(autouse=True)
def strict():
    """Single precision, as users run it."""


def network(conv, **settings):
    small = {"stages": 2, "width": 4, "mean": (0.25,), "std": (0.5,)} | settings
    model = LipConvNet((8, 8, 1), 3, conv=conv, **small)
    return model, drawn(model, jnp.zeros((1, 8, 8, 1), jnp.float32))


@pytest.fixture(params=KINDS)
def case(request):
    return network(request.param)


def test_no_power_iteration(case):
    """Such a network has no singular vectors, and needs no mutable collection."""
    model, variables = case
    assert set(variables) == {"params"}
    x = images(2).astype(np.float32)
    same = jax.jit(lambda v: model.apply(v, x, train=True, update_stats=True))
    plain = jax.jit(lambda v: model.apply(v, x))
    np.testing.assert_array_equal(same(variables), plain(variables))


def test_exact_and_frozen_networks_have_its_logits(case):
    """Up to float32: transforms and products of 64 terms, inverses of 1e2 condition."""
    model, variables = case
    x = images(3)
    logits = jax.jit(model.apply)(variables, x.astype(np.float32))
    exact = exact_network(model, variables)
    with jax.enable_x64(True):
        due = np.asarray(exact.logits(jnp.asarray(x)))
    np.testing.assert_allclose(logits, due, rtol=0, atol=1e-4)
    frozen = freeze(model, variables)
    np.testing.assert_allclose(frozen(x.astype(np.float32)), due, rtol=0, atol=1e-4)


def test_the_checker_accepts_the_certificates(case, tmp_path):
    """Proven constants of at most 1 a layer, by two programs; more is refused."""
    model, variables = case
    assert (prove := Certifier(exact_network(model, variables))).bound.lipschitz <= (
        1 + 1e-7
    ) / min(model.std)
    bytes_ = np.random.default_rng(0).integers(256, size=(4, 8, 8, 1), dtype=np.uint8)
    x = bytes_ / 255
    found = prove(x)
    quick = predict_with_radius(model, variables, x.astype(np.float32))
    np.testing.assert_array_equal(found.prediction, quick.prediction)
    assert (found.radius > 0).all()
    record, labels = model_record(prove, found.curvatures), found.prediction
    digest = hashlib.sha256(record).hexdigest()
    files = [tmp_path / name for name in ("certificates.jsonl", "model.npz", "x.npz")]
    np.savez(files[2], images=bytes_, labels=labels.astype(np.int64), levels=255)

    def write(record, rows):
        files[0].write_text("".join(json.dumps(row) + "\n" for row in rows))
        files[1].write_bytes(record)

    rows = list(certificate_rows(found, x, labels, digest))
    write(record, rows)
    assert verify.verify(*files).certificates == 4
    rows[1]["radius"] *= 1.001
    write(record, rows)
    with pytest.raises(verify.Rejected, match="not proven|radius"):
        verify.verify(*files)


@pytest.mark.parametrize("conv", ["bcop", "cayley"])
@pytest.mark.parametrize("head", ["normalized", "curvature"])
def test_published_state_dicts(conv, head):
    """Names as in the published layers (golden files of them: tests/ops)."""
    settings = {"head": head, "activation": "householder2"}
    settings |= {"hidden": 6} if head == "curvature" else {}
    model, variables = network(conv, **settings)
    state = to_torch(model, variables)
    names = {"bcop": ("conv_matrices", "mask", "bias"), "cayley": ("weight", "bias")}
    assert all(f"block1.0.ortho.{name}" in state for name in names[conv])
    again, same = from_torch(state, **published_names(model))
    assert again.clone(exp=model.exp) == model
    chex.assert_trees_all_equal(same, variables, strict=True)


def test_what_the_published_format_has_not():
    model, variables = network("reflector")
    with pytest.raises(ValueError, match="no conv 'reflector'"):
        to_torch(model, variables)
    model, variables = network("cayley", head="orthogonal")
    with pytest.raises(ValueError, match="orthogonal head"):
        to_torch(model, variables)
    model, variables = network("bcop")
    state = to_torch(model, variables)
    state["block1.0.ortho.mask"] = 1 - state["block1.0.ortho.mask"]
    with pytest.raises(ValueError, match=r"block1\.0\.ortho\.mask"):
        from_torch(state, **published_names(model))


def test_an_unknown_convolution():
    with pytest.raises(ValueError, match="unknown conv 'none'"):
        LipConvNet(conv="none")
