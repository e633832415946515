"""Reads protobuf wire data by a table of messages; no size that a file states is trusted.

Data that another parser could read differently is refused: a field that is given twice but not
repeated, a tag or a wire type that the other parser may drop or merge. No serialiser writes such
data.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Schema = Mapping[str, Mapping[int, tuple[str, str]]]
"""Message kind -> field number -> (name, kind). A field that the table lacks is skipped.

Leaf kinds: `int` (signed 64 bit), `text`, `bytes` (a view), `ints` and `names` (repeated, lists),
and the repeated `numbers`, `varints`, `floats`, `doubles`, `blobs`, whose elements are only counted
(those of `numbers` as fields of the file, as protobuf takes 8 bytes for each of one byte). Any
other kind is the name of a message of the table; a trailing `*` means that it is repeated."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SCALAR_WIRE = {
    "int": _VARINT,
    "ints": _VARINT,
    "numbers": _VARINT,
    "varints": _VARINT,
    "floats": _FIXED32,
    "doubles": _FIXED64,
}
_PACKABLE = frozenset({"ints", "numbers", "varints", "floats", "doubles"})
_UNFINISHED = bytes(range(128, 256))
_MAX_DEPTH = 90  # protobuf itself stops at 100


class WireError(Exception):
    """The reason to refuse the data: one line that names the field and the value."""


@dataclass(slots=True)
class Message:
    """The known fields of one message. `where` is its path, as `model.graph.node[2]`."""

    where: str
    fields: dict[str, Any] = field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:
        """The field `name`, or `default`."""
        return self.fields.get(name, default)

    def many(self, name: str) -> list[Any]:
        """The messages of the repeated field `name`, as they were read."""
        found: list[Any] = self.fields.get(name, [])
        return found


@dataclass(slots=True)
class Reader:
    """Reads messages of `schema`, at most `max_fields` protobuf fields in all.

    `finish` has a function for a kind of message, called as soon as one is read; what it returns
    takes the message's place, and is dropped from a repeated field where it is None. `most` bounds
    how many messages of a kind there may be.
    """

    schema: Schema
    max_fields: int
    finish: Mapping[str, Callable[[Message], Any]] = field(default_factory=dict)
    most: Mapping[str, int] = field(default_factory=dict)
    seen: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def read(self, kind: str, data: memoryview, where: str, depth: int = 0) -> Any:
        """Read one message. Raises WireError on malformed data and on too many or deep fields."""
        if depth > _MAX_DEPTH:
            raise WireError(f"{where.split('.')[0]}: messages nested deeper than {_MAX_DEPTH}")
        self.counts[kind] = count = self.counts.get(kind, 0) + 1
        if count > self.most.get(kind, self.max_fields):
            raise WireError(f"{where}: more than the limit of {self.most[kind]} in a file")
        table = self.schema[kind]
        values: dict[str, Any] = {}
        places: dict[str, int] = {}
        for number, wire, value, payload in self.split(data, where) if data else ():
            if number not in table:
                continue
            name, leaf = table[number]
            if wire != (expected := _SCALAR_WIRE.get(leaf, _BYTES)) and not (
                wire == _BYTES and leaf in _PACKABLE
            ):
                raise WireError(
                    f"{where}.{name}: malformed, wire type {wire} in place of {expected}"
                )
            if leaf[-1] == "*":
                place = places.get(name, 0)
                places[name] = place + 1
                inner = self.read(leaf[:-1], payload, f"{where}.{name}[{place}]", depth + 1)
                if inner is not None:
                    values.setdefault(name, []).append(inner)
            elif leaf == "names":
                values.setdefault(name, []).append(str(payload, "utf-8", "surrogateescape"))
            elif leaf in _PACKABLE or leaf == "blobs":
                self._repeated(values, f"{where}.{name}", leaf, wire, value, payload)
            elif name in values:
                raise WireError(f"{where}.{name}: given twice")
            elif leaf == "int":
                values[name] = _signed(value)
            elif leaf == "text":
                values[name] = _text(payload, f"{where}.{name}")
            elif leaf == "bytes":
                values[name] = payload
            else:
                values[name] = self.read(leaf, payload, f"{where}.{name}", depth + 1)
        message = Message(where, values)
        return self.finish[kind](message) if kind in self.finish else message

    def _repeated(
        self,
        values: dict[str, Any],
        where: str,
        leaf: str,
        wire: int,
        value: int,
        payload: memoryview,
    ) -> None:
        """Add the numbers of a field, packed or not, to those before, or count them."""
        name = where.rpartition(".")[2]
        packed = wire == _BYTES and leaf != "blobs"
        if leaf == "ints":
            found = self._unpack(payload, where) if packed else [_signed(value)]
            values.setdefault(name, []).extend(found)
            return
        count = _count(leaf, payload) if packed else 1
        values[name] = values.get(name, 0) + count
        if leaf == "numbers":
            self._count_fields(count, where)

    def split(self, data: memoryview, where: str) -> Iterator[tuple[int, int, int, memoryview]]:
        """Yield (field number, wire type, varint, payload) of every field of one message."""
        at, end = 0, len(data)
        while at < end:
            self.seen += 1
            if self.seen > self.max_fields:
                self._count_fields(0, where)
            tag = data[at]
            at += 1
            if tag >= 0x80:
                tag, at = _varint(data, at - 1, where)
            number, wire = tag >> 3, tag & 7
            # Protobuf keeps 32 bits of a tag and would read a larger one as another field.
            if not 0 < number < 2**29:
                raise WireError(f"{where}: malformed, field number {number}")
            value, start = 0, at
            if wire == _BYTES:
                size, start = data[at] if at < end else 0x80, at + 1
                if size >= 0x80:
                    size, start = _varint(data, at, where)
                at = start + size
            elif wire == _VARINT:
                value, at = _varint(data, at, where)
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
            self._count_fields(1, where)
            value, at = _varint(payload, at, where)
            yield _signed(value)

    def _count_fields(self, count: int, where: str) -> None:
        self.seen += count
        if self.seen > self.max_fields:
            raise WireError(f"{where}: more than {self.max_fields} protobuf fields")


def field_bytes(number: int, wire: int, value: int, payload: list[Any]) -> list[Any]:
    """The pieces of one field, as `split` yields it, on the wire; `payload` is in pieces too."""
    tag = varint_bytes(number << 3 | wire)
    if wire == _VARINT:
        return [tag, varint_bytes(value)]
    return (
        [tag, varint_bytes(sum(map(len, payload))), *payload] if wire == _BYTES else [tag, *payload]
    )


def varint_bytes(value: int) -> bytes:
    """An unsigned number in the encoding of protobuf."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


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
    if leaf in ("numbers", "varints"):
        return len(payload.tobytes().translate(None, _UNFINISHED))
    return len(payload) // (4 if leaf == "floats" else 8)


def _text(payload: memoryview, where: str) -> str:
    try:
        return str(payload, "utf-8")
    except UnicodeDecodeError:
        raise WireError(f"{where}: not UTF-8") from None
