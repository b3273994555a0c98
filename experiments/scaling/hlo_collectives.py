"""The collective operations in the text of a compiled program."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from .hlo_text import arrays_in

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)
_OPERATION = re.compile(
    rf"^\s*(?:ROOT )?%?[\w.-]+ = (?P<result>.*?) (?P<kind>{'|'.join(KINDS)})"
    r"(?P<start>-start)?\((?P<rest>.*)$"
)
_LAYOUT = re.compile(r"\{[^{}]*\}|/\*.*?\*/")
_LISTED = re.compile(r"replica_groups=\{(?:\{([\d,]*)\})?")
_COUNTED = re.compile(r"replica_groups=\[\d+,(\d+)\]")
_MESH = re.compile(r"replica_groups=@?mesh\[(.*?)\][^{]*\{(.*?)\}")
_AXIS = re.compile(r"'(\w+)'(?:=(\d+)|:\(\d+\)(\d+))?")
_DEVICES = re.compile(r"(?:num_partitions|replica_count)=(\d+)")


class Collective(NamedTuple):
    """A collective operation.

    Attributes:
      kind: XLA's name, one of `KINDS`.
      bytes: size of the result on each device.
      group_size: devices that take part; 2 for a permutation.
    """

    kind: str
    bytes: int
    group_size: int

    @property
    def traffic(self) -> float:
        """Bytes that each device sends, if the group is a ring.

        Example:
          >>> Collective("all-reduce", 1000, 4).traffic
          1500.0
        """
        others = self.group_size - 1
        if self.kind == "all-reduce":
            return 2 * others / self.group_size * self.bytes
        if self.kind == "reduce-scatter":
            return float(others * self.bytes)
        if self.kind.startswith("collective"):
            return float(self.bytes)
        return others / self.group_size * self.bytes


def collectives(hlo: str) -> list[Collective]:
    """The collective operations of a program, in the order of its text.

    An operation in a loop counts once, however often the loop runs. An asynchronous
    operation counts where it starts. Groups of one device are left out.

    Args:
      hlo: text of a compiled program, from `jax.stages.Compiled.as_text`.

    Example:
      >>> line = "%a = f32[8,2]{1,0} all-gather(%b), replica_groups=[2,4]<=[8]"
      >>> collectives(line)
      [Collective(kind='all-gather', bytes=64, group_size=4)]
    """
    found = []
    devices = math.prod(int(n) for n in _DEVICES.findall(hlo.partition("\n")[0]))
    for line in filter(None, map(_OPERATION.match, hlo.splitlines())):
        kind, result = line["kind"], _LAYOUT.sub("", line["result"])
        sizes = [array.bytes for array in arrays_in(result)]
        if line["start"]:
            sizes = _received(kind, sizes)
        group = 2 if kind == "collective-permute" else _group(line["rest"]) or devices
        if group > 1:
            found.append(Collective(kind, sum(sizes), group))
    return found


def _received(kind: str, sizes: list[int]) -> list[int]:
    """The results among the arrays of an asynchronous operation.

    All but an all-reduce carry their arguments before their results, and a permutation
    also two counters after them.
    """
    if kind == "all-reduce" or len(sizes) == 1:
        return sizes
    if kind == "collective-permute":
        return sizes[1:2]
    return sizes[len(sizes) // 2 :]


def _group(rest: str) -> int:
    """The number of devices in a group; 0: all devices."""
    if found := _LISTED.search(rest):
        return len(found[1].split(",")) if found[1] else 0
    if found := _COUNTED.search(rest):
        return int(found[1])
    if found := _MESH.search(rest):
        sizes = {name: int(size) for name, size, _ in _AXIS.findall(found[1])}
        axes = _AXIS.findall(found[2])
        return math.prod(int(part or sizes[name]) for name, _, part in axes)
    return 0


@dataclasses.dataclass(frozen=True)
class Sum:
    """The number and the total bytes of all operations of one kind and group size."""

    kind: str
    group_size: int
    number: int
    bytes: int


def summed(found: Iterable[Collective]) -> list[Sum]:
    """Sums the operations by kind and group size, the most bytes first.

    Example:
      >>> summed([Collective("all-reduce", 8, 2), Collective("all-reduce", 4, 2)])
      [Sum(kind='all-reduce', group_size=2, number=2, bytes=12)]
    """
    sums: dict[tuple[str, int], list[int]] = {}
    for one in found:
        sums.setdefault((one.kind, one.group_size), []).append(one.bytes)
    every = [Sum(*key, len(sizes), sum(sizes)) for key, sizes in sums.items()]
    return sorted(every, key=lambda one: -one.bytes)
