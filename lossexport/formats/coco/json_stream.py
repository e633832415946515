"""Reads JSON in slices: large arrays are decoded piece by piece, in bounded memory.

A cursor moves through the buffer. The value at the cursor is decoded from a window that doubles
until it holds the whole value, so the time is linear in the length of any text. An array is cut
after a complete element. The first guess for the cut is the last `},{` of the window, with or
without white space between. A cut inside a string or a nested value leaves brackets open, so a
wrong guess cannot be decoded, and the structure is scanned instead.

This accepts everything that Python's json, and therefore pycocotools, accepts. NaN, Infinity and
halves of surrogate pairs are accepted too, but only in values that are not used.
"""

import codecs
import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn, TypeVar

import msgspec

from lossexport.boxes.boxset import check_count, fail
from lossexport.errors import LossexportError
from lossexport.formats.coco import json_text
from lossexport.formats.source import Source
from lossexport.runtime.rows import CLOSED, ODD, Reader, Rows

BLOCK = 1 << 20
WINDOW = 1 << 8
"""Bytes that are looked at first."""
MAX_KEYS = 10_000
MAX_VALUE = 64 << 20
"""Largest single element of an array, or other value, in bytes."""

T = TypeVar("T")
_AT = re.compile(r" - at `(\$[^`]*)`$")
_CUT = re.compile(rb"\}[ \t\r\n]*,[ \t\r\n]*$")
_CUT_LENGTH = 64
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_SKIPPED = msgspec.json.Decoder(list[msgspec.Raw])
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, b"{\0", b"[\0", b"\0{", b"\0[", b"\0\0")
"""How UTF-16 and UTF-32 begin."""


class NotPlainError(Exception):
    """Rows that the library does not read; `JsonStream.rows` reads them or says what is wrong."""


