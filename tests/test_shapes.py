"""The shapes and dtypes that docstrings claim, for every public function of `ops`.

Each function below has the shapes of one function as its annotations. It is traced, at
drawn sizes, with jaxtyping and beartype checking what goes in and what comes out.
"""

import inspect

import beartype
import jax
import jax.numpy as jnp
import jaxtyping
import pytest
from hypothesis import given, settings
from jaxtyping import Array, Float, Int, Key

from helpers import claims_of_convolutions as claims_of_convolutions
from helpers.claims import CLAIMS, SIZES, Drawn, claim
from lipjax import losses, metrics, ops

MODULES = (ops, losses, metrics)


@claim(lambda a, s: [a(*s.batch, 2 * s.c)])
def maxmin(x: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
    return ops.maxmin(x)


@claim(lambda a, s: [a(*s.batch, 2 * s.c), a(s.c)])
def householder(
    x: Float[Array, "*n c"], theta: Float[Array, "c//2"]
) -> Float[Array, "*n c"]:
    return ops.householder(x, theta)


@claim(lambda a, s: [a(*s.batch, 2 * s.c), *(a(s.c) for _ in range(3))])
def householder2(
    x: Float[Array, "*n c"],
    theta0: Float[Array, "c//2"],
    theta1: Float[Array, "c//2"],
    theta2: Float[Array, "c//2"],
) -> Float[Array, "*n c"]:
    return ops.householder2(x, theta0, theta1, theta2)


@claim(lambda a, s: [a(*s.batch, 2 * s.c)])
def channel_max_pool(x: Float[Array, "*n c"]) -> Float[Array, "*n c//2"]:
    return ops.channel_max_pool(x)


@claim(lambda a, s: [a(*s.batch, 2 * s.c), a(s.c)])
def projection_pool(
    x: Float[Array, "*n c"], theta: Float[Array, "c//2"]
) -> Float[Array, "*n c//2"]:
    return ops.projection_pool(x, theta)


@claim(lambda a, s: [a(s.n, s.D), a(s.D, s.C)])
def contract(a: Float[Array, "n d"], b: Float[Array, "d c"]) -> Float[Array, "n c"]:
    return ops.contract("nd,dc->nc", a, b)


@claim(lambda a, s: [a(*s.batch, s.h, s.w, s.c), a(s.k, s.k, s.c, s.D)])
def same_convolution(
    x: Float[Array, "*n h w a"], kernel: Float[Array, "k k a b"]
) -> Float[Array, "*n h w b"]:
    return ops.same_convolution(x, kernel)


@claim(lambda a, s: [a(s.k, s.k, s.c, s.D)])
def transpose_kernel(kernel: Float[Array, "k k a b"]) -> Float[Array, "k k b a"]:
    return ops.transpose_kernel(kernel)


@claim(lambda a, s: [a(s.k, s.k, s.c, s.c)])
def skew_kernel(kernel: Float[Array, "k k c c"]) -> Float[Array, "k k c c"]:
    return ops.skew_kernel(kernel)


@claim(lambda a, s: [a(*s.batch, s.h, s.w, s.c), a(s.k, s.k, s.c, s.c), a()])
def skew_exponential(
    x: Float[Array, "*n h w c"],
    kernel: Float[Array, "k k c c"],
    scale: Float[Array, ""],
) -> Float[Array, "*n h w c"]:
    outputs = [
        ops.skew_exponential(
            x, kernel, coefficients=ops.taylor(3), scale=scale, gradient=gradient
        )
        for gradient in ops.GRADIENTS
    ]
    assert len({(y.shape, y.dtype) for y in outputs}) == 1
    return outputs[0]


@claim(lambda a, s: [a(*s.batch, s.c)])
def fusion_barrier(x: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
    return ops.fusion_barrier(x)


@claim(lambda a, s: [a(*s.batch, s.k * s.h, s.k * s.w, s.c), s.k])
def space_to_depth(
    x: Float[Array, "*n h w c"], block: int
) -> Float[Array, "*n h//{block} w//{block} c*{block}**2"]:
    return ops.space_to_depth(x, block)


@claim(lambda a, s: [a(*s.batch, s.c), s.D])
def with_channels(
    x: Float[Array, "*n c"], channels: int
) -> Float[Array, "*n {channels}"]:
    return ops.with_channels(x, channels)


# Norms


@claim(lambda a, s: [a(s.k, s.k, s.c, s.D)])
def unfoldings(
    kernel: Float[Array, "k k a b"],
) -> tuple[Float[Array, "k k*a b"], Float[Array, "1 k*k*a b"]]:
    return ops.unfoldings(kernel)


@claim(lambda a, s: [a(s.k, s.k, s.c, s.D)])
def unjoined(
    kernel: Float[Array, "k k a b"],
) -> tuple[
    Float[Array, "k k a b"], Float[Array, "1 k k a b"] | Float[Array, "1 1 a b"]
]:
    square, tall = ops.unjoined(kernel)
    assert tall.ndim == (4 if len(kernel) == 1 else 5)
    return square, tall


@claim(lambda a, s: [a(s.k, s.h, s.w), a(s.h), a(s.k, s.w)])
def power_iteration(
    matrix: Float[Array, "b m n"], u: Float[Array, "m"], v: Float[Array, "b n"]
) -> tuple[Float[Array, "m"], Float[Array, "b n"]]:
    return ops.power_iteration(matrix, (u, v), steps=2)


@claim(lambda a, s: [a(s.k, s.h, s.w), a(s.h), a(s.k, s.w)])
def power_step(
    matrix: Float[Array, "b m n"], u: Float[Array, "m"], v: Float[Array, "b n"]
) -> tuple[Float[Array, "m"], Float[Array, "b n"], Float[Array, ""]]:
    (vectors,), (estimate,) = ops.power_step([matrix], [(u, v)])
    return *vectors, estimate


@claim(lambda a, s: [a.key(), a(s.k, s.h, s.w)])
def random_vectors(
    key: Key[Array, ""], matrix: Float[Array, "b m n"]
) -> tuple[Float[Array, "m"], Float[Array, "b n"]]:
    return ops.random_vectors(key, matrix)


@claim(lambda a, s: [a(s.k, s.h, s.w), a(s.h), a(s.k, s.w)])
def singular_value_estimate(
    matrix: Float[Array, "b m n"], u: Float[Array, "m"], v: Float[Array, "b n"]
) -> Float[Array, ""]:
    return ops.singular_value_estimate(matrix, (u, v))


@claim(
    lambda a, s: [a(s.k, s.c), a(s.k * s.c), a(1, s.c), a(s.k**2 * s.c)],
)
def skew_estimate_gradients(
    v: Float[Array, "k c"],
    u: Float[Array, "k*c"],
    tall_v: Float[Array, "1 c"],
    tall_u: Float[Array, "k*k*c"],
) -> tuple[Float[Array, "k k c c"], Float[Array, "k k c c"]]:
    return ops.skew_estimate_gradients(((u, v), (tall_u, tall_v)))


# The curvature head

Head = tuple[
    Float[Array, "D H"], Float[Array, "H"], Float[Array, "H C"], Float[Array, "C"]
]


def head(a, s):
    return a(s.D, s.H), a(s.H), a(s.H, s.C), a(s.C)


@claim(lambda a, s: [head(a, s), a(s.n, s.D)])
def curvature_logits(
    weights: Head, features: Float[Array, "n D"]
) -> Float[Array, "n C"]:
    return ops.curvature_logits(ops.CurvatureWeights(*weights), features)


@claim(lambda a, s: [head(a, s), a(s.n, s.D)])
def curvature_jacobian(
    weights: Head, features: Float[Array, "n D"]
) -> Float[Array, "n C D"]:
    return ops.curvature_jacobian(ops.CurvatureWeights(*weights), features)


@claim(lambda a, s: [a(s.D, s.H), a(s.n, s.H), a(s.D)])
def curvature_estimates(
    kernel: Float[Array, "D H"], scales: Float[Array, "p H"], start: Float[Array, "D"]
) -> Float[Array, "p"]:
    return ops.curvature_estimates(kernel, scales, start)


@claim(lambda a, s: [head(a, s), a(s.n, s.C), a.int_(s.n), a(s.D)])
def curvature_penalty(
    weights: Head,
    logits: Float[Array, "n C"],
    labels: Int[Array, "n"],
    start: Float[Array, "D"],
) -> Float[Array, ""]:
    return ops.curvature_penalty(ops.CurvatureWeights(*weights), logits, labels, start)


@claim(lambda a, s: [head(a, s), a(s.D)])
def pair_curvature_estimates(
    weights: Head, start: Float[Array, "D"]
) -> Float[Array, "C C"]:
    return ops.pair_curvature_estimates(ops.CurvatureWeights(*weights), start)


@claim(lambda a, s: [head(a, s)])
def pair_curvatures(weights: Head) -> Float[Array, "C C"]:
    return ops.pair_curvatures(ops.CurvatureWeights(*weights))


@claim(lambda a, s: [a(s.n, s.C), a.int_(s.n)])
def margins(
    logits: Float[Array, "n C"], classes: Int[Array, "n"]
) -> Float[Array, "n C"]:
    return ops.margins(logits, classes)


@claim(lambda a, s: [a(s.n, s.C), a.int_(s.n), a(s.C, s.C)])
def linear_radii(
    logits: Float[Array, "n C"],
    classes: Int[Array, "n"],
    distances: Float[Array, "C C"],
) -> Float[Array, "n C"]:
    return ops.linear_radii(logits, classes, distances)


@claim(lambda a, s: [a(s.n, s.C), a.int_(s.n), a.int_(s.n)])
def binding_radius(
    pair_radii: Float[Array, "n C"],
    prediction: Int[Array, "n"],
    labels: Int[Array, "n"],
) -> tuple[Int[Array, "n"], Float[Array, "n"], Int[Array, "n"]]:
    radii = ops.binding_radius(pair_radii, prediction, labels)
    return radii.prediction, radii.radius, radii.runner_up


@claim(lambda a, s: [head(a, s), a(s.n, s.D), a.int_(s.n), a(s.C, s.C)])
def curvature_radii(
    weights: Head,
    features: Float[Array, "n D"],
    classes: Int[Array, "n"],
    curvatures: Float[Array, "C C"],
) -> Float[Array, "n C"]:
    weights = ops.CurvatureWeights(*weights)
    return ops.curvature_radii(weights, features, classes, curvatures)


@claim(lambda a, s: [a(s.n, s.C), a(s.n, s.C), a(s.n, s.C)])
def curvature_radius(
    gaps: Float[Array, "n C"],
    slopes: Float[Array, "n C"],
    curvatures: Float[Array, "n C"],
) -> Float[Array, "n C"]:
    return ops.curvature_radius(gaps, slopes, curvatures)


# Losses


@claim(lambda a, s: [a(s.n, s.C), a.int_(s.n)])
def cross_entropy(
    logits: Float[Array, "n C"], labels: Int[Array, "n"]
) -> Float[Array, "n"]:
    return losses.cross_entropy(logits, labels)


@claim(lambda a, s: [a(s.n, s.C), a.int_(s.n)])
def annealed_cross_entropy(
    logits: Float[Array, "n C"], labels: Int[Array, "n"]
) -> Float[Array, "n"]:
    return losses.annealed_cross_entropy(logits, labels, offset=0.5)


@claim(lambda a, s: [a(s.n, s.C), a.int_(s.n), a(s.C, s.C)])
def emma(
    logits: Float[Array, "n C"], labels: Int[Array, "n"], slopes: Float[Array, "C C"]
) -> Float[Array, "n"]:
    return losses.emma(logits, labels, slopes, radius=0.5)


@claim(lambda a, s: [a(s.n, s.C), a.int_(s.n), a(s.C, s.C)])
def certified_radius(
    logits: Float[Array, "n C"], labels: Int[Array, "n"], slopes: Float[Array, "C C"]
) -> Float[Array, "n"]:
    return losses.certified_radius(logits, labels, slopes)


# The tests


NO_ARRAYS = {"chebyshev", "polynomial_gain", "same_taps", "taylor"}
NO_ARRAYS |= {"accuracy", "certified_robust_accuracy", "mean_radius"}  # NumPy


def functions(module):
    """Names of a module's public functions, decorated or partial ones included."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and callable(value)
        and not isinstance(value, type)
        and not inspect.ismodule(value)
        and not hasattr(value, "__origin__")
    }


def test_every_public_function_is_claimed():
    due = set().union(*map(functions, MODULES))
    assert due - NO_ARRAYS == set(CLAIMS)
    assert "chebyshev" in due and "Radii" not in due and "Coefficients" not in due


def traced(name, dtype, sizes):
    """The dtypes of the floats that a claimed function returns, or of their parts."""
    function, arguments = CLAIMS[name]
    drawn = arguments(Drawn(dtype), sizes)
    arrays = [value for value in drawn if not isinstance(value, int)]
    rest = [value for value in drawn if isinstance(value, int)]
    leaves = jax.tree.leaves(jax.eval_shape(lambda *a: function(*a, *rest), *arrays))
    inexact = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return {jnp.finfo(leaf.dtype).dtype for leaf in inexact}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("name", CLAIMS)
@settings(max_examples=10)
@given(sizes=SIZES)
def test_shapes_and_dtypes(name, dtype, sizes):
    assert traced(name, dtype, sizes) == {jnp.dtype(dtype)}


def test_a_wrong_claim_is_found():
    @jaxtyping.jaxtyped(typechecker=beartype.beartype)
    def wrong(x: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
        return ops.channel_max_pool(x)

    with pytest.raises(jaxtyping.TypeCheckError, match="return"):
        jax.eval_shape(wrong, Drawn(jnp.float32)(3, 4))
