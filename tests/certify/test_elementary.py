"""The assumption on elementary functions: 4 units in the last place, here measured."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from lipjax.certify.rounding import ELEMENTARY

RNG = np.random.default_rng(0)
NEGATIVE = -np.concatenate([RNG.uniform(0, 40, 1500), 10 ** RNG.uniform(-12, 0, 500)])
ANGLES = np.concatenate(
    [RNG.uniform(0, 2 * np.pi, 1500), 10 ** RNG.uniform(-9, 0, 500)]
)
BORDERS = np.pi / 2 * np.arange(5)  # where sines and cosines vanish
CASES = {
    "exp": (jnp.exp, mpmath.exp, (NEGATIVE,)),
    "log1p": (jnp.log1p, mpmath.log1p, (np.exp(NEGATIVE),)),
    "sin": (jnp.sin, mpmath.sin, (np.append(ANGLES, BORDERS),)),
    "cos": (jnp.cos, mpmath.cos, (np.append(ANGLES, BORDERS),)),
    "arctan2": (jnp.arctan2, mpmath.atan2, tuple(RNG.standard_normal((2, 2000)))),
}


@pytest.mark.parametrize("name", CASES)
def test_error_is_within_four_units(name):
    ours, exact, arguments = CASES[name]
    values = np.asarray(jax.jit(ours)(*map(jnp.asarray, arguments)))
    assert values.dtype == np.float64
    with mpmath.workdps(40):
        for value, *point in zip(values, *arguments, strict=True):
            true = exact(*(mpmath.mpf(float(p)) for p in point))
            assert abs(mpmath.mpf(float(value)) - true) <= ELEMENTARY * abs(true)


def test_softplus_and_its_slope():
    """As the head's bound has them: 20 u of the size, and 16 u."""
    points = np.concatenate([NEGATIVE, -NEGATIVE, [0.0, -700.0, 700.0]])
    soft = np.asarray(jax.jit(jax.nn.softplus)(jnp.asarray(points)))
    slope = np.asarray(jax.jit(lambda t: 1 / (1 + jnp.exp(-t)))(jnp.asarray(points)))
    logistic = np.asarray(jax.jit(jax.nn.sigmoid)(jnp.asarray(points)))
    with mpmath.workdps(40):
        for t, *found in zip(points, soft, slope, logistic, strict=True):
            exponential = mpmath.exp(mpmath.mpf(float(t)))
            size = mpmath.log1p(exponential)
            true = exponential / (1 + exponential)
            errors = [
                abs(mpmath.mpf(float(v)) - w)
                for v, w in zip(found, (size, true, true), strict=True)
            ]
            assert errors[0] <= 2.5 * ELEMENTARY * (abs(float(t)) + 1)
            assert max(errors[1:]) <= 2 * ELEMENTARY