class JsonStream:
    """Reads the top level of a JSON text; every error names the file."""

    def __init__(self, source: Source) -> None:
        """Read from `source`, from its first byte on."""
        self._source = source
        self._path = source.path
        self._buffer = b""
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._read = 0
        self._at = 0  # the cursor in the buffer...
        self._offset = 0  # ...and in the text
        if self._ahead(3) == b"\xef\xbb\xbf":
            self._drop(3)

    def peek(self) -> bytes:
        """Return the next byte that is not white space; empty at the end."""
        while True:
            self._drop(json_text.space(self._buffer, self._at) - self._at)
            if self._at < len(self._buffer) or not self._more():
                return self._buffer[self._at : self._at + 1]

    def rows(self, decoder: msgspec.json.Decoder[list[T]], field: str) -> Iterator[list[T]]:
        """Yield the elements of the array that comes next, some thousands at a time.

        `field` is the name of the array in errors; "" for an array that is the whole file.
        """
        self._expect(b"[", field or "the file", "a list")
        index = 0
        size = WINDOW
        done = False
        while not done:
            text = self._ahead(size)
            rows = self._guess(decoder, text, field, index)
            if rows is None:
                comma, end = json_text.structure(text)
                if comma < 0 and end < 0:
                    size = self._doubled(text, size)
                    continue
                done = end >= 0
                if text[end : end + 1] == b"}":
                    self._drop(end)
                    self._malformed("a list ends with }")
                rows = self._scanned(decoder, text[: end if done else comma], field, index, done)
            index += len(rows)
            if rows:
                yield rows
            size = min(2 * size, BLOCK)

    def plain_rows(self, reader: Reader, field: str) -> Iterator[Rows]:
        """Yield the elements of the array that comes next as columns, some thousands at a time.

        `field` is as for `rows`. Raises NotPlainError on anything that the library leaves to it.
        """
        self._expect(b"[", field or "the file", "a list")
        size = WINDOW
        end = ODD
        while end != CLOSED:
            self._have(size)
            part = self._source.part * self._offset / max(self._read, 1)
            found, used, end = reader.read(self._buffer, self._at, part)
            self._drop(used)
            if end == ODD:
                raise NotPlainError
            if len(found):
                yield found
                size = BLOCK
            elif end != CLOSED:
                rest = self._buffer[self._at :]
                size = self._doubled(rest, max(size, len(rest)))

    def members(self) -> Iterator[str]:
        """Yield the keys of the object that comes next; take each value before the next key.

        A key that appears twice is refused, because its first value is in use by then. Deeper in
        the file, the last value counts, as in Python.
        """
        self._expect(b"{", "the file", "an object or a list")
        seen: set[str] = set()
        if self.peek() == b"}":
            self._drop(1)
            return
        while True:
            if self.peek() != b'"':
                self._malformed("a key in quotes is missing")
            key = str(self._value("a key")).encode("utf-8", "backslashreplace").decode()
            if key in seen:
                fail(self._path, "key", key, "appears twice")
            seen.add(key)
            check_count(self._path, "keys", len(seen), MAX_KEYS)
            self._expect(b":", f"text after key {key}", "a colon")
            yield key
            mark = self.peek()
            if mark == b"}":
                self._drop(1)
                return
            self._expect(b",", f"text after {key}", "a comma or the end of the object")

    def skip(self) -> None:
        """Skip the next value, whatever it is."""
        if self.peek() == b"[":
            for _ in self.rows(_SKIPPED, "skipped"):
                pass
        else:
            self._value("a value that is not used")

    def end(self) -> None:
        """Raise LossexportError if anything but white space is left."""
        if self.peek():
            self._malformed("text after the end of the JSON value")

    def _more(self) -> bool:
        block = self._source.read(BLOCK)
        self._check_utf8(block)
        if block:
            self._buffer = self._buffer[self._at :] + block
            self._at = 0
        return bool(block)

    def _check_utf8(self, block: bytes) -> None:
        """Check the encoding of the text, which decoders do not check in values that they skip.

        b"" is the end of the text.
        """
        if not self._read and block.startswith(_WIDE):
            raise LossexportError(f"{self._path}: is UTF-16 or UTF-32: save it as UTF-8")
        held = len(self._utf8.getstate()[0])
        if block and not held and block.isascii():
            self._read += len(block)
            return
        try:
            self._utf8.decode(block, final=not block)
        except UnicodeDecodeError as error:
            at = self._read - held + error.start
            raise LossexportError(f"{self._path}: not UTF-8 at byte {at}") from None
        self._read += len(block)

    def _ahead(self, size: int) -> bytes:
        """The `size` bytes from the cursor on; fewer only at the end of the text."""
        self._have(size)
        return self._buffer[self._at : self._at + size]

    def _have(self, size: int) -> None:
        """Read until the buffer has `size` bytes from the cursor on, or the text ends."""
        while len(self._buffer) - self._at < size and self._more():
            pass

    def _drop(self, count: int) -> None:
        self._at += count
        self._offset += count

    def _expect(self, mark: bytes, what: str, wanted: str) -> None:
        found = self.peek()
        if not found:
            self._truncated()
        if found != mark:
            start = self._ahead(40).decode("utf-8", "replace")
            fail(self._path, what, start, f"{wanted} is expected (byte {self._offset})")
        self._drop(1)

    def _value(self, what: str) -> object:
        """Take a string, number, word or object; arrays are read by `rows`."""
        self.peek()
        size = WINDOW
        text = self._ahead(size)
        while (end := json_text.length(text)) < 0:
            size = self._doubled(text, size)
            text = self._ahead(size)
        try:
            value: object = json.loads(text[:end].decode())
        except RecursionError:
            self._malformed(f"{what} is nested too deeply")
        except ValueError:
            self._malformed(f"{what} cannot be read")
        self._drop(end)
        return value

    def _doubled(self, text: bytes, size: int) -> int:
        """Size of the next window, after `text`, a window of `size`, held no whole value."""
        if size > MAX_VALUE:
            raise LossexportError(
                f"{self._path}: one value at byte {self._offset} is longer than {MAX_VALUE} bytes"
            )
        if len(text) < size:
            self._truncated()
        return 2 * size

    def _guess(
        self, decoder: msgspec.json.Decoder[list[T]], text: bytes, field: str, index: int
    ) -> list[T] | None:
        at = len(text)
        while (at := text.rfind(b"{", 0, at)) >= 0:
            cut = _CUT.search(text, max(at - _CUT_LENGTH, 0), at)
            if cut is None:
                continue
            try:
                rows = decoder.decode(b"[" + text[: cut.start() + 1] + b"]")
            except msgspec.ValidationError as error:
                # Wherever the cut is, the elements before the first wrong one are complete.
                self._invalid(str(error), text, field, index)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return None
            self._drop(at)
            return rows
        return None

    def _scanned(
        self,
        decoder: msgspec.json.Decoder[list[T]],
        text: bytes,
        field: str,
        index: int,
        last: bool,
    ) -> list[T]:
        """Take the elements `text` and the comma after them or, if they are the `last`, bracket."""
        if json_text.space(text) == len(text) and (index or not last):
            self._malformed("an element is missing after a comma")
        try:
            rows = decoder.decode(b"[" + text + b"]")
        except msgspec.ValidationError as error:
            self._invalid(str(error), text, field, index)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            rows = self._loosely(decoder, text, field, index)
        self._drop(len(text) + 1)
        if not last and self.peek() == b"]":
            self._malformed("an element is missing after a comma")
        return rows

    def _invalid(self, message: str, text: bytes, field: str, index: int) -> NoReturn:
        """Report a value of the wrong type: find it by the path in msgspec's message."""
        match = _AT.search(message)
        path = match.group(1) if match else "$[0]"
        why = message[: match.start()] if match else message
        steps = re.findall(r"\[(\d+)\]|\.([^.\[]+)", path)
        row = int(steps[0][0])
        # The text before the wrong element is valid, so a scan finds where each element starts.
        value: object = json_text.element(text, row)
        name = f"{field}[{index + row}]"
        for number, key in steps[1:]:
            name += f"[{number}]" if number else f".{key}"
            if isinstance(value, dict):
                value = value.get(key)
            elif isinstance(value, list) and int(number or 0) < len(value):
                value = value[int(number or 0)]
        missing = re.search(r"missing required field `(\w+)`", why)
        if missing:
            raise LossexportError(f"{self._path}: {name}.{missing.group(1)} is missing")
        fail(self._path, name, value, _unusable(value) or why[:1].lower() + why[1:])

    def _loosely(
        self, decoder: msgspec.json.Decoder[list[T]], text: bytes, field: str, index: int
    ) -> list[T]:
        """Decode complete elements with Python's json, which accepts more than msgspec."""
        try:
            values = _marked(json.loads(f"[{text.decode()}]", parse_constant=_Unusable))
        except json.JSONDecodeError as syntax:
            at = self._offset + len(syntax.doc[: max(syntax.pos - 1, 0)].encode())
            raise LossexportError(f"{self._path}: not JSON at byte {at}: {syntax.msg}") from None
        except RecursionError:
            self._malformed("an element is nested too deeply")
        except ValueError:
            self._malformed("a number has too many digits")
        rows: list[T] = values  # none of these values are used
        if decoder is _SKIPPED:
            return rows
        try:
            rows = msgspec.convert(values, decoder.type, strict=decoder.strict)
        except msgspec.ValidationError as error:
            self._invalid(str(error), text, field, index)
        return rows

    def _malformed(self, why: str) -> NoReturn:
        raise LossexportError(f"{self._path}: not JSON at byte {self._offset}: {why}")

    def _truncated(self) -> NoReturn:
        raise LossexportError(
            f"{self._path}: the file ends early, at byte "
            f"{self._offset + len(self._buffer) - self._at}"
        )


class _Unusable(msgspec.Struct, frozen=True):
    """Replaces a value that json reads and no field can use, so that a field reports it."""

    text: str


def _marked(value: Any) -> Any:
    """`value` with _Unusable for each string that cannot be encoded; such keys are dropped."""
    if isinstance(value, str):
        return _Unusable(value) if _SURROGATE.search(value) else value
    if isinstance(value, list):
        return [_marked(inner) for inner in value]
    if isinstance(value, dict):
        return {key: _marked(value[key]) for key in value if not _SURROGATE.search(key)}
    return value


def _unusable(value: object) -> str:
    """Why no field can use `value`; "" if one can."""
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    if isinstance(value, str) and _SURROGATE.search(value):
        return "has half of a surrogate pair"
    return ""
