"""The skew exponential: its values, its gains, its three gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from jax.test_util import check_grads

from helpers import golden, jaxprs
from helpers.dense import (
    EPS,
    convolution_matrix,
    jacobian,
    normal,
    polynomial,
    relative_error,
    skew_kernel_of_norm,
)
from helpers.polynomials import extremes
from lipjax.nn.spectral import scale_estimate
from lipjax.ops import (
    GRADIENTS,
    chebyshev,
    polynomial_gain,
    skew_exponential,
    skew_kernel,
    taylor,
    unfoldings,
)


@functools.partial(jax.jit, static_argnames=("coefficients", "gradient", "bound"))
def apply(x, kernel, **settings):
    return skew_exponential(x, kernel, **settings)


@functools.partial(jax.jit, static_argnames=("coefficients", "gradient", "bound"))
def gradients(x, kernel, cotangent, **settings):
    """The cotangents of x and, among skew kernels, of the kernel."""
    f = functools.partial(skew_exponential, **settings)
    gx, gw = jax.vjp(f, x, kernel)[1](cotangent)
    return gx, skew_kernel(gw)


@pytest.mark.parametrize(("side", "k"), [(4, 3), (2, 3), (1, 3), (3, 1)])
def test_high_degree_is_the_exponential(side, k):
    kernel = skew_kernel_of_norm(0, k, 4, side, side, 1.0)
    x = normal(1, side, side, 4)
    y = apply(x, kernel, coefficients=taylor(18))
    expected = scipy.linalg.expm(convolution_matrix(kernel, side, side)) @ x.ravel()
    # 1 / 19! = 8e-18 is cut off; each of 18 steps rounds to a few eps.
    assert relative_error(y.ravel(), expected) <= 100 * EPS


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_value_does_not_depend_on_the_rule(gradient):
    kernel = skew_kernel_of_norm(0, 3, 4, 4, 4, 1.5)
    x = normal(1, 2, 4, 4, 4)
    y = apply(x, kernel, coefficients=chebyshev(6, 2.0), gradient=gradient)
    matrix = polynomial(chebyshev(6, 2.0), convolution_matrix(kernel, 4, 4))
    expected = (x.reshape(2, -1) @ matrix.T).reshape(x.shape)
    assert relative_error(y, expected) <= 100 * EPS


@pytest.mark.parametrize(
    ("coefficients", "norm"),
    [(taylor(5), 1.6), (taylor(4), 2.8), (chebyshev(6, 2.2), 2.2), (taylor(2), 3.0)],
)
@pytest.mark.parametrize(("side", "k"), [(4, 3), (2, 3), (3, 1)])
def test_singular_values_lie_between_loss_and_gain(side, k, coefficients, norm):
    kernel = skew_kernel_of_norm(2, k, 4, side, side, norm)
    dense = jacobian(
        lambda x: skew_exponential(x, kernel, coefficients=coefficients),
        normal(1, side, side, 4),
    )
    values = np.linalg.svd(dense, compute_uv=False)
    bound = norm * (1 + 8 * EPS)
    # Both ends are exact to 1e-15; 1e-12 is the rounding of a Jacobian of 64 columns.
    assert values.max() <= polynomial_gain(coefficients, bound) * (1 + 1e-12)
    assert values.min() >= extremes(coefficients, bound)[0] * (1 - 1e-12)


def test_gain_is_attained_at_the_norm():
    """Past its threshold Taylor 4 expands most at the norm itself, so J reaches it."""
    kernel = skew_kernel_of_norm(2, 3, 4, 4, 4, 3.2)
    dense = jacobian(
        lambda x: skew_exponential(x, kernel, coefficients=taylor(4)),
        normal(1, 4, 4, 4),
    )
    attained = np.linalg.norm(dense, 2)
    assert attained == pytest.approx(polynomial_gain(taylor(4), 3.2), rel=1e-12)
    assert attained > polynomial_gain(taylor(4), 3.19)  # a smaller bound is none


@pytest.mark.parametrize(
    ("shape", "order"),
    [((3, 3, 2), 2), ((2, 2, 2), 1), ((1, 1, 4), 1), ((4, 4, 32), 1)],
)
def test_exact_gradient(shape, order):
    """Forward and reverse, in the images, the kernel and the scale."""
    height, width, channels = shape
    kernel = skew_kernel_of_norm(0, 3, channels, height, width, 1.5)
    f = jax.jit(
        lambda x, m, scale: skew_exponential(
            x, skew_kernel(m), coefficients=taylor(5), scale=scale
        )
    )
    check_grads(
        f,
        (normal(1, *shape), kernel, 1.25),
        order=order,
        modes=["fwd", "rev"],
        eps=1e-5,
    )


@pytest.fixture
def case():
    return lambda norm: (
        normal(1, 4, 6, 6, 6),
        skew_kernel_of_norm(0, 3, 6, 6, 6, norm),
        normal(2, 4, 6, 6, 6),
    )


@pytest.mark.parametrize("gradient", ["fast", "low_rank"])
def test_input_gradient_is_exact(case, gradient):
    p = chebyshev(6, 2.0)
    exact = gradients(*case(2.0), coefficients=p)[0]
    gx = gradients(*case(2.0), coefficients=p, gradient=gradient)[0]
    assert relative_error(gx, exact) <= 100 * EPS


@pytest.mark.parametrize("gradient", ["fast", "low_rank"])
@pytest.mark.parametrize(("side", "k"), [(4, 3), (1, 3), (2, 1), (1, 1)])
def test_kernel_gradients_are_skew(side, k, gradient):
    x, g = normal(0, 3, side, side, 4), normal(1, 3, side, side, 4)
    kernel = skew_kernel(normal(2, k, k, 4, 4))
    settings = {"coefficients": taylor(5), "gradient": gradient}
    f = functools.partial(skew_exponential, **settings)
    gw = jax.jit(lambda x, w, g: jax.vjp(f, x, w)[1](g)[1])(x, kernel, g)
    assert relative_error(gw, skew_kernel(gw)) <= 10 * EPS


@pytest.mark.parametrize("gradient", ["fast", "low_rank"])
@pytest.mark.parametrize("images", [1, 40])
def test_the_scale_s_gradient_is_that_of_the_kernel(gradient, images):
    """-<A, gradient in A> / s, computed from what is smaller: the kernel or its images.

    That the kernel of 576 numbers is the larger of the two and the smaller is as
    `_factored_fwd` has it: twice the 32 numbers of an image against it, or 40 of them.
    """
    kernel = skew_kernel(jnp.asarray(normal(0, 3, 3, 8, 8))) / 8
    x, g = (jnp.asarray(normal(seed, images, 2, 2, 8)) for seed in (1, 2))

    def series(kernel, scale):
        return skew_exponential(
            x, kernel, coefficients=taylor(5), scale=scale, gradient=gradient
        )

    scale = jnp.asarray(1.3)
    of_kernel, of_scale = jax.vjp(series, kernel, scale)[1](g)
    # sums of 576 and 1280 terms
    expected = float(-jnp.vdot(kernel, of_kernel) / scale)
    assert float(of_scale) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("degree", "close"), [(1, True), (2, True), (3, False)])
def test_low_rank_is_exact_up_to_degree_two(case, degree, close):
    """The Hankel matrix of degree d has d rows."""
    p = taylor(degree)
    exact = gradients(*case(1.5), coefficients=p)[1]
    gw = gradients(*case(1.5), coefficients=p, gradient="low_rank", bound=1.5)[1]
    assert (relative_error(gw, exact) <= 1e-12) == close


@pytest.mark.parametrize(
    ("norm", "coefficients", "settings", "documented"),
    [
        (0.5, taylor(5), {"gradient": "fast"}, 0.006),
        (1.0, taylor(5), {"gradient": "fast"}, 0.026),
        (2.0, taylor(5), {"gradient": "fast"}, 0.09),
        (0.5, taylor(5), {"gradient": "low_rank", "bound": 0.5}, 1e-5),
        (1.0, taylor(5), {"gradient": "low_rank", "bound": 1.0}, 1e-4),
        (2.0, taylor(5), {"gradient": "low_rank", "bound": 2.0}, 1.2e-2),
        (2.0, taylor(5), {"gradient": "low_rank", "bound": 1.2}, 7e-3),
        (1.0, chebyshev(4, 1.0), {"gradient": "low_rank", "bound": 1.0}, 9e-4),
        (2.0, chebyshev(6, 2.0), {"gradient": "low_rank", "bound": 2.0}, 5.5e-3),
        (2.0, chebyshev(6, 2.0), {"gradient": "low_rank", "bound": 1.2}, 2.4e-3),
    ],
)
def test_documented_errors(case, norm, coefficients, settings, documented):
    """The docstring's errors hold within a factor of 2, on random data."""
    exact = gradients(*case(norm), coefficients=coefficients)[1]
    gw = gradients(*case(norm), coefficients=coefficients, **settings)[1]
    assert relative_error(gw, exact) <= 2 * documented


