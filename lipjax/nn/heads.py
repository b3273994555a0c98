"""Heads: features to logits, and the radii that the logits certify.

`Head` lists the methods that `LipConvNet` and `predict_with_radius` call. A module
that has them can be a head. `LinearHead` has all but two of them.
"""

from __future__ import annotations

from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import dtypes

from lipjax import ops
from lipjax.nn.soc import ExpApproximation, SkewOrthogonalConv
from lipjax.nn.spectral import SPECTRAL, vectors_of
from lipjax.nn.strided import symmetric_uniform


class Head(Protocol):
    """The methods of a head, a Linen module; see `LinearHead` for an example.

    For certificates, register the module with `lipjax.inference.exact_head`.
    """

    def __call__(
        self, features: jax.Array, train: bool = False, update_stats: bool = False
    ) -> jax.Array:
        """Logits [n, C] of features [n, D]; see `SkewOrthogonalConv.__call__`."""
        ...

    def pair_constants(self) -> jax.Array:
        """The constants of each pair of classes that `pair_radii` needs, [C, C]."""
        ...

    def pair_estimates(self) -> jax.Array:
        """A cheap estimate of `pair_constants`, to monitor training."""
        ...

    def pair_radii(
        self, features: jax.Array, classes: jax.Array, constants: jax.Array
    ) -> jax.Array:
        """Signed radii in feature space against every class, [n, C].

        Infinite for the class itself; negative where another class wins.
        """
        ...

    def penalty(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        """A scalar to add to the training loss, times a weight."""
        ...


class LinearHead(nn.Module):
    r"""Base class of linear heads: r = (l_y - l_t) / ||w_y - w_t||.

    A subclass defines `__call__`, as in `Head`, and `pair_constants`, which returns
    the distances ||w_y - w_t|| of the logits' gradients, [C, C].

    Example:
      >>> class Difference(LinearHead):
      ...     def __call__(self, features, train=False, update_stats=False):
      ...         return features[:, :2]
      ...
      ...     def pair_constants(self):
      ...         return jnp.sqrt(2 * (1 - jnp.eye(2)))
      >>> z, constants = jnp.array([[3.0, 1.0]]), Difference().pair_constants()
      >>> Difference().apply({}, z, jnp.array([0]), constants, method="pair_radii")
      Array([[      inf, 1.4142135]], dtype=float32)
    """

    def pair_constants(self) -> jax.Array:
        raise NotImplementedError(f"{type(self).__name__} must define pair_constants")

    def pair_estimates(self) -> jax.Array:
        return self.pair_constants()

    def pair_radii(self, features, classes, constants) -> jax.Array:
        logits: Any = self(features)  # pyright: ignore[reportCallIssue]
        return ops.linear_radii(logits, classes, constants)

    def penalty(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        return jnp.zeros((), logits.dtype)


class OrthogonalHead(LinearHead):
    r"""A 1x1 skew-orthogonal convolution to the logits: r = (l_y - l_t) / sqrt 2.

    Attributes:
      num_classes: C.
      exp: polynomials and gradient rule of the convolution.
      dtype: of the computation.
      param_dtype: of the parameters.

    The convolution's own gain, if above 1, belongs to the network's constant.

    References: Singla & Feizi, ICML 2021.

    Example:
      >>> head = OrthogonalHead(3)
      >>> variables = head.init(jax.random.key(0), jnp.ones((2, 8)))
      >>> head.apply(variables, jnp.ones((2, 8))).shape
      (2, 3)
    """

    num_classes: int
    exp: ExpApproximation = ExpApproximation()
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, features: jax.Array, train: bool = False, update_stats: bool = False
    ) -> jax.Array:
        conv = SkewOrthogonalConv(
            self.num_classes,
            kernel_size=1,
            exp=self.exp,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name="conv",
        )
        return conv(features[:, None, None, :], train, update_stats)[:, 0, 0, :]

    def pair_constants(self) -> jax.Array:
        same = jnp.eye(self.num_classes, dtype=self.param_dtype)
        return jnp.sqrt(2 * (1 - same))


class NormalizedHead(LinearHead):
    r"""Last-layer normalisation (LLN): rows of norm 1, r = (l_y - l_t) / ||w_y - w_t||.

    Attributes: as `OrthogonalHead`.

    References: Singla, Singla & Feizi, ICLR 2022, section 4.

    Example:
      >>> head = NormalizedHead(3)
      >>> variables = head.init(jax.random.key(0), jnp.ones((2, 8)))
      >>> head.apply(variables, method="pair_constants").shape
      (3, 3)
    """

    num_classes: int
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, features: jax.Array, train: bool = False, update_stats: bool = False
    ) -> jax.Array:
        shape = (features.shape[-1], self.num_classes)
        init = symmetric_uniform(shape[0] ** -0.5)
        kernel = self.param("kernel", init, shape, self.param_dtype)
        bias = self.param("bias", init, shape[1:], self.param_dtype)
        features, directions, bias = dtypes.promote_dtype(
            features, _directions(kernel), bias, dtype=self.dtype
        )
        return ops.contract("nd,dc->nc", features, directions) + bias[None]

    def pair_constants(self) -> jax.Array:
        directions = _directions(self.get_variable("params", "kernel"))
        squares = jnp.square(directions[:, :, None] - directions[:, None, :]).sum(0)
        apart = squares > 0  # the norm has no gradient at 0
        return jnp.where(apart, jnp.sqrt(jnp.where(apart, squares, 1)), 0)


