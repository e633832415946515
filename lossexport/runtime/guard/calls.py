"""The calls of our functions in an ONNX file, and whether they still are as they were written."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from lossexport.runtime.guard.reading import Limits
from lossexport.runtime.guard.schema import SCHEMA
from lossexport.runtime.wire import Reader

DOMAIN = "lossexport"
CALLS = "lossexport.calls"
"""The metadata with the digest of the calls in a file that has more than one op in it."""

# Field numbers of the messages in SCHEMA.
_MODEL_GRAPH, _MODEL_FUNCTION = 7, 25
_GRAPH_NODE, _FUNCTION_NODE, _FUNCTION_DOMAIN = 1, 7, 10
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 2, 4, 5, 7
_ATTRIBUTE_NAME, _ATTRIBUTE_GRAPHS = 1, (6, 11)


@dataclass(slots=True)
class Call:
    """A node of DOMAIN: its type and the names of its attributes."""

    op: str
    attributes: set[str] = field(default_factory=set)


def calls(data: bytes) -> tuple[list[Call], str]:
    """Every node of DOMAIN in the model `data`, and a digest of them and of their functions.

    The digest depends on the types, attributes and numbers of tensors of the nodes and on all that
    is in the functions, but not on the rest of the model or on any order. Raises WireError on
    malformed data.
    """
    walk = _Walk(Reader(SCHEMA, Limits().fields))
    for number, payload in walk.fields(memoryview(data)):
        if number == _MODEL_GRAPH:
            walk.nodes(payload, _GRAPH_NODE)
        elif number == _MODEL_FUNCTION:
            walk.function(payload)
    return walk.found, hashlib.sha256(b"".join(sorted(walk.digests))).hexdigest()


@dataclass(slots=True)
class _Walk:
    reader: Reader
    found: list[Call] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)

    def fields(self, data: memoryview) -> Iterator[tuple[int, memoryview]]:
        for number, _, _, payload in self.reader.split(data, "model"):
            yield number, payload

    def function(self, data: memoryview) -> None:
        self.nodes(data, _FUNCTION_NODE)
        if any(
            n == _FUNCTION_DOMAIN and value == DOMAIN.encode() for n, value in self.fields(data)
        ):
            self.digests.append(hashlib.sha256(data).digest())

    def nodes(self, data: memoryview, kind: int) -> None:
        for number, payload in self.fields(data):
            if number == kind:
                self.node(payload)

    def node(self, data: memoryview) -> None:
        call, domain, digest, tensors = Call(""), b"", hashlib.sha256(), [0, 0]
        for number, payload in self.fields(data):
            if number == _NODE_OP:
                call.op = bytes(payload).decode(errors="replace")
            elif number == _NODE_DOMAIN:
                domain = bytes(payload)
            elif number == _NODE_ATTRIBUTE:
                digest.update(hashlib.sha256(payload).digest())
                self.attribute(payload, call)
            elif number in (_NODE_INPUT, _NODE_OUTPUT):
                tensors[number - _NODE_INPUT] += 1
        if domain == DOMAIN.encode():
            digest.update(f"{call.op} {tensors}".encode())
            self.found.append(call)
            self.digests.append(digest.digest())

    def attribute(self, data: memoryview, call: Call) -> None:
        for number, payload in self.fields(data):
            if number == _ATTRIBUTE_NAME:
                call.attributes.add(bytes(payload).decode(errors="replace"))
            elif number in _ATTRIBUTE_GRAPHS:
                self.nodes(payload, _GRAPH_NODE)
