"""Protobuf wire data read by a table of messages, with nothing allocated on a file's word."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Schema = Mapping[str, Mapping[int, tuple[str, str]]]
"""Message kind -> field number -> (name, kind). A field that the table lacks is skipped.

Leaf kinds: `int` (signed 64 bit), `text`, `bytes` (a view), `ints` (repeated, a list), and the
repeated `varints`, `floats`, `doubles`, `blobs`, of which the elements are only counted. Any
other kind names a message of the table, one, or with a trailing `*` repeated."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SCALAR_WIRE = {
    "int": _VARINT,
    "ints": _VARINT,
    "varints": _VARINT,
    "floats": _FIXED32,
    "doubles": _FIXED64,
}
_PACKABLE = frozenset({"ints", "varints", "floats", "doubles"})
_REPEATED = _PACKABLE | {"blobs"}
_UNFINISHED = bytes(range(128, 256))
_MAX_DEPTH = 90  # protobuf itself stops at 100


class WireError(Exception):
    """Why the data is refused: one line that names the field and the value."""


@dataclass(slots=True)
class Message:
    """The known fields of one message. `where` is its path, as `model.graph.node[2]`."""

    where: str
    fields: dict[str, Any] = field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:
        """The field `name`, or `default`."""
        return self.fields.get(name, default)

    def many(self, name: str) -> list["Message"]:
        """The messages of the repeated field `name`."""
        found: list[Message] = self.fields.get(name, [])
        return found


@dataclass(slots=True)
class Reader:
    """Reads messages of `schema`, at most `max_fields` protobuf fields in all."""

    schema: Schema
    max_fields: int
    seen: int = 0

    def read(self, kind: str, data: memoryview, where: str, depth: int = 0) -> Message:
        """Read one message. Raises WireError on malformed data and on too many or deep fields.

        A field that is not repeated may stand once: protobuf would merge two of them.
        """
        if depth > _MAX_DEPTH:
            raise WireError(f"{where.split('.')[0]}: messages nested deeper than {_MAX_DEPTH}")
        table, message = self.schema[kind], Message(where)
        values = message.fields
        for number, wire, value, payload in self.split(data, where):
            if number not in table:
                continue
            name, leaf = table[number]
            path = f"{where}.{name}"
            expected = _SCALAR_WIRE.get(leaf, _BYTES)
            packed = leaf in _PACKABLE and wire == _BYTES
            if wire != expected and not packed:
                raise WireError(f"{path}: malformed, wire type {wire} in place of {expected}")
            if leaf.endswith("*"):
                items = values.setdefault(name, [])
                path = f"{path}[{len(items)}]"
                items.append(self.read(leaf[:-1], payload, path, depth + 1))
            elif leaf == "ints":
                items = values.setdefault(name, [])
                items.extend(self._unpack(payload, path) if packed else [_signed(value)])
            elif leaf in _REPEATED:
                values[name] = values.get(name, 0) + (_count(leaf, payload) if packed else 1)
            elif name in values:
                raise WireError(f"{path}: stands twice")
            elif leaf == "int":
                values[name] = _signed(value)
            elif leaf == "text":
                values[name] = _text(payload, path)
            elif leaf == "bytes":
                values[name] = payload
            else:
                values[name] = self.read(leaf, payload, path, depth + 1)
        return message

    def split(self, data: memoryview, where: str) -> Iterator[tuple[int, int, int, memoryview]]:
        """Yield (field number, wire type, varint, payload) of every field of one message."""
        at, end = 0, len(data)
        while at < end:
            self.seen += 1
            if self.seen > self.max_fields:
                raise WireError(f"{where}: more than {self.max_fields} protobuf fields")
            tag, at = _varint(data, at, where)
            number, wire = tag >> 3, tag & 7
            # Protobuf keeps 32 bits of a tag and would read a larger one as another field.
            if not 0 < number < 2**29:
                raise WireError(f"{where}: malformed, field number {number}")
            value, start = 0, at
            if wire == _VARINT:
                value, at = _varint(data, at, where)
            elif wire == _BYTES:
                size, start = _varint(data, at, where)
                at = start + size
            elif wire in (_FIXED32, _FIXED64):
                at += 4 if wire == _FIXED32 else 8
            else:
                raise WireError(f"{where}: malformed, wire type {wire} of field {number}")
            if at > end:
                raise WireError(f"{where}: truncated, field {number} lacks {at - end} bytes")
            yield number, wire, value, data[start:at]

    def _unpack(self, payload: memoryview, where: str) -> Iterator[int]:
        at = 0
        while at < len(payload):
            self.seen += 1
            if self.seen > self.max_fields:
                raise WireError(f"{where}: more than {self.max_fields} protobuf fields")
            value, at = _varint(payload, at, where)
            yield _signed(value)


def _varint(data: memoryview, at: int, where: str) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        if at >= len(data):
            raise WireError(f"{where}: truncated in a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
    raise WireError(f"{where}: malformed, a number of more than 10 bytes")


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _count(leaf: str, payload: memoryview) -> int:
    """Elements of a packed field."""
    if leaf == "varints":
        return len(payload.tobytes().translate(None, _UNFINISHED))
    return len(payload) // (4 if leaf == "floats" else 8)


def _text(payload: memoryview, where: str) -> str:
    try:
        return str(payload, "utf-8")
    except UnicodeDecodeError:
        raise WireError(f"{where}: not UTF-8") from None
