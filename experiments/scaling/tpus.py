"""TPUs that a program can be compiled for while none is present."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from jax.experimental import topologies

from ..common.errors import UserError

_ALONE = {
    "TPU_SKIP_MDS_QUERY": "1",  # asks no metadata server
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # takes no lock: no TPU is opened
    "TPU_ACCELERATOR_TYPE": "v5litepod-64",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_LOG_DIR": "disabled",
}

TPU_VECTOR_MEMORY = 1
"""The number of the memory beside a TPU's processor in the text of its programs."""
_BELOW_A_HOST = {"1x1": [1, 1, 1], "1x2": [1, 2, 1]}
"""Chips on the host of a slice that is less than a host's 2x2."""


def tpu_slice(name: str) -> Sequence[Any]:
    """The devices of a slice of TPUs, as v5e:8x8; they need not be present.

    Raises:
      UserError: if the compiler for TPUs is not installed, or there is no such slice.
    """
    for variable, value in _ALONE.items():
        os.environ.setdefault(variable, value)
    sides = name.partition(":")[2]
    on_host = _BELOW_A_HOST.get(sides)
    bounds = {"chips_per_host_bounds": on_host} if on_host else {}
    try:
        found = topologies.get_topology_desc(
            platform="tpu", topology_name=name, **bounds
        )
    except Exception as error:
        text = str(error).partition("\n")[0].partition("; cannot")[0]
        raise UserError(f"--topology={name}: {text} (pip install libtpu)") from error
    return found.devices
