"""Builds an ONNX model, operator by operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import onnx

Value = Any
"""A value of a graph by its name, or an array, which becomes one of its constants."""

_OPERATORS = 17
"""Version of the operators: runtimes since 2022 know it."""

_FORMAT = 8
"""Version of the file that goes with these operators."""


class Described(NamedTuple):
    """An input or output of a model: its shape for one image, what it is, its type."""

    shape: tuple[int, ...]
    text: str
    kind: type = np.float32


class Graph:
    """The operators and constants of a model, in the order of their use.

    `graph(kind, *inputs, **attributes)` adds an operator and names its output. Inputs
    are names or arrays, floats in float32; an array that comes again is stored once.
    """

    def __init__(self) -> None:
        from onnx import helper, numpy_helper

        self._helper, self._to_tensor = helper, numpy_helper.from_array
        self._nodes: list[Any] = []
        self._tensors: list[Any] = []
        self._known: dict[
            int, tuple[Any, str]
        ] = {}  # keeps the arrays: ids stay theirs

    def __call__(self, kind: str, *inputs: Value, **attributes: Any) -> str:
        return self._named(f"{kind}_{len(self._nodes)}", kind, *inputs, **attributes)

    def _named(self, name: str, kind: str, *inputs: Value, **attributes: Any) -> str:
        names = [v if isinstance(v, str) else self._constant(v) for v in inputs]
        node = self._helper.make_node(kind, names, [name], name=name, **attributes)
        self._nodes.append(node)
        return name

    def _constant(self, value: Any) -> str:
        if id(value) not in self._known:
            name = f"constant_{len(self._known)}"
            kind = np.float32 if np.asarray(value).dtype.kind == "f" else np.int64
            self._tensors.append(self._to_tensor(np.asarray(value, kind, "C"), name))
            self._known[id(value)] = value, name
        return self._known[id(value)][1]

    def model(
        self,
        inputs: Mapping[str, Described],
        outputs: Mapping[str, Value],
        described: Mapping[str, Described],
    ) -> onnx.ModelProto:
        """The model, for any number n of images.

        Args:
          inputs: by name.
          outputs: values by name.
          described: the outputs, likewise.
        """
        import onnx

        for name, value in outputs.items():
            self._named(name, "Identity", value)
        graph = self._helper.make_graph(
            self._nodes,
            "network",
            [self._info(name, one) for name, one in inputs.items()],
            [self._info(name, described[name]) for name in outputs],
            self._tensors,
        )
        model = self._helper.make_model(
            graph,
            producer_name="lipjax",
            ir_version=_FORMAT,
            opset_imports=[self._helper.make_opsetid("", _OPERATORS)],
        )
        onnx.checker.check_model(model)
        return model

    def _info(self, name: str, one: Described) -> Any:
        kind = self._helper.np_dtype_to_tensor_dtype(np.dtype(one.kind))
        shape = ("n", *one.shape)
        return self._helper.make_tensor_value_info(name, kind, shape, one.text)
