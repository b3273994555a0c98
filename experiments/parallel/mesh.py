"""The mesh of all devices of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh

from ..common.errors import UserError

DATA, MODEL = "data", "model"
"""The axes of a mesh."""


def make_mesh(model_parallel: int = 1, among: Sequence[Any] | None = None) -> Mesh:
    """A mesh of all devices; groups of `model_parallel` share a copy of the network.

    Axes: "data", over which batches are shared out, and "model", over which the output
    channels of wide kernels and the hidden units of the curvature head are.

    Args:
      model_parallel: devices per group.
      among: the devices, for example to compile for; None: those of all hosts.

    Raises:
      UserError: if the number of devices is no multiple of `model_parallel`.
    """
    devices = jax.device_count() if among is None else len(among)
    if model_parallel < 1 or devices % model_parallel:
        raise UserError(
            f"--model_parallel={model_parallel} does not divide the {devices} "
            f"device{'s' * (devices > 1)}"
        )
    shape = (devices // model_parallel, model_parallel)
    return jax.make_mesh(
        shape, (DATA, MODEL), axis_types=(AxisType.Auto,) * 2, devices=among
    )
