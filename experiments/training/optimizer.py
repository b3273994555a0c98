"""The optimiser of a training run."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from ..configs import Config
from .forward import HEAD
from .lookahead import lookahead

_DECAYED = ("kernel", "matrices")


def optimizer(config: Config, steps: int) -> optax.GradientTransformation:
    """The optimiser of a run of `steps` steps, with decay of the kernels.

    "sgd": momentum, the decay part of the gradient; "nadam": Adam with Nesterov's
    momentum, the decay beside its step (Dozat 2016; Loshchilov & Hutter, ICLR 2019).
    """
    clip = optax.clip_by_global_norm(config.clip_norm)
    decay = optax.add_decayed_weights(config.weight_decay, mask=decayed)
    rate = learning_rate(config, steps)
    if config.optimizer == "nadam":
        rule = (optax.scale_by_adam(b1=config.momentum, nesterov=True), decay)
        rule = (*rule, optax.scale_by_learning_rate(rate))
    else:
        rule = (decay, optax.sgd(rate, momentum=config.momentum))
    tx = optax.chain(clip if config.clip_norm else optax.identity(), *rule)
    if config.train_only == "head":
        tx = optax.masked(tx, of_head)
    return lookahead(tx, config.lookahead)


def learning_rate(config: Config, steps: int) -> optax.Schedule:
    """The learning rate of each of a run's steps.

    "steps" falls to a tenth at one half and again at three quarters of the run,
    "cosine" to zero; both rise in a line for the first `warmup` epochs. "one_cycle"
    rises from a 25th for three tenths of the run, then falls to nearly zero, both along
    a cosine (Smith & Topin, 2018).
    """
    peak, rise = config.learning_rate, round(config.warmup * steps / config.epochs)
    if config.schedule == "one_cycle":
        return optax.cosine_onecycle_schedule(max(steps, 4), peak)
    if config.schedule == "cosine":
        first = peak / (rise + 1)
        return optax.warmup_cosine_decay_schedule(
            first, peak, rise, max(steps, rise + 1)
        )
    falls = {steps // 2: 0.1, steps * 3 // 4: 0.1}
    fall = optax.piecewise_constant_schedule(peak, falls)
    if rise == 0:
        return fall
    return lambda step: fall(step) * jnp.minimum(1.0, (step + 1) / (rise + 1))


def of_head(params: Any) -> dict[str, bool]:
    """Mask of the head's parameters."""
    return {name: name == HEAD for name in params}


def decayed(params: Any) -> Any:
    """Mask of the kernels that decay: those of convolutions and of linear heads."""
    flat = flatten_dict(params)
    return unflatten_dict({path: path[-1] in _DECAYED for path in flat})