def test_fast_is_the_published_formula(case):
    """sum_ij a_{i+1} a_{j+1} / a_1 W(J^j x, (-J)^i g), term by term."""
    x, kernel, g = case(1.0)
    p = taylor(4)
    convolve = jax.jit(
        lambda x, w: skew_exponential(x, w, coefficients=(0.0, 1.0)),
    )
    wgrad = jax.jit(lambda x, g: jax.vjp(lambda w: convolve(x, w), kernel)[1](g)[0])
    powers, duals = [x], [g]
    for _ in range(3):
        powers.append(convolve(powers[-1], kernel))
        duals.append(-convolve(duals[-1], kernel))
    expected = sum(
        p[i + 1] * p[j + 1] / p[1] * wgrad(powers[j], duals[i])
        for i in range(4)
        for j in range(4)
    )
    gw = gradients(x, kernel, g, coefficients=p, gradient="fast")[1]
    assert relative_error(gw, skew_kernel(expected)) <= 100 * EPS


SOC_SAME = ["soc_same_k3", "soc_k5"]  # stride 1, as many channels in as out
MUTANTS = {
    "flipped sign": {"sign": -1},
    "degree 4": {"degree": 4},
    "degree 6": {"degree": 6},
    "other rule": {"swap": True},
}


def golden_errors(arrays, *, sign=1, degree=5, swap=False):
    """Relative errors of y, gx, gw of both rules against a golden file.

    The golden weight gradients are of the raw kernel; ours are carried there by the
    published normalisation, sigma's own derivative included.
    """
    x, g = golden.nhwc(arrays["x"]), golden.nhwc(arrays["cotangent"])
    variables = golden.soc_variables(arrays)
    bias, kernel = variables["params"]["bias"], variables["params"]["kernel"]

    def layer(x, kernel, gradient):
        skew = skew_kernel(kernel)
        scale = scale_estimate(
            unfoldings(skew), variables["spectral"]["kernel_vectors"]
        )
        return skew_exponential(
            x, sign * skew / scale, coefficients=taylor(degree), gradient=gradient
        )

    errors = []
    for rule in ("exact", "fast"):
        used = {"exact": "fast", "fast": "exact"}[rule] if swap else rule

        @jax.jit
        def run(x, kernel, g, used=used):
            y, back = jax.vjp(functools.partial(layer, gradient=used), x, kernel)
            return y, *back(g)

        y, gx, gw = run(x, kernel, g)
        errors.append(
            max(
                relative_error(np.asarray(y) + bias, golden.nhwc(arrays["y_train"])),
                relative_error(gx, golden.nhwc(arrays[f"gx_{rule}"])),
                relative_error(gw, golden.hwio(arrays[f"gw_{rule}"])),
            )
        )
    return errors


