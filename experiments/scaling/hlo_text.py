"""The text of a compiled program: computations, instructions and arrays."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

ARRAY = re.compile(
    r"\b(pred|[a-z]+\d+[a-z0-9]*)\[([\d,]*)\](?:\{[^}]*?S\((\d+)\)[^}]*\})?"
)
OPERAND = re.compile(r"%([\w.-]+)")
_BITS = re.compile(r"[a-z]+(\d+)")
_COMMENT = re.compile(r"/\*.*?\*/")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(
    r"^\s+(?:ROOT )?%?(?P<name>[\w.-]+) = (?P<result>\(.*?\)|\S+) "
    r"(?P<opcode>[a-z][\w-]*)\((?P<rest>.*)$"
)


class Array(NamedTuple):
    """The shape of an array.

    Attributes:
      dtype: XLA's name for it.
      sides: of the array.
      space: the number of the memory that it is in.
    """

    dtype: str
    sides: tuple[int, ...]
    space: int = 0

    @property
    def elements(self) -> int:
        """The number of its elements."""
        return math.prod(self.sides)

    @property
    def bytes(self) -> int:
        """Its bytes."""
        bits = _BITS.match(self.dtype)
        width = int(bits[1]) if bits else 8
        return -(-self.elements * width // 8)


def arrays_in(text: str) -> tuple[Array, ...]:
    """The arrays that a text names.

    Example:
      >>> [array.bytes for array in arrays_in("(bf16[8,2], pred[3], s4[])")]
      [32, 3, 1]
    """
    return tuple(
        Array(dtype, tuple(int(n) for n in sides.split(",") if n), int(space or 0))
        for dtype, sides, space in ARRAY.findall(text)
    )


class Instruction(NamedTuple):
    """An instruction.

    Attributes:
      name: of its result.
      opcode: what it does.
      arrays: its result; several if that is a tuple.
      operands: the names of its arguments.
      rest: the text after the opcode and its bracket.
    """

    name: str
    opcode: str
    arrays: tuple[Array, ...]
    operands: tuple[str, ...]
    rest: str

    def bytes(self, near: int | None = None) -> int:
        """Bytes of its result, without those in the memory `near`."""
        return sum(array.bytes for array in self.arrays if array.space != near)


Computation = Mapping[str, Instruction]
"""Instructions by name, in their order."""


def computations_of(hlo: str) -> tuple[dict[str, Computation], str]:
    """The computations of a program by name, and the name of the one it starts with.

    Args:
      hlo: text of a compiled program, from `jax.stages.Compiled.as_text`.
    """
    computations: dict[str, Computation] = {}
    current: dict[str, Instruction] = {}
    entry = ""
    for line in hlo.splitlines():
        if head := _COMPUTATION.match(line):
            computations[head[2]] = current = {}
            entry = head[2] if head[1] else entry
        elif found := _INSTRUCTION.match(_COMMENT.sub("", line)):
            current[found["name"]] = Instruction(
                found["name"],
                found["opcode"],
                arrays_in(found["result"]),
                tuple(OPERAND.findall(found["rest"].partition("), ")[0])),
                found["rest"],
            )
    return computations, entry
