"""Descriptions of a training run: the network, the devices, the memory."""

from __future__ import annotations

from typing import Any

import jax

from ..reporting.tables import megabytes
from .model import output_shapes
from .trainer import Trainer


def title(trainer: Trainer) -> str:
    """The network, the data and the devices in one line."""
    data, config = trainer.data, trainer.config
    return (
        f"LipConvNet-{config.depth}, {config.width} channels, {config.head} head; "
        f"{len(data.train)} training images of {data.name}; "
        f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    )


def summary(trainer: Trainer) -> str:
    """Shapes, parameters and memory, without training; compiles the step."""
    state = trainer.abstract_state()
    lines = [title(trainer)]
    for name, shape in output_shapes(trainer.model, state.variables).items():
        count = sum(leaf.size for leaf in jax.tree.leaves(state.params[name]))
        size = "x".join(map(str, shape))
        lines.append(f"  {name:<16}{size:>12}{count:>12,} parameters")
    analysis: Any = trainer.compiled().memory_analysis()
    sizes = {
        "parameters": _bytes(state.params),
        "optimiser": _bytes(state.opt_state),
        "training images": trainer.data.train.images.nbytes,
        "a step's temporaries": analysis.temp_size_in_bytes,
    }
    memory = (f"{name} {megabytes(size)}" for name, size in sizes.items())
    return "\n".join([*lines, "; ".join(memory)])


def peak_bytes(program: jax.stages.Compiled) -> int:
    """Bytes of arguments, results and temporaries on each device.

    Arguments that are donated to results count once.

    Example:
      >>> compiled = jax.jit(lambda x: x + 1).lower(jax.numpy.ones(4)).compile()
      >>> peak_bytes(compiled)
      32
    """
    analysis: Any = program.memory_analysis()
    return (
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        + analysis.temp_size_in_bytes
        - analysis.alias_size_in_bytes
    )


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
