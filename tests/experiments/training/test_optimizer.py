"""Schedules have known values; optimisers take known steps."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.common.errors import UserError
from experiments.configs import Config
from experiments.training.optimizer import decayed, learning_rate, optimizer

CONFIG = Config(epochs=4, momentum=0.0, weight_decay=0.0)


def config(**changes):
    return dataclasses.replace(CONFIG, **changes)


def steps_of(config, count, params, gradient):
    """The updates of `count` steps with one gradient."""
    transform, updates = optimizer(config, steps=count), []
    state = transform.init(params)
    for _ in range(count):
        update, state = transform.update(gradient, state, params)
        updates.append(update)
    return updates


def test_learning_rate_falls_at_one_half_and_three_quarters():
    ones = {"bias": jnp.ones((), jnp.float32)}
    rates = [-float(u["bias"]) for u in steps_of(CONFIG, 8, ones, ones)]
    due = [0.1] * 4 + [0.01] * 2 + [0.001] * 2
    np.testing.assert_allclose(rates, due, rtol=1e-6)  # float32


@pytest.mark.parametrize(
    "changes, due",
    [
        ({"warmup": 1.0}, [1 / 3, 2 / 3, 1, 1, 0.1, 0.1, 0.01, 0.01]),
        ({"schedule": "cosine"}, 0.5 + 0.5 * np.cos(np.pi * np.arange(8) / 8)),
        (
            {"schedule": "cosine", "warmup": 1.0},
            [1 / 3, 2 / 3, *(0.5 + 0.5 * np.cos(np.pi * np.arange(6) / 6))],
        ),
        ({"schedule": "one_cycle"}, {0: 1 / 25, 2: 1, 8: 4e-6}),
    ],
)
def test_schedules(changes, due):
    """Over 8 steps of 4 epochs, as shares of the largest rate."""
    rate = learning_rate(config(**changes), 8)
    due = due if isinstance(due, dict) else dict(enumerate(due))
    for step, share in due.items():
        assert float(rate(jnp.int32(step))) == pytest.approx(0.1 * share, rel=1e-5)


@pytest.mark.parametrize("schedule", ["steps", "cosine", "one_cycle"])
def test_a_schedule_rises_to_its_peak_and_falls(schedule):
    warmup = 0.0 if schedule == "one_cycle" else 1.0
    rate = learning_rate(config(schedule=schedule, warmup=warmup), 400)
    rates = np.array([float(rate(jnp.int32(step))) for step in range(400)])
    peak = rates.argmax()
    assert rates[peak] == pytest.approx(0.1) and rates[-1] < 0.0011
    assert (np.diff(rates[: peak + 1]) > 0).all() and (np.diff(rates[peak:]) <= 0).all()


def test_nadam_is_optax_with_decay_beside_the_step():
    params = {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([3.0])}
    gradient = {"kernel": jnp.array([0.1, 5.0]), "bias": jnp.array([-2.0])}
    found = steps_of(
        config(optimizer="nadam", weight_decay=0.5, momentum=0.9), 8, params, gradient
    )[0]
    alone = optax.nadam(0.1, b1=0.9)
    due: Any
    due, _ = alone.update(gradient, alone.init(params), params)
    np.testing.assert_allclose(found["bias"], due["bias"], rtol=1e-6)  # float32
    decay = 0.1 * 0.5 * params["kernel"]
    np.testing.assert_allclose(found["kernel"], due["kernel"] - decay, rtol=1e-6)


def test_only_kernels_of_convolutions_and_linear_heads_decay():
    params = {
        "block": {"conv": {"kernel": 1, "bias": 1}, "activation": {"theta": 1}},
        "classifier": {"hidden_kernel": 1, "output_kernel": 1, "output_bias": 1},
    }
    mask = decayed(params)
    assert mask["block"] == {
        "conv": {"kernel": True, "bias": False},
        "activation": {"theta": False},
    }
    assert not any(mask["classifier"].values())


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"schedule": "one_cycle", "warmup": 1.0}, "--warmup does not go with"),
        ({"warmup": 4.0}, "--warmup must be less than --epochs"),
        ({"warmup": -1.0}, "--warmup must not be negative"),
        ({"offset": -1.0}, "--offset must not be negative"),
        ({"loss": "emma"}, "--loss=emma needs --offset"),
        ({"loss": "emma", "offset": 0.1, "head": "curvature"}, "need a linear head"),
        ({"certificate_weight": 0.1, "head": "curvature"}, "need a linear head"),
    ],
)
def test_what_does_not_fit_is_one_line(changes, message):
    with pytest.raises(UserError, match=message):
        config(**changes)
