"""The activations and poolings of `lipjax.ops` as operators of ONNX.

Each takes the graph, the halves a and b of the channels, and angles in float64 that
broadcast against them; it returns the name of its output, channels second.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lipjax.inference.onnx_graph import Graph, Value

_Pair = tuple[Value, Value]


def _maxmin(graph: Graph, a: Value, b: Value) -> Value:
    return _joined(graph, (graph("Max", a, b), graph("Min", a, b)))


def _max(graph: Graph, a: Value, b: Value) -> Value:
    return graph("Max", a, b)


def _householder(graph: Graph, a: Value, b: Value, theta: np.ndarray) -> Value:
    side = _sum(graph, a, np.sin(theta / 2), b, -np.cos(theta / 2))
    far = graph("Greater", side, np.float32(0))
    return _joined(graph, _where(graph, far, _reflected(graph, a, b, theta), (a, b)))


def _householder2(
    graph: Graph,
    a: Value,
    b: Value,
    theta0: np.ndarray,
    theta1: np.ndarray,
    theta2: np.ndarray,
) -> Value:
    theta0, theta1, theta2 = (
        np.clip(t, 0, 2 * np.pi) for t in (theta0, theta1, theta2)
    )
    phi = graph("Sub", _angle(graph, a, b), theta0 / 2)
    turned = graph("Add", phi, np.float32(2 * np.pi))
    phi = graph("Where", graph("Less", phi, np.float32(0)), turned, phi)
    cos, sin = np.cos(theta2), np.sin(theta2)
    found = _reflected(graph, a, b, theta0)
    for end, image in (
        (
            np.pi + theta2 / 2,
            (_sum(graph, a, cos, b, sin), _sum(graph, b, cos, a, -sin)),
        ),
        ((theta1 + theta2) / 2, _reflected(graph, a, b, theta0 + theta1)),
        (theta1 / 2, (a, b)),
    ):
        found = _where(graph, graph("Less", phi, end), image, found)
    return _joined(graph, found)


def _projection(graph: Graph, a: Value, b: Value, theta: np.ndarray) -> Value:
    half = np.clip(theta, 0, np.pi) / 2
    sin, cos = np.sin(half), np.cos(half)
    b = graph("Abs", b)
    inner = _sum(graph, a, cos, b, sin)
    beyond = graph("Less", inner, np.float32(0))
    squares = graph("Add", graph("Mul", a, a), graph("Mul", b, b))
    return graph("Where", beyond, graph("Sqrt", squares), _sum(graph, b, cos, a, -sin))


ACTIVATIONS: dict[str, Callable[..., Value]] = {
    "maxmin": _maxmin,
    "householder": _householder,
    "householder2": _householder2,
    "max": _max,
    "projection": _projection,
}
"""By the kinds of `lipjax.certify.Activation`."""


def _angle(graph: Graph, a: Value, b: Value) -> Value:
    """The angle of (a, b) in (-pi, pi], which ONNX does not have; NaN at (0, 0)."""
    zero = np.float32(0)
    above = graph(
        "Where", graph("Less", b, zero), np.float32(-np.pi), np.float32(np.pi)
    )
    turn = graph("Where", graph("Less", a, zero), above, zero)
    a = graph("Where", graph("Equal", a, zero), zero, a)  # -0 would turn b / a around
    return graph("Add", graph("Atan", graph("Div", b, a)), turn)


def _reflected(graph: Graph, a: Value, b: Value, theta: np.ndarray) -> _Pair:
    cos, sin = np.cos(theta), np.sin(theta)
    return _sum(graph, a, cos, b, sin), _sum(graph, a, sin, b, -cos)


def _sum(graph: Graph, a: Value, x: np.ndarray, b: Value, y: np.ndarray) -> Value:
    return graph("Add", graph("Mul", a, x), graph("Mul", b, y))


def _where(graph: Graph, condition: Value, first: _Pair, second: _Pair) -> _Pair:
    a, b = (graph("Where", condition, x, y) for x, y in zip(first, second, strict=True))
    return a, b


def _joined(graph: Graph, pair: _Pair) -> Value:
    return graph("Concat", *pair, axis=1)
