"""MOT challenge text: lines `frame,id,x,y,w,h,conf,class,vis`; a frame is an image.

In references `conf` 0 marks a box that is not to be counted. Where a file has no class (no column,
or -1 throughout) boxes are matched without regard to class.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lossexport.errors import LossexportError
from lossexport.scoring.boxset import (
    MAX_PREDICTIONS,
    MAX_REFERENCES,
    Bool,
    Float64,
    Input,
    check_boxes,
    check_count,
    check_scores,
    fail,
)
from lossexport.scoring.formats.shared import number
from lossexport.scoring.formats.source import Advance, Source
from lossexport.scoring.side import Entry, Side

BLOCK = 1 << 20
MAX_CLASS = 99_999

_FIELDS = ("frame", "id", "x", "y", "w", "h", "conf", "class", "visibility")


def read(path: Path, scored: bool, advance: Advance) -> Side:
    """Read a file of predictions (`scored`), whose `conf` is the score, or of references."""
    side = Side(path, Input("", ""), classes=None)
    limit = MAX_PREDICTIONS if scored else MAX_REFERENCES
    with Source(path, advance) as source:
        for first, lines in _blocks(source):
            check_count(path, "boxes", side.boxes.count + len(lines), limit)
            values, line_of = _parse(path, lines, first)
            if not len(values):
                continue
            known = _check(path, values, line_of, scored)
            told = side.classes
            for row in np.flatnonzero(known != (known[0] if told is None else told))[:1]:
                where = f"line {line_of[row]}, class"
                fail(path, where, float(values[row, 7]), "some lines have a class and some do not")
            side.classes = bool(known[0])
            side.boxes.add(
                side.images.ids.codes(values[:, 0].tolist()),
                side.categories.ids.codes(np.maximum(values[:, 7], 0).tolist()),
                values[:, 2:6].copy(),
                score=values[:, 6].copy() if scored else None,
                ignored=None if scored else values[:, 6] == 0,
                any_class=True,
            )
        side.input = source.finish()
    if side.classes is None and not scored:
        raise LossexportError(f"{path}: the file has no box")
    side.images.rows = {v: Entry(f"{v:06d}") for v in side.images.ids.ids if isinstance(v, int)}
    side.images.stems = True
    return side


def _blocks(source: Source) -> Iterator[tuple[int, list[str]]]:
    """Yield whole lines, some thousands at a time, with the number of the first."""
    rest = b""
    first = 1
    while True:
        data = source.read(BLOCK)
        text, mark, rest = (rest + data).rpartition(b"\n") if data else (rest, b"", b"")
        if not data and not text:
            return
        if len(rest) > BLOCK:
            raise LossexportError(f"{source.path}: line {first} or later is too long")
        try:
            lines = (text + mark).decode("ascii").splitlines()
        except UnicodeDecodeError as error:
            raise LossexportError(f"{source.path}: is not a text file: {error}") from error
        yield first, lines
        first += len(lines)


def _parse(path: Path, lines: list[str], first: int) -> tuple[Float64, list[int]]:
    """Values [n,8] (class -1 where there is none) and the line of each row."""
    line_of = [i for i, line in enumerate(lines, first) if line.strip()]
    lines = [line for line in lines if line.strip()]
    if not lines:
        return np.empty((0, 8)), line_of
    try:
        if any("_" in line for line in lines):
            raise ValueError("_")
        values = np.loadtxt(lines, np.float64, comments=None, delimiter=",", ndmin=2)
    except ValueError:
        values = np.array([_slow(path, n, x) for n, x in zip(line_of, lines, strict=True)])
    if values.shape[1] < 7:
        fail(path, f"line {line_of[0]}", lines[0], f"{','.join(_FIELDS[:7])} are expected")
    if values.shape[1] == 7:
        values = np.column_stack([values, np.full(len(values), -1.0)])
    return values[:, :8], line_of


def _slow(path: Path, index: int, line: str) -> list[float]:
    """Values of a line of 7 or more fields, when not all lines are alike, or one is wrong."""
    texts = line.split(",")
    if len(texts) < 7:
        fail(path, f"line {index}", line, f"{','.join(_FIELDS[:7])} are expected")
    values = []
    for name, text in zip(_FIELDS, texts[:8], strict=False):
        try:
            values.append(number(text))
        except ValueError:
            fail(path, f"line {index}, {name}", text, "a number is expected")
    return [*values, -1.0][:8]


def _check(path: Path, values: Float64, line_of: list[int], scored: bool) -> Bool:
    """Refuse what cannot be a MOT line; tell which rows have a class."""

    def refuse(bad: Bool, column: int, why: str) -> None:
        if bad.any():
            row = int(np.argmax(bad))
            where = f"line {line_of[row]}, {_FIELDS[column]}"
            fail(path, where, float(values[row, column]), why)

    frame, kind = values[:, 0], values[:, 7]
    whole = "a whole number from 0 up is expected"
    refuse(~((frame >= 0) & (frame < 2**53) & (frame == np.floor(frame))), 0, whole)
    check_boxes(
        path, values[:, 2:6], lambda r, c: f"line {line_of[r]}, {_FIELDS[2 + c]}", inverted=scored
    )
    check_scores(path, values[:, 6], lambda r: f"line {line_of[r]}, conf")
    known: Bool = kind != -1
    right = (kind >= 0) & (kind <= MAX_CLASS) & (kind == np.floor(kind))
    refuse(known & ~right, 7, f"a whole number from 0 to {MAX_CLASS}, or -1, is expected")
    return known
