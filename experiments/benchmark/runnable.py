"""An implementation of a job, ready to run."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Runnable(NamedTuple):
    """An implementation of a job, ready to run.

    A unit is a training step, an evaluated split, a certified batch or a convolution.

    Attributes:
      run: does the given number of units and waits for the result.
      images: images a unit.
      multiply_adds: needed for a unit by the definition; None: not counted.
      compile_seconds: already spent on compilation.
      memory: peak bytes of a unit, called after a unit has run; None: not measured.
      once_seconds: seconds of the work done once for a model, if there is any.
    """

    run: Callable[[int], None]
    images: int
    multiply_adds: float | None = None
    compile_seconds: float = 0.0
    memory: Callable[[], int | None] = lambda: None
    once_seconds: float | None = None
