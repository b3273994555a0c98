"""The optimiser of a training run."""

from __future__ import annotations

from typing import Any

import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from ..configs import Config
from .forward import HEAD
from .lookahead import lookahead


def optimizer(config: Config, steps: int) -> optax.GradientTransformation:
    """SGD with momentum and decay of the kernels, for a run of `steps` steps.

    The learning rate falls to a tenth at one half and again at three quarters.
    """
    rate = optax.piecewise_constant_schedule(
        config.learning_rate, {steps // 2: 0.1, steps * 3 // 4: 0.1}
    )
    clip = optax.clip_by_global_norm(config.clip_norm)
    tx = optax.chain(
        clip if config.clip_norm else optax.identity(),
        optax.add_decayed_weights(config.weight_decay, mask=decayed),
        optax.sgd(rate, momentum=config.momentum),
    )
    if config.train_only == "head":
        tx = optax.masked(tx, of_head)
    return lookahead(tx, config.lookahead)


def of_head(params: Any) -> dict[str, bool]:
    """Mask of the head's parameters."""
    return {name: name == HEAD for name in params}


def decayed(params: Any) -> Any:
    """Mask of the kernels that decay: those of convolutions and of linear heads."""
    flat = flatten_dict(params)
    return unflatten_dict({path: path[-1] == "kernel" for path in flat})
