"""Training steps compiled for devices that need not be present."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from jax.sharding import Mesh

from ..benchmark import multiply_adds
from ..configs import Config
from ..data import Dataset
from ..parallel.mesh import DATA, MODEL
from ..training.description import peak_bytes
from ..training.trainer import Trainer
from .gpus import GPUS, roofline
from .hlo_collectives import Collective, Sum, collectives, summed
from .hlo_kernels import KernelSum, by_kind, step_kernels
from .tpus import TPU_VECTOR_MEMORY


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """Memory and messages of a training step, read from its compiled program.

    Attributes:
      where: kind of device that the program is for.
      data, model: sides of the mesh.
      batch: images a step, on all devices.
      arguments, temporaries: bytes on each device; results overwrite the arguments.
      peak: bytes of arguments, results and temporaries on each device.
      collectives: what devices send each other.
      traffic: bytes that each device sends in a step, if groups are rings.
      rounds: successive messages of these rings.
      operations: floating-point operations of a device, those of the definition.
      compile_seconds: on this machine.
      kernels: those of a step by kind, if the program is for GPUs or TPUs. Bytes in a
        TPU's vector memory do not count.
      roofline: predicted seconds of a GPU's kernels, see `gpus.roofline`.
    """

    where: str
    data: int
    model: int
    batch: int
    arguments: int
    temporaries: int
    peak: int
    collectives: list[Sum]
    traffic: float
    rounds: int
    operations: float
    compile_seconds: float
    kernels: list[KernelSum] = dataclasses.field(default_factory=list)
    roofline: float = 0.0

    @property
    def kernel_count(self) -> int:
        """Kernels a step."""
        return sum(one.number for one in self.kernels)

    @property
    def kernel_bytes(self) -> int:
        """Bytes that the kernels of a step read and write."""
        return sum(one.bytes for one in self.kernels)


def compile_step(
    config: Config, data: Dataset, mesh: Mesh, accumulate: int = 1
) -> CompiledStep:
    """Compiles the training step for a mesh, whose devices need not be present."""
    trainer = Trainer(config, data, mesh=mesh, accumulate=accumulate)
    begin = time.perf_counter()
    program = trainer.compiled()
    seconds = time.perf_counter() - begin
    memory: Any = program.memory_analysis()
    text = program.as_text() or ""
    found = collectives(text)
    where = mesh.devices.flat[0].device_kind
    gpu = next((gpu for gpu in GPUS.values() if gpu.name == where), None)
    is_tpu = mesh.devices.flat[0].platform == "tpu"
    near = TPU_VECTOR_MEMORY if is_tpu else None
    kernels = step_kernels(text, near) if gpu or is_tpu else []
    needed = multiply_adds.of_step(trainer.model, trainer.abstract_state().params)
    return CompiledStep(
        where,
        mesh.shape[DATA],
        mesh.shape[MODEL],
        config.batch_size,
        memory.argument_size_in_bytes,
        memory.temp_size_in_bytes,
        peak_bytes(program),
        summed(found),
        sum(one.traffic for one in found),
        sum(map(_rounds, found)),
        2 * needed * config.batch_size / mesh.size,
        seconds,
        by_kind(kernels),
        roofline(kernels, gpu) if gpu else 0.0,
    )


def _rounds(one: Collective) -> int:
    """Successive messages, if the group is a ring."""
    if one.kind.startswith("collective"):
        return 1
    return (one.group_size - 1) * (2 if one.kind == "all-reduce" else 1)
