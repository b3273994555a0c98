"""The settings of the tests: precision, promotion, skips in CI."""

import types

import jax
import jax.numpy as jnp
import pytest

from helpers.skips import refuse_skip


def test_double_precision():
    assert jnp.zeros(1).dtype == jnp.float64


def test_no_rank_promotion():
    with pytest.raises(ValueError, match="rank_promotion"):
        jnp.zeros((2, 2)) + jnp.zeros(2)


def test_no_dtype_promotion():
    with pytest.raises(jax.dtypes.TypePromotionError):
        jnp.zeros(2, jnp.float32) + jnp.zeros(2, jnp.float64)


@pytest.mark.parametrize(
    ("ci", "reason", "outcome"),
    [
        ("true", "shared file x not found", "failed"),
        ("true", "needs a GPU", "skipped"),
        ("", "shared file x not found", "skipped"),
    ],
)
def test_skips_in_ci(monkeypatch, ci, reason, outcome):
    monkeypatch.setenv("CI", ci)
    report = types.SimpleNamespace(skipped=True, outcome="skipped", longrepr=reason)
    assert refuse_skip(report).outcome == outcome