def _directions(kernel: jax.Array) -> jax.Array:
    """Rows w_y / ||w_y||, as columns [D, C]."""
    norms = jnp.linalg.norm(kernel, axis=0, keepdims=True)
    return kernel / jnp.where(norms > 0, norms, 1)


class CurvatureHead(nn.Module):
    r"""One hidden layer, softplus, and a certificate from its curvature (CRC).

    .. math:: h(z) = W_2 \operatorname{softplus}(W_1 z + b_1) + b_2

    Attributes:
      num_classes: C.
      hidden: H, the number of hidden units.
      param_dtype: of the parameters and the computation.

    State: W1's leading singular vectors in "spectral", for the training penalty.

    References: Singla & Feizi, NeurIPS 2022, section 5.

    Example:
      >>> head = CurvatureHead(3, hidden=16)
      >>> variables = head.init(jax.random.key(0), jnp.ones((2, 8)))
      >>> m = head.apply(variables, method="pair_constants")
      >>> classes = jnp.array([0, 0])
      >>> head.apply(variables, jnp.ones((2, 8)), classes, m, method="pair_radii").shape
      (2, 3)
    """

    num_classes: int
    hidden: int = 4096
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, features: jax.Array, train: bool = False, update_stats: bool = False
    ) -> jax.Array:
        weights = self._parameters(features.shape[-1])
        matrices = (weights.hidden_kernel[None],)
        vectors_of(self, "hidden_kernel", matrices, update_stats)
        return ops.curvature_logits(weights, features.astype(self.param_dtype))

    def _parameters(self, size: int) -> ops.CurvatureWeights:
        sizes = (size, self.hidden, self.num_classes)
        inner, outer = (symmetric_uniform(n**-0.5) for n in sizes[:2])
        return ops.CurvatureWeights(
            self.param("hidden_kernel", inner, sizes[:2], self.param_dtype),
            self.param("hidden_bias", inner, sizes[1:2], self.param_dtype),
            self.param("output_kernel", outer, sizes[1:], self.param_dtype),
            self.param("output_bias", outer, sizes[2:], self.param_dtype),
        )

    def _weights(self) -> ops.CurvatureWeights:
        names = ops.CurvatureWeights._fields
        return ops.CurvatureWeights(*(self.get_variable("params", n) for n in names))

    def _leading_vector(self) -> jax.Array:
        ((left, _),) = self.get_variable(SPECTRAL, "hidden_kernel_vectors")
        return left

    def penalty(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        """Mean estimated curvature against the runner-up classes, to train with."""
        return ops.curvature_penalty(
            self._weights(), logits, labels, self._leading_vector()
        )

    def pair_constants(self) -> jax.Array:
        return ops.pair_curvatures(self._weights())

    def pair_estimates(self) -> jax.Array:
        return ops.pair_curvature_estimates(
            self._weights(), self._leading_vector(), steps=20
        )

    def pair_radii(self, features, classes, constants) -> jax.Array:
        features = features.astype(self.param_dtype)
        return ops.curvature_radii(self._weights(), features, classes, constants)
