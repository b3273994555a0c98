"""GPUs that a program can be compiled for while none is present, and their speed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from jax.experimental import topologies

from ..common.errors import UserError
from .hlo_kernels import Kernel


class Gpu(NamedTuple):
    """A kind of GPU, by its maker's data sheet.

    Attributes:
      name: as the driver calls it.
      memory: bytes.
      bandwidth: bytes a second from and to its memory.
      flops: operations a second by the dtype of a product's factors, without sparsity
        and without TF32.
      start: seconds that a kernel takes at least. Assumed; on an H100 the smallest
        kernels of a captured graph were seen to take 1.5 to 3 microseconds.
    """

    name: str
    memory: int
    bandwidth: float
    flops: Mapping[str, float]
    start: float = 2e-6


_HOPPER = MappingProxyType(
    {"bf16": 989e12, "f16": 989e12, "f32": 67e12, "f64": 67e12, "s8": 1979e12}
)
GPUS = {
    "h100": Gpu("NVIDIA H100 80GB HBM3", 84_942_979_072, 3.352e12, _HOPPER),
    "h200": Gpu("NVIDIA H200", 150_110_011_392, 4.8e12, _HOPPER),
}
"""Sources: NVIDIA, data sheets of the H100 SXM and of the H200."""

_HOPPER_LIMITS = {
    "threads_per_block_limit": 1024,
    "threads_per_warp": 32,
    "shared_memory_per_block": 49152,
    "shared_memory_per_core": 233472,
    "shared_memory_per_block_optin": 232448,
    "threads_per_core_limit": 2048,
    "core_count": 132,
    "fpus_per_core": 128,
    "block_dim_limit_x": 2**31 - 1,
    "block_dim_limit_y": 65535,
    "block_dim_limit_z": 65535,
    "l2_cache_size": 52_428_800,
    "clock_rate_ghz": 1.98,
    "registers_per_core_limit": 65536,
    "registers_per_block_limit": 65536,
}
_VERSIONS = """
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 patch: 0 }
runtime_version { major: 13 minor: 0 patch: 0 }
"""
_ALONE = {
    "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",  # there is no driver to ask
    "XLA_FLAGS": "--xla_gpu_autotune_level=0",  # nothing to try kernels on
}
_NAME = re.compile(rf"({'|'.join(GPUS)}):([1-9]\d*)x([1-9]\d*)")


def gpu_nodes(name: str) -> Sequence[Any]:
    """The devices of hosts with GPUs, as h100:1x8; they need not be present.

    A program that is compiled for them has the kernels that XLA takes without trying
    them: on a GPU it tries several and may take others.

    Raises:
      UserError: if the name is not KIND:HOSTSxDEVICES, or the compiler for GPUs is not
        installed.
    """
    found = _NAME.fullmatch(name)
    if not found:
        kinds = " or ".join(GPUS)
        raise UserError(f"--topology={name}: pass {kinds}, as in h100:1x8")
    for variable, value in _ALONE.items():
        if value not in os.environ.get(variable, ""):
            os.environ[variable] = f"{os.environ.get(variable, '')} {value}".strip()
    try:
        target = _target(GPUS[found[1]])
        topology = topologies.get_topology_desc(
            "", "cuda", topology=f"{found[2]}x{found[3]}x1", target_config=target
        )
    except Exception as error:
        text = str(error).partition("\n")[0]
        raise UserError(
            f"--topology={name}: {text} (pip install 'jax[cuda13]')"
        ) from error
    return topology.devices


def _target(gpu: Gpu) -> str:
    """XLA's description of a GPU, a GpuTargetConfigProto as text."""
    numbers = _HOPPER_LIMITS | {
        "memory_bandwidth": int(gpu.bandwidth),
        "device_memory_size": gpu.memory,
    }
    fields = "\n".join(f"  {key}: {value}" for key, value in numbers.items())
    capability = "  cuda_compute_capability { major: 9 minor: 0 }"
    described = f'device_description_str: "{gpu.name}"'
    return f"gpu_device_info {{\n{fields}\n{capability}\n}}{_VERSIONS}{described}\n"


def roofline(kernels: Iterable[Kernel], gpu: Gpu) -> float:
    """Predicted seconds of kernels that run one after the other.

    Each takes as long as its bytes or its operations at the GPU's peak, whichever is
    longer, and the time of its start. A prediction, not a measurement: kernels reach
    neither peak, and bytes found in a cache are counted.

    Example:
      >>> one = Kernel("a", "sum", 3_352_000_000, 0.0, "bf16")
      >>> round(roofline([one], GPUS["h100"]), 6)
      0.001002
    """
    return sum(
        max(
            one.bytes / gpu.bandwidth,
            one.operations / gpu.flops.get(one.dtype, gpu.flops["f32"]),
        )
        + gpu.start
        for one in kernels
    )