@pytest.mark.parametrize("name", SOC_SAME)
def test_golden(shared, name):
    arrays = golden.load(shared(f"golden/{name}.npz"))
    assert max(golden_errors(arrays)) <= golden.FLOAT32


@pytest.mark.parametrize("mutant", MUTANTS)
def test_golden_rejects(shared, mutant):
    arrays = golden.load(shared(f"golden/{SOC_SAME[0]}.npz"))
    assert min(golden_errors(arrays, **MUTANTS[mutant])) > 10 * golden.FLOAT32


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("side", [4, 2, 1])
def test_precision_is_stated_and_no_fft(side, gradient):
    def loss(x, kernel):
        return skew_exponential(
            x, kernel, coefficients=taylor(5), gradient=gradient
        ).sum()

    x, kernel = normal(0, side, side, 2), normal(1, 3, 3, 2, 2)
    for f in (loss, jax.grad(loss, (0, 1))):
        jaxpr = jax.make_jaxpr(f)(x, kernel)
        assert jaxprs.contractions(jaxpr)
        assert not jaxprs.imprecise(jaxpr)
        assert not jaxprs.uses_fft(jaxpr)


def test_the_walk_catches_what_it_looks_for():
    def hidden(f):
        return jax.make_jaxpr(lambda x: jax.lax.cond(x[0, 0] > 0, f, jnp.cos, x))

    x = jnp.ones((2, 2))
    assert jaxprs.imprecise(hidden(lambda x: x @ x)(x))
    low = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGH)
    assert jaxprs.imprecise(hidden(lambda x: low(x, x))(x))
    assert jaxprs.uses_fft(hidden(lambda x: jnp.fft.fft(x).real)(x))
    assert not jaxprs.uses_fft(hidden(jnp.sin)(x))


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"gradient": "slow"}, "unknown gradient"),
        ({"coefficients": (1.0,)}, "two coefficients"),
        ({"coefficients": (1.0, 0.0, 1.0), "gradient": "fast"}, "a_1"),
        ({"gradient": "low_rank", "bound": 0.0}, "bound"),
        ({"gradient": "low_rank", "bound": np.nan}, "bound"),
        ({"kernel": jnp.zeros((2, 2, 3, 3))}, "k odd"),
        ({"kernel": jnp.zeros((3, 3, 4, 4))}, "does not fit"),
    ],
)
def test_bad_arguments(settings, match):
    settings = {"kernel": jnp.zeros((3, 3, 3, 3)), "coefficients": taylor(3)} | settings
    with pytest.raises(ValueError, match=match):
        skew_exponential(jnp.zeros((4, 4, 3)), **settings)
