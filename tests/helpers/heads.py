"""Small curvature heads, random and golden."""

import jax
import jax.numpy as jnp
import numpy as np

from helpers.dense import normal
from lipjax.ops import SOFTPLUS_CURVATURE, CurvatureWeights

GOLDEN_HEADS = [f"curvature_head_{c}_scale{s}" for c in (10, 40) for s in (1, 6)]


def random_head(seed, features=3, hidden=8, classes=4, scale=1.5):
    shapes = [(features, hidden), (hidden,), (hidden, classes), (classes,)]
    arrays = [scale * normal(10 * seed + n, *s) for n, s in enumerate(shapes)]
    return CurvatureWeights(*map(jnp.asarray, arrays))


def golden_head(arrays):
    """Weights, features and labels of a golden head."""
    weights = CurvatureWeights(
        *(
            jnp.asarray(arrays[f"param/{layer}.{kind}"].T)
            for layer in ("linear1", "linear2")
            for kind in ("weight", "bias")
        )
    )
    return weights, arrays["features"][:, :, 0, 0], jnp.asarray(arrays["labels"])


def true_curvature(weights, first, second):
    """M of the margin of `first` over `second`: 1/4 lambda_max(W1 diag(d+) W1^T)."""
    outer = np.asarray(weights.output_kernel)
    scale = np.maximum(outer[:, first] - outer[:, second], 0)
    inner = np.asarray(weights.hidden_kernel)
    return np.linalg.norm(inner * np.sqrt(scale), 2) ** 2 / 4


def global_curvatures(weights):
    """The coarser, published m of every pair: 1/4 sigma_1(W1)^2 max_h max(-d_h, 0)."""
    norm = jnp.linalg.norm(weights.hidden_kernel, ord=2)
    columns = weights.output_kernel.T
    largest = jnp.max(jax.nn.relu(columns[None] - columns[:, None]), axis=-1)
    return SOFTPLUS_CURVATURE * norm**2 * largest


def margin_hessian(weights, first, second, z):
    """Second derivative of the margin of `first` over `second` at z."""

    def margin(z):
        hidden = jnp.log1p(jnp.exp(z @ weights.hidden_kernel + weights.hidden_bias))
        logits = hidden @ weights.output_kernel + weights.output_bias
        return logits[first] - logits[second]

    return jax.hessian(margin)(z)
