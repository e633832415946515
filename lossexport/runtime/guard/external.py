"""Reads tensors from files beside a model into it.

Only files in the model's folder or below are read, whatever names and links say, and their bytes
count as the model's own.
"""

import math
import os
from pathlib import Path, PurePosixPath
from typing import Any

from lossexport.errors import LossexportError
from lossexport.files import open_regular, read_bytes, reason
from lossexport.runtime.guard.reading import Limits, elements, storage
from lossexport.runtime.guard.schema import SCHEMA, STRING
from lossexport.runtime.wire import Message, Reader, WireError, field_bytes

MAX_MODEL_BYTES = 2**31 - 1
"""Protobuf, and so every runtime, reads no larger model."""

_TENSOR, _RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = "tensor", 9, 13, 14
_EXTERNAL = 1
_MAX_DEPTH = 90
_KEYS = frozenset({"location", "offset", "length", "checksum"})


def read_model(path: Path, max_bytes: int) -> bytes:
    """The bytes of the `.onnx` file `path`, with the data of its external tensors inside.

    Model and data have at most `max_bytes` together. Raises LossexportError for a file that cannot
    be read, and for data that is outside of the folder of `path` or does not fit its tensor.
    """
    return inline_external(path, read_bytes(path, max_bytes), max_bytes)


def inline_external(path: Path, data: bytes, max_bytes: int) -> bytes:
    """`data`, read from `path`, with its external tensors inside: see `read_model`.

    Returns `data` itself where no tensor is external.
    """
    if b"location" not in data:  # the key that every external tensor has
        return data
    try:
        pieces = _Rewriter(path.parent, min(max_bytes, MAX_MODEL_BYTES), len(data)).message(
            "model", memoryview(data), "model", 0
        )
    except WireError as error:
        raise LossexportError(f"{path}: {error}") from None
    return data if pieces is None else b"".join(pieces)


def _holders() -> frozenset[str]:
    """The kinds of messages that hold tensors, directly or not."""
    found = {_TENSOR}
    while True:
        more = {
            kind
            for kind, table in SCHEMA.items()
            if any(leaf.rstrip("*") in found for _, leaf in table.values())
        }
        if more <= found:
            return frozenset(found)
        found |= more


_HOLDERS = _holders()


class _Rewriter:
    def __init__(self, folder: Path, max_bytes: int, size: int) -> None:
        self.folder, self.max_bytes, self.size = folder, max_bytes, size
        self.reader = Reader(SCHEMA, 4 * Limits().fields)  # it sees the fields of a tensor thrice

    def message(self, kind: str, data: memoryview, where: str, depth: int) -> list[Any] | None:
        """The pieces of a message with the tensors within it filled; None where none changes."""
        if depth > _MAX_DEPTH:
            raise WireError(f"model: messages nested deeper than {_MAX_DEPTH}")
        if kind == _TENSOR:
            return self.tensor(data, where)
        pieces: list[Any] = []
        changed = False
        places: dict[str, int] = {}
        for number, wire, value, payload in self.reader.split(data, where):
            name, leaf = SCHEMA[kind].get(number, ("", ""))
            inner = None
            if leaf.rstrip("*") in _HOLDERS:
                path = f"{where}.{name}"
                if leaf.endswith("*"):
                    path = f"{path}[{places.setdefault(name, 0)}]"
                    places[name] += 1
                inner = self.message(leaf.rstrip("*"), payload, path, depth + 1)
            if inner is None:
                pieces += field_bytes(number, wire, value, [payload])
            else:
                changed = True
                pieces += field_bytes(number, wire, value, inner)
        return pieces if changed else None

    def tensor(self, data: memoryview, where: str) -> list[Any] | None:
        tensor: Message = self.reader.read(_TENSOR, data, where)
        if tensor.get("data_location", 0) != _EXTERNAL:
            return None
        pieces: list[Any] = []
        for number, wire, value, payload in self.reader.split(data, where):
            if number not in (_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION):
                pieces += field_bytes(number, wire, value, [payload])
        return pieces + field_bytes(_RAW_DATA, 2, 0, [self.content(tensor)])

    def content(self, tensor: Message) -> bytes:
        """The bytes of an external tensor, as many as its dimensions need."""
        where = f"{tensor.where}.external_data"
        bits, _, _ = storage(tensor)
        if tensor.get("data_type") == STRING:
            raise WireError(f"{where}: strings cannot be in a file of their own")
        wanted = math.ceil(elements(tensor.get("dims", []), f"{tensor.where}.dims") * bits / 8)
        entries: dict[str, str] = {}
        for entry in tensor.many("external_data"):
            if (key := entry.get("key", "")) in entries or key not in _KEYS:
                raise WireError(f"{where}: key {key!a} is unknown, or given twice")
            entries[key] = entry.get("value", "")
        offset = _number(entries, "offset", 0, where)
        if (length := _number(entries, "length", wanted, where)) != wanted:
            raise WireError(
                f"{where}: length {length}, dims {tensor.get('dims', [])} need {wanted} bytes"
            )
        self.size += wanted
        if self.size > self.max_bytes:
            raise WireError(
                f"{where}: model and data have {self.size} bytes up to here, "
                f"more than the limit of {self.max_bytes}"
            )
        return self.read(entries.get("location", ""), offset, wanted, where)

    def read(self, location: str, offset: int, length: int, where: str) -> bytes:
        """Bytes of the file `location` of the folder."""
        where = f"{where}: location {location!a}"
        parts = PurePosixPath(location)
        if not location or "\0" in location or parts.is_absolute() or ".." in parts.parts:
            raise WireError(f"{where}: must be a path within the folder of the model")
        try:
            folder = self.folder.resolve(strict=True)
            path = (folder / location).resolve(strict=True)
            if not path.is_relative_to(folder):
                raise WireError(f"{where}: a link leads out of the folder of the model")
        except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
            why = reason(error) if isinstance(error, OSError) else "links in a circle"
            raise WireError(f"{where}: cannot be read: {why}") from None
        with open_regular(path) as stream:
            size = os.fstat(stream.fileno()).st_size
            if offset + length > size:
                raise WireError(f"{where}: {size} bytes, the tensor ends at {offset + length}")
            try:
                stream.seek(offset)
                found = stream.read(length)
            except OSError as error:
                raise WireError(f"{where}: cannot be read: {reason(error)}") from None
        if len(found) < length:
            raise WireError(f"{where}: ended while it was read")
        return found


def _number(entries: dict[str, str], key: str, default: int, where: str) -> int:
    """A whole number of at most 18 digits."""
    text = entries.get(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise WireError(f"{where}: {key} {text!a} is not a whole number")
    return int(text)
