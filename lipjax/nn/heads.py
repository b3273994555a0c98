"""Heads: features to logits, and the radii that the logits certify.

Every head has the same three methods: `__call__(features) -> logits`,
`pair_constants() -> [C, C]`, what its certificate needs to know of each pair of classes
(computed once per model), and `pair_radii(features, classes, constants) -> [n, C]`, the
signed radius in feature space against every class, infinite for the class itself.
`pair_estimates` is a cheap estimate of `pair_constants`, to watch a training run with.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import dtypes

from lipjax import ops
from lipjax.nn.soc import (
    SPECTRAL,
    ExpApproximation,
    SkewOrthogonalConv,
    initial_vectors,
    iterate,
    symmetric_uniform,
)


class OrthogonalHead(nn.Module):
    r"""A 1x1 skew-orthogonal convolution to the logits: r = (l_y - l_t) / sqrt 2.

    Attributes:
      in_features: D.
      num_classes: C.
      exp: polynomials and gradient of the convolution.
      dtype: of the computation.
      param_dtype: of the parameters.

    The convolution's own gain, where above 1, belongs to the network's constant.

    References: Singla & Feizi, ICML 2021.

    Example:
      >>> head = OrthogonalHead(8, 3)
      >>> variables = head.init(jax.random.key(0), jnp.ones((2, 8)))
      >>> head.apply(variables, jnp.ones((2, 8))).shape
      (2, 3)
    """

    in_features: int
    num_classes: int
    exp: ExpApproximation = ExpApproximation()
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        self.conv = SkewOrthogonalConv(
            self.num_classes,
            kernel_size=1,
            exp=self.exp,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )

    def __call__(self, features: jax.Array, train: bool = False) -> jax.Array:
        return self.conv(features[:, None, None, :], train)[:, 0, 0, :]

    def pair_constants(self) -> jax.Array:
        same = jnp.eye(self.num_classes, dtype=self.param_dtype)
        return jnp.sqrt(2 * (1 - same))

    pair_estimates = pair_constants

    def pair_radii(self, features, classes, constants) -> jax.Array:
        return ops.linear_radii(self(features), classes, constants)


class NormalizedHead(nn.Module):
    r"""Last-layer normalisation (LLN): rows of norm 1, r = (l_y - l_t) / ||w_y - w_t||.

    Attributes: as `OrthogonalHead`.

    References: Singla, Singla & Feizi, ICLR 2022, section 4.

    Example:
      >>> head = NormalizedHead(8, 3)
      >>> variables = head.init(jax.random.key(0), jnp.ones((2, 8)))
      >>> head.apply(variables, method="pair_constants").shape
      (3, 3)
    """

    in_features: int
    num_classes: int
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        init = symmetric_uniform(self.in_features**-0.5)
        shape = (self.in_features, self.num_classes)
        self.kernel = self.param("kernel", init, shape, self.param_dtype)
        self.bias = self.param("bias", init, shape[1:], self.param_dtype)

    def _directions(self) -> jax.Array:
        """Rows w_y / ||w_y||, as columns [D, C]."""
        norms = jnp.linalg.norm(self.kernel, axis=0, keepdims=True)
        return self.kernel / jnp.where(norms > 0, norms, 1)

    def __call__(self, features: jax.Array, train: bool = False) -> jax.Array:
        features, directions, bias = dtypes.promote_dtype(
            features, self._directions(), self.bias, dtype=self.dtype
        )
        return ops.contract("nd,dc->nc", features, directions) + bias[None]

    def pair_constants(self) -> jax.Array:
        directions = self._directions()
        apart = directions[:, :, None] - directions[:, None, :]
        return jnp.linalg.norm(apart, axis=0)

    pair_estimates = pair_constants

    def pair_radii(self, features, classes, constants) -> jax.Array:
        return ops.linear_radii(self(features), classes, constants)


class CurvatureHead(nn.Module):
    r"""One hidden layer, softplus, and a certificate from its curvature (CRC).

    .. math:: h(z) = W_2 \operatorname{softplus}(W_1 z + b_1) + b_2

    Attributes:
      in_features: D.
      num_classes: C.
      hidden: H, the number of hidden units.
      param_dtype: of parameters and computation: certificates want it exact.

    State: W1's leading singular vectors in "spectral", for the training penalty.

    References: Singla & Feizi, NeurIPS 2022, section 5.

    Example:
      >>> head = CurvatureHead(8, 3, hidden=16)
      >>> variables = head.init(jax.random.key(0), jnp.ones((2, 8)))
      >>> m = head.apply(variables, method="pair_constants")
      >>> classes = jnp.array([0, 0])
      >>> head.apply(variables, jnp.ones((2, 8)), classes, m, method="pair_radii").shape
      (2, 3)
    """

    in_features: int
    num_classes: int
    hidden: int = 4096
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        sizes = (self.in_features, self.hidden, self.num_classes)
        inner, outer = (symmetric_uniform(n**-0.5) for n in sizes[:2])
        self.weights = ops.CurvatureWeights(
            self.param("hidden_kernel", inner, sizes[:2], self.param_dtype),
            self.param("hidden_bias", inner, sizes[1:2], self.param_dtype),
            self.param("output_kernel", outer, sizes[1:], self.param_dtype),
            self.param("output_bias", outer, sizes[2:], self.param_dtype),
        )
        self.vectors = self.variable(
            SPECTRAL,
            "hidden_kernel_vectors",
            lambda: initial_vectors(
                self.make_rng("params"), (self.weights.hidden_kernel[None],)
            ),
        )

    def __call__(self, features: jax.Array, train: bool = False) -> jax.Array:
        if self.is_mutable_collection(SPECTRAL) and not self.is_initializing():
            matrices = (self.weights.hidden_kernel[None],)
            self.vectors.value = iterate(matrices, self.vectors.value, 1)
        return ops.curvature_logits(self.weights, features.astype(self.param_dtype))

    def penalty(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        """Mean estimated curvature against the runner-up classes, to train with."""
        ((start, _),) = self.vectors.value
        return ops.curvature_penalty(self.weights, logits, labels, start)

    def pair_constants(self) -> jax.Array:
        return ops.pair_curvatures(self.weights)

    def pair_estimates(self) -> jax.Array:
        ((start, _),) = self.vectors.value
        return ops.pair_curvature_estimates(self.weights, start, steps=20)

    def pair_radii(self, features, classes, constants) -> jax.Array:
        features = features.astype(self.param_dtype)
        return ops.curvature_radii(self.weights, features, classes, constants)


Head = OrthogonalHead | NormalizedHead | CurvatureHead
