"""Where the values of a JSON text begin and end."""

import json
import re

import numpy as np

from lossexport.boxes.boxset import Int32, UInt8

_SPACE = re.compile(rb"[ \t\r\n]*+")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_WORD = re.compile(rb"[^,\]}\s]*+(?=[,\]}\s])")
_ESCAPED = re.compile(rb"\\.", re.DOTALL)


def space(text: bytes, start: int = 0) -> int:
    """The end of the white space that begins at `start`."""
    match = _SPACE.match(text, start)
    return match.end() if match else start


def length(text: bytes) -> int:
    """Length of the string, number, word or object at the start of `text`; -1 if it is cut."""
    if text.startswith(b"{"):
        end = structure(text[1:])[1]
        return end + 2 if end >= 0 else -1
    match = (_STRING if text.startswith(b'"') else _WORD).match(text)
    return match.end() if match else -1


def _marks(text: bytes) -> tuple[Int32, UInt8]:
    """Depth after each byte, and the bytes with the contents of strings blanked."""
    data = np.frombuffer(_ESCAPED.sub(b"  ", text), np.uint8).copy()
    inside = np.cumsum(data == ord('"'), dtype=np.uint8) & 1
    data[inside == 1] = 0
    step = np.zeros(len(data), np.int8)
    step[(data == ord("[")) | (data == ord("{"))] = 1
    step[(data == ord("]")) | (data == ord("}"))] = -1
    return np.cumsum(step, dtype=np.int32), data


def structure(text: bytes) -> tuple[int, int]:
    """Find the last top-level comma and the bracket that closes the level; -1 if there is none."""
    depth, data = _marks(text)
    closing = np.flatnonzero(depth < 0)
    end = int(closing[0]) if closing.size else -1
    commas = np.flatnonzero((data == ord(",")) & (depth == 0))
    return (int(commas[-1]) if commas.size else -1), end


def element(text: bytes, row: int) -> object:
    """Decode element `row` of the array text, loosely; the text after it may be cut."""
    depth, data = _marks(text)
    ends = np.flatnonzero(((data == ord(",")) & (depth == 0)) | (depth == -1))
    start = int(ends[row - 1]) + 1 if row else 0
    stop = int(ends[row]) if row < len(ends) else len(text)
    try:
        value: object = json.loads(text[start:stop])
    except (ValueError, RecursionError):
        return text[start:stop].decode("utf-8", "replace")
    return value
