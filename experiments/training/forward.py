"""The forward pass in training: trunk, features moved by an attack, head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lipjax import LipConvNet
from lipjax.attacks import adversarial_features
from lipjax.nn import SPECTRAL

from ..configs import Config

HEAD = "classifier"
"""The name of the head among a network's variables."""


class Forward(NamedTuple):
    """What a loss is made of.

    Attributes:
      logits: [n, C], of the images; the number of correct images is theirs.
      attacked: [n, C], where the cross-entropy is taken: of the features moved by
        `Config.attack_radius`, or `logits`.
      penalty: the head's penalty, a scalar.
      spectral: singular vectors, after one step of the power iteration if asked for.
    """

    logits: jax.Array
    attacked: jax.Array
    penalty: jax.Array
    spectral: Any


def with_head(variables: Any, fresh: Any) -> Any:
    """The variables, with the head of `fresh` if theirs has other names or shapes.

    Example:
      >>> old = {"params": {"initial": 1, HEAD: jnp.ones(2)}, "spectral": {}}
      >>> new = {"params": {"initial": 2, HEAD: jnp.zeros(3)}, "spectral": {}}
      >>> with_head(old, new)["params"]
      {'initial': 1, 'classifier': Array([0., 0., 0.], dtype=float32)}
      >>> with_head(old, old)["params"]
      {'initial': 1, 'classifier': Array([1., 1.], dtype=float32)}
    """
    shapes = [jax.tree.map(jnp.shape, v["params"][HEAD]) for v in (variables, fresh)]
    if shapes[0] == shapes[1]:
        return variables

    def exchanged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        kept = {name: old[name] for name in old if name != HEAD}
        return kept | {name: new[name] for name in new if name == HEAD}

    return {name: exchanged(variables[name], fresh[name]) for name in fresh}


def make_forward(model: LipConvNet, config: Config) -> Callable[..., Forward]:
    """Makes `(params, spectral, x, y, update_stats) -> Forward`.

    x are images; with `train_only=head`, their features.
    """
    head: Any = model.new_head()
    radius = config.attack_radius / min(model.std)

    def trunk(variables, x, update_stats: bool):
        changed: Any
        if config.train_only == "head":
            return x, variables[SPECTRAL]
        features, changed = model.apply(
            variables,
            x,
            True,
            update_stats,
            mutable=[SPECTRAL] if update_stats else [],
            method="features",
        )
        return features, changed.get(SPECTRAL, variables[SPECTRAL])

    def forward(params, spectral, x, y, update_stats: bool) -> Forward:
        features, spectral = trunk(
            {"params": params, SPECTRAL: spectral}, x, update_stats
        )
        own = {"params": params[HEAD], SPECTRAL: spectral.get(HEAD, {})}
        changed: Any
        logits, changed = head.apply(
            own,
            features,
            True,
            update_stats,
            mutable=[SPECTRAL] if update_stats else [],
        )
        if changed.get(SPECTRAL):
            own[SPECTRAL] = changed[SPECTRAL]
            spectral = spectral | {HEAD: changed[SPECTRAL]}
        penalty = head.apply(own, logits, y, method="penalty")
        attacked = logits
        if radius:
            fixed = lax.stop_gradient(own)
            precise = features.astype(model.param_dtype)
            moved = adversarial_features(
                lambda z: config.temperature * head.apply(fixed, z, True),
                precise,
                y,
                radius,
            )
            attacked = head.apply(own, moved, True)
        return Forward(logits, attacked, penalty, spectral)

    return forward
