"""Nodes that a parser or a builder refuses, in words that say what to do about each."""

import re
from dataclasses import dataclass

import onnx

from lossexport.errors import one_line
from lossexport.names import BUILDER_TITLES, Builder

_NMS = "export the detector without its NMS, and attach `batched_nms` in its place"
_COUNTED = (
    "how many elements it gives depends on values: export the detector without it, for example "
    "without its post-processing"
)
_SCATTER = "export the detector without a reduction in it"
_BY_OPERATOR = {
    "NonMaxSuppression": _NMS,
    "EfficientNMS_TRT": _NMS,
    "BatchedNMS_TRT": _NMS,
    "BatchedNMSDynamic_TRT": _NMS,
    "NonZero": _COUNTED,
    "Unique": _COUNTED,
    "Compress": _COUNTED,
    "ScatterElements": _SCATTER,
    "ScatterND": _SCATTER,
}
_BY_REASON = (
    ("reduction type", "a scatter " + _SCATTER.removeprefix("export the detector ")),
    ("Plugin not found", "export the detector with standard operators"),
    ("UInt8", "export the detector with inputs of float32"),
    ("data type", "export the detector with tensors of float32, float16 or int64"),
    ("K (", "--set max_output or max_candidates makes it smaller"),
    ("in profile", "--shape gives the sizes of the inputs"),
)
_OTHERWISE = "another --opset may write it with other operators"


@dataclass(frozen=True, slots=True)
class Refused:
    """A node that the parser refuses.

    `place` is its position in the graph, or in the function whose calls, the outermost first, are
    `inside`. Name and operator may be empty, and `place` may be -1, where the parser gives none.
    """

    name: str
    place: int
    operator: str
    reason: str
    inside: tuple[str, ...] = ()

    def line(self, model: bytes, builder: Builder) -> str:
        """What is refused, why, and what to do about it."""
        reason = one_line(self.reason)
        mend = _BY_OPERATOR.get(self.operator) or _mend_by(reason)
        return f"{BUILDER_TITLES[builder]} refuses {self._shown(model)}: {reason}; {mend}"

    def _shown(self, model: bytes) -> str:
        if self.inside:
            called = re.fullmatch(r"(.*) \((.*)\)", self.inside[0])
            name, function = called.groups() if called else (self.inside[0], "")
            within = f"node {name!r} ({function})" if function else f"node {name!r}"
            return f"{self.operator or 'an operator'} in {within}"
        if not self.operator:
            return "the graph"
        if self.name:
            return f"node {self.name!r} ({self.operator})"
        nodes = onnx.load_from_string(model).graph.node  # it is named by its outputs
        if 0 <= self.place < len(nodes) and nodes[self.place].op_type == self.operator:
            return f"the node of {nodes[self.place].output[0]!r} ({self.operator})"
        return f"a node ({self.operator})"


def _mend_by(reason: str) -> str:
    return next((mend for words, mend in _BY_REASON if words in reason), _OTHERWISE)


def of_builder(model: bytes, reason: str) -> str:
    """The words of a builder, and the node in them, if it names one, with what to do about it."""
    named = {node.name: node for node in onnx.load_from_string(model).graph.node if node.name}
    found = max((name for name in named if name in reason), key=len, default=None)
    if found is None:
        return reason
    operator = named[found].op_type
    mend = _BY_OPERATOR.get(operator) or _mend_by(reason)
    return f"{reason}; node {found!r} ({operator}): {mend}"
