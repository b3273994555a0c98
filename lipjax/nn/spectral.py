"""The scale of skew kernels: singular vectors, power iteration and its gradient."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from lipjax import ops

SPECTRAL = "spectral"
"""Collection of singular vectors: `NAME_vectors` belongs to the parameter `NAME`."""

_STEPS_AT_CREATION = 50


def scale_estimate(matrices, vectors) -> jax.Array:
    """The smaller singular value estimate of the unfoldings, 1 for a zero kernel."""
    return _scale_by(_estimates(matrices, vectors))


def _estimates(matrices, vectors) -> list[jax.Array]:
    each = zip(matrices, vectors, strict=True)
    return [ops.singular_value_estimate(m, v) for m, v in each]


def _scale_by(estimates) -> jax.Array:
    sigma = functools.reduce(jnp.minimum, estimates)
    return jnp.where(sigma == 0, jnp.ones_like(sigma), sigma)


@jax.custom_vjp
def _known(matrix, vectors, estimate):
    """An estimate that is computed already, differentiable in the matrix."""
    return estimate


def _known_fwd(matrix, vectors, estimate):
    return estimate, (matrix, vectors)


def _known_bwd(saved, gradient):
    matrix, (u, v) = saved
    blocks, *rows, columns = matrix.shape
    u, v = u.reshape(1, *rows, 1), v.reshape(blocks, *(1 for _ in rows), columns)
    return (gradient * u * v).astype(matrix.dtype), None, None


_known.defvjp(_known_fwd, _known_bwd)


def differentiable_scale(matrices, vectors, estimates) -> jax.Array:
    """The same as `scale_estimate`, of estimates that are computed already."""
    each = zip(matrices, vectors, estimates, strict=True)
    return _scale_by([_known(m, v, e) for m, v, e in each])


@jax.custom_vjp
def with_scale(kernel, skew, vectors, estimates):
    """A kernel's skew part and its scale, for rules whose gradients are skew.

    Taking the skew part is an orthogonal projection. A skew gradient is therefore the
    kernel's gradient as it stands, and the backward pass transposes no kernel.
    """
    return skew, _scale_by(estimates)


def _with_scale_fwd(kernel, skew, vectors, estimates):
    return (skew, _scale_by(estimates)), (estimates, vectors)


def _with_scale_bwd(saved, gradients):
    (estimates, vectors), (gradient, of_scale) = saved, gradients
    square, tall = ops.skew_estimate_gradients(vectors)
    least = jnp.minimum(*estimates)
    of_least = jnp.where(estimates[0] <= estimates[1], square, tall)
    of_estimate = jnp.where(least == 0, 0, of_scale) * of_least
    return gradient.astype(of_estimate.dtype) + of_estimate, None, None, None


with_scale.defvjp(_with_scale_fwd, _with_scale_bwd)


def vectors_of(module: nn.Module, name: str, matrices, update_stats: bool):
    """The singular vectors that a module keeps for its parameter `name`, and estimates.

    At creation they are random, followed by 50 steps of power iteration. Estimates of
    the singular values carry no gradient.
    """
    state = module.variable(
        SPECTRAL,
        f"{name}_vectors",
        lambda: _initial_vectors(
            module.make_rng("params"), matrices, module.param_dtype
        ),
    )
    if update_stats and not module.is_initializing():
        state.value, estimates = ops.power_step(matrices, state.value)
        return state.value, estimates
    return state.value, jax.lax.stop_gradient(_estimates(matrices, state.value))


def _initial_vectors(key, matrices, dtype):
    keys = jax.random.split(key, len(matrices))
    each = zip(keys, matrices, strict=True)
    start = [ops.random_vectors(k, m, dtype) for k, m in each]
    return iterate(matrices, start, _STEPS_AT_CREATION)


def iterate(matrices, vectors, steps: int):
    """Takes steps of the power iteration on each matrix."""
    each = zip(matrices, vectors, strict=True)
    return tuple(ops.power_iteration(m, v, steps) for m, v in each)


def refresh_spectral(variables: Any, steps: int = 50) -> Any:
    """Takes power-iteration steps on all singular vectors of a model.

    Args:
      variables: of a module of this library, {"params": ..., "spectral": ...}.
      steps: how many steps.

    Returns:
      The new collection "spectral"; an empty one if the module has none.

    Example:
      >>> from lipjax.nn import SkewOrthogonalConv
      >>> layer = SkewOrthogonalConv(2)
      >>> variables = layer.init(jax.random.key(0), jnp.zeros((1, 4, 4, 2)))
      >>> variables["spectral"] = refresh_spectral(variables)
    """
    params: Any = flatten_dict(variables["params"])
    state: Any = flatten_dict(variables.get(SPECTRAL, {}))
    for path, vectors in state.items():
        kernel = params[*path[:-1], path[-1].removesuffix("_vectors")]
        state[path] = iterate(_matrices(kernel), vectors, steps)
    return unflatten_dict(state)


def _matrices(kernel):
    """The matrices whose singular vectors belong to a parameter."""
    if kernel.ndim == 2:
        return (kernel[None],)
    return ops.unjoined(ops.skew_kernel(kernel))
