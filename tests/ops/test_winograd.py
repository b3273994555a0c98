"""Fewer products, the same convolution: to rounding, and with its derivatives."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from helpers.dense import EPS, naive_convolution, normal
from lipjax import ops
from lipjax.ops.convolution import platform_convolution
from lipjax.ops.winograd import (
    FOUR,
    TWO,
    convolve_single_tiles,
    has_tiles,
    toom_cook,
    winograd_convolution,
)

SIDES = [(2, 2), (4, 4), (8, 4), (12, 16)]


@pytest.mark.parametrize("points", [[0, 1], [0, 1, -1], [0, 1, -1, Fraction(1, 2)]])
def test_filters_are_filters(points):
    """sum_p A_ip G_pt B_pj is 1 where j = i + t, else 0: the definition, exactly."""
    matrices = toom_cook(points)
    outputs, kernel, inputs = (
        [[Fraction(float(v)).limit_denominator(1000) for v in row] for row in m]
        for m in matrices
    )
    for i, row in enumerate(outputs):
        for t in range(3):
            for j in range(len(points) + 1):
                total = sum(
                    row[p] * kernel[p][t] * inputs[p][j] for p in range(len(kernel))
                )
                assert total == (j == i + t)


@pytest.mark.parametrize("scheme", [FOUR, TWO])
def test_our_filters(scheme):
    tensor = np.einsum("ip,pt,pj->itj", *scheme)
    expected = np.zeros(tensor.shape)
    for i, t, j in np.ndindex(tensor.shape):
        inside = scheme is FOUR or j in (1, 2)  # TWO takes the borders as 0
        expected[i, t, j] = inside and j == i + t
    np.testing.assert_allclose(tensor, expected, rtol=0, atol=20 * EPS)


@pytest.mark.parametrize("sides", SIDES)
def test_is_the_convolution(sides):
    x, kernel = normal(0, 3, *sides, 5), normal(1, 3, 3, 5, 4)
    found = jax.jit(winograd_convolution)(x, kernel)
    # The matrices' norms multiply the rounding of sums of 45 products to below 100 eps
    # of their size, about 7.
    np.testing.assert_allclose(
        found, naive_convolution(x, kernel), rtol=0, atol=700 * EPS
    )


@pytest.mark.parametrize(
    "sides", [(2, 2), pytest.param((8, 4), marks=pytest.mark.long)]
)
def test_derivatives(sides):
    x, kernel = normal(0, 2, *sides, 2), normal(1, 3, 3, 2, 3)
    sine = jax.jit(lambda *a: jnp.sin(winograd_convolution(*a)))
    check_grads(sine, (x, kernel), order=2, rtol=1e-5)
    cotangent = normal(2, 2, *sides, 3)
    found = jax.vjp(winograd_convolution, x, kernel)[1](cotangent)
    expected = jax.vjp(platform_convolution, x, kernel)[1](cotangent)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e4 * EPS)


@pytest.mark.parametrize("side", [2, 4])
def test_single_tiles_are_the_convolution_by_a_skew_kernel(side):
    x, m = normal(0, 3, side, side, 5), normal(1, 3, 3, 5, 5)
    kernel = ops.skew_kernel(m)

    def single(x, kernel):
        return convolve_single_tiles(x.transpose(1, 2, 3, 0), kernel).transpose(
            3, 0, 1, 2
        )

    np.testing.assert_allclose(
        jax.jit(single)(x, kernel), naive_convolution(x, kernel), rtol=0, atol=700 * EPS
    )
    # Of a kernel that is not skew it is minus the transposed one's.
    np.testing.assert_allclose(
        single(x, m),
        -naive_convolution(x, ops.transpose_kernel(m)),
        rtol=0,
        atol=700 * EPS,
    )
    cotangent = normal(2, *x.shape)
    expected = jax.vjp(platform_convolution, x, kernel)[1](cotangent)
    found = jax.vjp(single, x, kernel)[1](cotangent)
    # Gradients in the kernel agree in their skew parts, which are all that counts.
    for ours, theirs in zip(
        (found[0], ops.skew_kernel(found[1])),
        (expected[0], ops.skew_kernel(expected[1])),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e4 * EPS)


def test_rounding_beside_the_plain_convolution():
    """In float32, a few times the plain one's, for which the points are chosen."""
    x, kernel = normal(0, 8, 8, 8, 64), normal(1, 3, 3, 64, 64)
    true = naive_convolution(x, kernel)
    single = jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)

    def error(convolution):
        found = np.asarray(jax.jit(convolution)(*single), np.float64)
        return np.linalg.norm(found - true) / np.linalg.norm(true)

    tiles, plain = error(winograd_convolution), error(platform_convolution)
    # Measured: 2.4 to 3.5 times, from 2x2x128 to 16x16x128.
    assert plain < tiles < 10 * plain
    careless = toom_cook([0, 1, -1, 2, -2])
    assert np.linalg.norm(careless.inputs) > 1.5 * np.linalg.norm(FOUR.inputs)


def test_which_images():
    assert [has_tiles(*s) for s in SIDES] == [True] * 4
    assert not any(has_tiles(*s) for s in [(1, 1), (2, 4), (3, 3), (6, 6), (4, 2)])


@pytest.mark.parametrize(("side", "channels"), [(4, 32), (2, 64)])
def test_many_channels_take_it_on_a_cpu(side, channels):
    if jax.default_backend() != "cpu":
        pytest.skip("needs the CPU backend: GPU or TPU in use")
    x, kernel = normal(0, 1, side, side, channels), normal(1, 3, 3, channels, channels)
    same = jax.jit(ops.same_convolution)
    np.testing.assert_array_equal(
        same(x, kernel), jax.jit(winograd_convolution)(x, kernel)
    )
    half = jnp.asarray(x, jnp.bfloat16), jnp.asarray(kernel, jnp.bfloat16)
    assert "dot_general" not in str(jax.make_jaxpr(same)(*half)) or side == 2
