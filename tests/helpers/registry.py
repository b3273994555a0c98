"""Every layer of the library, with the gain that it claims: what properties walk.

A new layer is tested by adding one line to `LAYERS`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from helpers.dense import side_by_side
from lipjax import certify, ops
from lipjax.models.lipconvnet import Block
from lipjax.nn import (
    BlockConvolutionOrthogonal,
    CayleyConv,
    ChannelMaxPool,
    ExpApproximation,
    Householder,
    HouseholderOrder2,
    MaxMin,
    ProjectionPool,
    ReflectorConv,
    SkewOrthogonalConv,
)

# A generator that compiles in a tenth of the default one's time.
KEY = jax.random.key(0, impl="unsafe_rbg")

PUBLISHED = ExpApproximation(ops.taylor(5), ops.taylor(14), gradient="fast")
# Claims a gain a little above 1, and is quick to compile.
EXPANDING = ExpApproximation(ops.chebyshev(3, 1.6), ops.taylor(5))


class Layer(NamedTuple):
    name: str
    module: nn.Module
    shape: tuple[int, ...]  # of one input, without a batch
    gain: Callable[[Any], float]  # claimed, as a function of the variables


class Function(nn.Module):
    """A parameterless function as a module."""

    function: Callable

    @nn.compact
    def __call__(self, x):
        return self.function(x)


def one(variables):
    return 1.0


def normalized_skew(variables):
    """The skew kernel that a convolution applies, in float64."""
    kernel = np.asarray(variables["params"]["kernel"], np.float64)
    skew = (kernel - kernel[::-1, ::-1].swapaxes(2, 3)) / 2
    vectors = variables["spectral"]["kernel_vectors"]
    return skew / min(
        np.asarray(u) @ side_by_side(matrix) @ np.ravel(v)
        for matrix, (u, v) in zip(ops.unfoldings(skew), vectors, strict=True)
    )


def series_gain(coefficients):
    """The gain that a polynomial of a skew convolution claims."""

    def gain(variables):
        bound = certify.unfolding_bound(normalized_skew(variables))
        return ops.polynomial_gain(coefficients, bound)

    return gain


def conv(features, **settings):
    return SkewOrthogonalConv(features, param_dtype=jnp.float64, **settings)


def soc(name, shape, features, exp=EXPANDING, **settings):
    module = conv(features, exp=exp, **settings)
    return Layer(f"soc-{name}", module, shape, series_gain(exp.eval_coefficients))


def circular(layer, name, shape, features, **settings):
    """A convolution with circular padding, which does not expand."""
    module = layer(features, param_dtype=jnp.float64, **settings)
    return Layer(f"{layer.__name__}-{name}", module, shape, one)


def block(name, shape, convolution, activation):
    claim = series_gain(convolution.exp.eval_coefficients)

    def gain(variables):
        return claim({name: parts["conv"] for name, parts in variables.items()})

    return Layer(f"block-{name}", Block(convolution, activation), shape, gain)


DOUBLE = {"param_dtype": jnp.float64}
IMAGE = (3, 2, 6)
POINTWISE = {"kernel_size": 1, "use_bias": False}

LAYERS = [
    soc("default-polynomials", (4, 4, 3), 3, exp=ExpApproximation()),
    soc("published", (4, 4, 3), 3, exp=PUBLISHED),
    soc("odd", (5, 5, 3), 3),
    soc("even", (4, 6, 2), 2),
    soc("small", (2, 2, 4), 4),
    soc("pixel", (1, 1, 6), 6),
    soc("k1", (3, 3, 4), 4, kernel_size=1),
    soc("k5", (6, 5, 2), 2, kernel_size=5),
    soc("k5-small", (3, 3, 2), 2, kernel_size=5),
    soc("grows", (4, 4, 2), 5),
    soc("shrinks", (4, 4, 5), 2),
    soc("stride2", (6, 4, 1), 4, strides=2),
    soc("stride2-grows", (4, 4, 1), 6, strides=2),
    soc("stride2-shrinks", (4, 4, 2), 3, strides=2, kernel_size=1),
    soc("stride3", (6, 6, 1), 9, strides=(3, 3)),
    soc("no-bias", (4, 4, 3), 3, kernel_size=(3, 3), use_bias=False),
    circular(BlockConvolutionOrthogonal, "same", (4, 5, 3), 3),
    circular(BlockConvolutionOrthogonal, "grows", (3, 4, 2), 5),
    circular(BlockConvolutionOrthogonal, "stride2-shrinks", (4, 4, 2), 3, strides=2),
    circular(BlockConvolutionOrthogonal, "k1-no-bias", (2, 2, 3), 3, **POINTWISE),
    circular(BlockConvolutionOrthogonal, "small", (2, 1, 3), 3),
    circular(CayleyConv, "same", (4, 5, 3), 3),
    circular(CayleyConv, "grows", (3, 4, 2), 5),
    circular(CayleyConv, "stride2-shrinks", (4, 4, 2), 3, strides=2, kernel_size=1),
    circular(CayleyConv, "small", (2, 1, 3), 3),
    circular(ReflectorConv, "same", (4, 5, 4), 4),
    circular(ReflectorConv, "grows", (3, 4, 2), 5),
    circular(ReflectorConv, "stride2-shrinks", (4, 4, 2), 3, strides=2),
    circular(ReflectorConv, "k1-no-bias", (2, 2, 4), 4, **POINTWISE),
    circular(ReflectorConv, "small", (2, 1, 4), 4),
    Layer("maxmin", MaxMin(), IMAGE, one),
    Layer("householder", Householder(**DOUBLE), IMAGE, one),
    Layer("householder2", HouseholderOrder2(**DOUBLE), IMAGE, one),
    Layer("channel-max-pool", ChannelMaxPool(), IMAGE, one),
    Layer("projection-pool", ProjectionPool(**DOUBLE), IMAGE, one),
    Layer(
        "space-to-depth", Function(lambda x: ops.space_to_depth(x, 2)), (4, 2, 3), one
    ),
    Layer("padded-channels", Function(lambda x: ops.with_channels(x, 9)), IMAGE, one),
    Layer("dropped-channels", Function(lambda x: ops.with_channels(x, 4)), IMAGE, one),
    block("activation", (4, 4, 4), conv(4, exp=EXPANDING), Householder(**DOUBLE)),
    block(
        "pooling",
        (4, 4, 2),
        conv(8, strides=2, exp=EXPANDING),
        ProjectionPool(**DOUBLE),
    ),
]


def drawn(module, *args, seed=0):
    """Variables like those of `init`, drawn by NumPy: `init` takes 2 s to compile."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(module.init, KEY, *args)

    def draw(path, leaf):
        name, dtype = path[-1].key, leaf.dtype
        if name.startswith("theta"):
            return rng.uniform(0, np.pi, leaf.shape).astype(dtype)
        if name == "alpha":
            return np.full(leaf.shape, 3.0, dtype)
        scale = leaf.shape[-1] ** -0.5
        return (scale * rng.standard_normal(leaf.shape)).astype(dtype)

    params = jax.tree_util.tree_map_with_path(draw, shapes.get("params", {}))
    state = flatten_dict(shapes.get("spectral", {}))
    kernels = flatten_dict(params)
    spectral = {
        path: converged(kernels[*path[:-1], path[-1].removesuffix("_vectors")])
        for path in state
    }
    variables = {"params": params, "spectral": unflatten_dict(spectral)}
    return jax.tree.map(jnp.asarray, {k: v for k, v in variables.items() if v})


def converged(kernel, steps=50):
    """Singular vectors of the matrices that belong to a parameter, iterated."""
    if kernel.ndim == 2:
        matrices = (kernel[None],)
    else:
        matrices = ops.unfoldings(
            (kernel - kernel[::-1, ::-1].swapaxes(2, 3)) / kernel.dtype.type(2)
        )
    vectors = []
    for blocks in matrices:
        matrix = side_by_side(blocks)
        u, v = np.ones(len(matrix), matrix.dtype), np.empty(0)
        for _ in range(steps):
            v = matrix.T @ u
            v /= np.linalg.norm(v)
            u = matrix @ v
            u /= np.linalg.norm(u)
        vectors.append((u, v.reshape(len(blocks), -1)))
    return tuple(vectors)


def initialised(module, *args, **settings):
    """Variables of a module, by a compiled `init`."""
    return jax.jit(lambda *a: module.init(KEY, *a, **settings))(*args)
