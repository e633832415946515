"""Infinities on purpose: float32 results that are only read where their limit is right.

`1 / (1 + exp(-x))` is a sigmoid also where the exponential is infinite, and the arc tangent of an
infinite quotient is a right angle. Nothing of the kind is excused in a 16-bit type.
"""

from collections.abc import Callable, Sequence

import onnx

from lossexport.ranges.expression import Value

_BOUNDED = frozenset(("Atan", "Tanh", "Sigmoid", "Reciprocal", "Equal", "Less", "LessOrEqual",
                      "Greater", "GreaterOrEqual"))  # fmt: skip
_MOVING = frozenset(("Identity", "Neg", "Unsqueeze", "Squeeze", "Reshape", "Transpose", "Expand"))
_DEPTH = 8


class Levels:
    """What reads the results of a graph."""

    def __init__(self, graph: onnx.GraphProto, value: Callable[[str], Value]) -> None:
        self._value = value
        self._outputs = {info.name for info in graph.output}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                self._readers.setdefault(name, []).append(node)

    def out(self, name: str, depth: int = _DEPTH) -> bool:
        """Whether an infinity of the result `name` ends in a number that is its limit."""
        readers = self._readers.get(name, [])
        if depth == 0 or not readers or name in self._outputs:
            return False
        return all(self._reads(node, name, depth - 1) for node in readers)

    def _reads(self, node: onnx.NodeProto, name: str, depth: int) -> bool:
        others = [other for other in node.input if other != name]
        if node.op_type in _BOUNDED:
            return True
        if node.op_type == "Div" and list(node.input).index(name) == 1:
            return len(others) == 1 and self._finite(others)
        if node.op_type == "Add" and len(others) == 1:
            return self._finite(others) and self.out(node.output[0], depth)
        if node.op_type == "Where" and node.input[0] != name:
            return self.out(node.output[0], depth)
        return node.op_type in _MOVING and self.out(node.output[0], depth)

    def _finite(self, names: Sequence[str]) -> bool:
        return all(not self._value(name).every.odd for name in names)
