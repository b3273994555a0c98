"""Memory of compiled programs."""

from __future__ import annotations

from typing import Any

import jax


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
