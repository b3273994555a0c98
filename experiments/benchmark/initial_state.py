"""The untrained network from which the jobs of lipjax and of the baseline start."""

from __future__ import annotations

import functools
from typing import Any

import jax

from ..configs import NETWORK, Config
from ..data import Dataset
from ..training.state import TrainState
from ..training.trainer import Trainer
from .random_data import random_data


def initial_state(config: Config, data: Dataset) -> TrainState:
    """The untrained state of a config's network, on the host.

    It does not depend on the approximation of exp, so the variants of a setting start
    from the same weights and share the time of the initialisation.
    """
    network = {name: getattr(config, name) for name in NETWORK}
    return _initial_state(tuple(network.items()), data.image_shape[0])


@functools.lru_cache(maxsize=1)
def _initial_state(network: tuple[tuple[str, Any], ...], side: int) -> TrainState:
    count = jax.device_count()
    config = Config(**dict(network), batch_size=count)
    trainer = Trainer(config, random_data(count, side))
    return jax.device_get(trainer.init())
