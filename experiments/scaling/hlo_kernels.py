"""The kernels of a step, read from the text of a program for a GPU or TPU."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from .hlo_collectives import KINDS as COLLECTIVES
from .hlo_text import OPERAND, Array, Computation, Instruction, computations_of

_CALLED = re.compile(r"(?:calls|to_apply|body)=%?([\w.-]+)")
_BRANCHES = re.compile(r"(?:true|false)_computation=%?([\w.-]+)")
_LISTED = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_LABELS = re.compile(r"dim_labels=\w+_(\w+)->")
_TARGET = re.compile(r'custom_call_target="([^"]*)"')
_CONTRACTED = re.compile(
    r'lhs_contracting_dim(?:s=\{|ensions":\["?)([\d", ]*)'  # of a dot; of cuBLAS
)
_NOTHING = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast"),
    *("partition-id", "replica-id", "after-all", "opt-barrier", "domain"),
}
_FETCHES = ("copy-start", "slice-start")
_SLICES = {"dynamic-slice", "slice", "gather"}
_KINDS = (  # by a word in the name of a fusion, in this order
    ("transposition", ("transpose", "copy")),
    ("concatenation", ("concatenate", "pad")),
    ("reduction", ("reduce",)),
    ("gather or update", ("gather", "scatter", "slice", "sort")),
    ("random numbers", ("xor", "rng", "shift")),
    ("sum", ("add", "subtract")),
)


class Kernel(NamedTuple):
    """A kernel of a program.

    Attributes:
      name: XLA's.
      kind: what it does, in a word or two.
      bytes: of its arguments and results. Of an argument that it only slices, the
        slices; of a result that it updates in place, the update. Caches are not
        counted.
      operations: floating-point operations of its products; 0 for others.
      dtype: XLA's name for that of a product's factors, or of the largest result.
    """

    name: str
    kind: str
    bytes: int
    operations: float
    dtype: str


@dataclasses.dataclass(frozen=True)
class KernelSum:
    """The number, bytes and operations of all kernels of one kind."""

    kind: str
    number: int
    bytes: int
    operations: float


def step_kernels(hlo: str, near: int | None = None) -> list[Kernel]:
    """The kernels of one step of a compiled training program, in their order.

    The step is the body of the loop with the most instructions, or the whole program
    if it has no loop. A loop in the step counts as often as it runs, once where the
    compiler does not know it. Of a branch's sides the one with the fewer kernels
    counts: the other is taken once an epoch.

    Args:
      hlo: text of a program compiled for a GPU or TPU, `jax.stages.Compiled.as_text`.
      near: the number of a memory beside the processor, whose bytes do not count.

    Example:
      >>> text = '''ENTRY %main (a: f32[8]) -> f32[8] {
      ...   %a = f32[8]{0} parameter(0)
      ...   ROOT %add_fusion = f32[8]{0} fusion(%a), kind=kLoop, calls=%f
      ... }'''
      >>> step_kernels(text)
      [Kernel(name='add_fusion', kind='sum', bytes=64, operations=0.0, dtype='f32')]
    """
    computations, entry = computations_of(hlo)
    loops = [
        found[1]
        for one in computations[entry].values()
        if one.opcode == "while" and (found := _CALLED.search(one.rest))
    ]
    step = max(loops, key=lambda name: len(computations[name]), default=entry)
    return _kernels(computations, step, near)


def by_kind(kernels: Iterable[Kernel]) -> list[KernelSum]:
    """Sums the kernels by kind, the most bytes first.

    Example:
      >>> one = Kernel("a", "sum", 8, 0.0, "f32")
      >>> by_kind([one, one._replace(bytes=4)])
      [KernelSum(kind='sum', number=2, bytes=12, operations=0.0)]
    """
    sums: dict[str, list[KernelSum]] = {}
    for one in kernels:
        alone = KernelSum(one.kind, 1, one.bytes, one.operations)
        sums.setdefault(one.kind, []).append(alone)
    every = [total(kind, ones) for kind, ones in sums.items()]
    return sorted(every, key=lambda one: -one.bytes)


def total(kind: str, sums: Sequence[KernelSum]) -> KernelSum:
    """The sum of sums."""
    return KernelSum(
        kind,
        sum(one.number for one in sums),
        sum(one.bytes for one in sums),
        sum(one.operations for one in sums),
    )


def _kernels(
    computations: Mapping[str, Computation], name: str, near: int | None
) -> list[Kernel]:
    """The kernels that a computation starts."""
    body, found = computations[name], []
    for one in body.values():
        if one.opcode in _NOTHING or one.opcode.endswith(("-done", "-update")):
            continue
        if one.opcode == "conditional":
            sides = [_kernels(computations, side, near) for side in _sides(one)]
            found += min(sides, key=len)
        elif one.opcode in ("while", "call", "async-start"):
            (inner,) = _CALLED.findall(one.rest)[-1:]
            trips = _TRIPS.search(one.rest)
            trips = int(trips[1] if trips else 1)
            found += _kernels(computations, inner, near) * trips
        else:
            found.append(_kernel(computations, body, one, near))
    return found


def _sides(one: Instruction) -> list[str]:
    if listed := _LISTED.search(one.rest):
        return OPERAND.findall(listed[1])
    return _BRANCHES.findall(one.rest)


def _kernel(
    computations: Mapping[str, Computation],
    body: Computation,
    one: Instruction,
    near: int | None,
) -> Kernel:
    called = _CALLED.search(one.rest) if one.opcode == "fusion" else None
    inner = computations.get(called[1], {}) if called else {}
    operands = [body[name] for name in one.operands if name in body]
    dots = [each for each in inner.values() if each.opcode == "dot"]
    convolutions = [each for each in inner.values() if each.opcode == "convolution"]
    kind = "convolution" if convolutions else _kind(one, bool(dots))
    operations = sum((_dot(inner, each) for each in dots), 0.0)
    factor = inner[dots[0].operands[0]] if dots else one
    if one.opcode == "dot":
        operations, factor = _dot(body, one), operands[0]
    elif one.opcode == "custom-call":
        operations = _product(one, operands, kind)
        factor = operands[0] if operations else one
    largest = max(factor.arrays, key=lambda array: array.bytes, default=Array("", ()))
    return Kernel(
        one.name, kind, _moved(inner, one, operands, near), operations, largest.dtype
    )


def _kind(one: Instruction, product: bool) -> str:
    if one.opcode in _FETCHES:
        return "fetch"
    opcode = one.opcode.removesuffix("-start")
    target = _TARGET.search(one.rest)
    if target and "$conv" in target[1]:
        filters = "BackwardFilter" in target[1]
        return "gradient of a kernel" if filters else "convolution"
    if product or opcode == "dot" or (target and "gemm" in target[1] + one.name):
        return "product"
    if opcode in COLLECTIVES:
        return opcode
    words = (
        one.name if opcode == "fusion" else f"{opcode} {target[1] if target else ''}"
    )
    for kind, marks in _KINDS:
        if any(mark in words for mark in marks):
            return kind
    return "elementwise" if opcode == "fusion" else opcode


def _moved(
    inner: Computation,
    one: Instruction,
    operands: Sequence[Instruction],
    near: int | None,
) -> int:
    """Bytes that a kernel reads and writes, without those in the memory `near`."""
    if one.opcode in _FETCHES:  # to that memory, or from it
        return min(array.bytes for array in one.arrays[:2])
    parameters = [each for each in inner.values() if each.opcode == "parameter"]
    users: dict[str, list[Instruction]] = {each.name: [] for each in parameters}
    for each in inner.values():
        for name in {*each.operands} & users.keys():
            users[name].append(each)
    updated, written = set(), one.bytes(near)
    for each in inner.values():
        if each.opcode == "dynamic-update-slice":
            written -= each.bytes() - inner[each.operands[1]].bytes()
            updated.add(each.operands[0])
    numbers = {int(each.rest.partition(")")[0]): each.name for each in parameters}
    read = 0
    for number, operand in enumerate(operands):
        name = numbers.get(number, "")
        using = users.get(name, [])
        if name in updated and len(using) == 1:
            continue
        if using and all(
            each.opcode in _SLICES and each.operands[0] == name for each in using
        ):
            read += min(operand.bytes(near), sum(each.bytes() for each in using))
        else:
            read += operand.bytes(near)
    return read + written


def _dot(body: Computation, one: Instruction) -> float:
    """Operations of a product."""
    sides = body[one.operands[0]].arrays[0].sides
    found = _CONTRACTED.search(one.rest)
    axes = [int(axis) for axis in re.findall(r"\d+", found[1])] if found else []
    result = max(array.elements for array in one.arrays)
    return 2.0 * result * math.prod(sides[axis] for axis in axes)


def _product(one: Instruction, operands: Sequence[Instruction], kind: str) -> float:
    """Operations of a call of cuDNN or cuBLAS; 0 for other calls."""
    if kind == "product":
        return _dot({each.name: each for each in operands}, one)
    labels = _LABELS.search(one.rest)
    if kind not in ("convolution", "gradient of a kernel") or not labels:
        return 0.0
    left, right, result = operands[0].arrays[0], operands[1].arrays[0], one.arrays[0]
    backwards = '"__cudnn$convBackwardInput"' in one.rest
    kernel, outputs = right, left if backwards else result
    if kind == "gradient of a kernel":
        kernel, outputs = result, right
    channels = kernel.sides[labels[1].index("o")]
    return 2.0 * outputs.elements * kernel.elements / channels
