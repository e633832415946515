"""MOT challenge text: lines `frame,id,x,y,w,h,conf,class,vis`; a frame is an image.

In references, `conf` 0 marks a box that is not to be counted. If a file has no classes (no column,
-1 throughout, or the world coordinates of MOT15), boxes are matched without regard to class.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lossexport.boxes.boxset import (
    Bool,
    Float64,
    check_boxes,
    check_rows,
    check_scores,
    fail,
)
from lossexport.boxes.side import Entry, Side
from lossexport.errors import LossexportError
from lossexport.formats.format import Format
from lossexport.formats.shared import MARK, is_number, number_at, refuse_wide
from lossexport.formats.source import Advance, Source

BLOCK = 1 << 20
MAX_CLASS = 99_999

# Number of fields in a line of MOT15, which ends in x, y, z instead of class and visibility.
_WORLD_FIELDS = 10
_FIELDS = ("frame", "id", "x", "y", "w", "h", "conf", "class", "visibility")


def read(path: Path, scored: bool, advance: Advance) -> Side:
    """Read a file of predictions (`scored`), whose `conf` is the score, or of references."""
    side = Side(path)
    classes = _Classes(path)
    with Source(path, advance) as source:
        for first, lines in _blocks(source):
            check_rows(path, side.boxes.count + len(lines), scored)
            if first == 1:
                _blank_heading(lines, side)
            values, line_of = _parse(path, lines, first)
            if not len(values):
                continue
            _check(path, values, line_of, scored)
            # The second line counts because the first may be a heading.
            classes.wide |= any(len(_split(line)) >= _WORLD_FIELDS for line in lines[:2])
            classes.add(values[:, 7], line_of)
            kind = np.zeros(len(values)) if classes.world else np.maximum(values[:, 7], 0)
            side.boxes.add(
                side.images.ids.codes(values[:, 0].tolist()),
                side.categories.ids.codes(kind.tolist()),
                values[:, 2:6].copy(),
                score=values[:, 6].copy() if scored else None,
                ignored=None if scored else values[:, 6] == 0,
                any_class=True,
            )
        side.input = source.finish()
    if not side.boxes.count and not scored:
        raise LossexportError(f"{path}: the file has no box")
    side.classes = classes.judge()
    if classes.world:
        side.notes.append(
            f"{path.name}: column 8 has fractions or negative numbers, as the world coordinates of "
            "MOT15: it is read as no class."
        )
    elif classes.wide and side.classes:
        side.notes.append(
            f"{path.name}: lines have {_WORLD_FIELDS} fields, as those of MOT15, where column 8 is "
            "a coordinate: it is read as the class."
        )
    side.images.rows = {v: Entry(f"{v:06d}") for v in side.images.ids.ids if isinstance(v, int)}
    return side


@dataclass(slots=True)
class _Classes:
    """Finds out whether column 8 of a file has classes, which the last line may decide."""

    path: Path
    wide: bool = False
    """Whether a line has as many fields as those of MOT15."""
    world: bool = False
    """Whether a value is a fraction or a negative number other than -1: no class at all."""
    lines: int = 0
    without: int = 0
    first_without: int = 0
    wrong: tuple[int, float] | None = None
    """Line and value of the first number that can be neither a class nor a coordinate."""

    def add(self, values: Float64, line_of: list[int]) -> None:
        """Look at the column in one block [n]."""
        finite = np.isfinite(values)
        self.world |= bool((finite & ((values != np.floor(values)) | (values < -1))).any())
        without = values == -1
        if without.any() and not self.without:
            self.first_without = line_of[int(np.argmax(without))]
        self.lines += len(values)
        self.without += int(without.sum())
        wrong = ~finite | (values > MAX_CLASS)
        if wrong.any() and self.wrong is None:
            row = int(np.argmax(wrong))
            self.wrong = line_of[row], float(values[row])

    def judge(self) -> bool | None:
        """Whether the file has classes; None for a file without lines.

        Raises LossexportError if some lines have one and some do not, or one is too large.
        """
        if self.world or not self.lines:
            return False if self.world else None
        if self.wrong is not None:
            line, value = self.wrong
            why = f"a whole number from 0 to {MAX_CLASS}, or -1, is expected"
            fail(self.path, f"line {line}, class", value, why)
        if 0 < self.without < self.lines:
            raise LossexportError(
                f"{self.path}: line {self.first_without}, class is -1: some lines have a class and "
                f"some do not ({self.without} of {self.lines} have none): write one in every line, "
                "or -1 in every line"
            )
        return not self.without


def _blocks(source: Source) -> Iterator[tuple[int, list[str]]]:
    """Yield whole lines, some thousands at a time, with the number of the first."""
    rest = b""
    first = 1
    while True:
        data = source.read(BLOCK)
        if first == 1 and not rest:
            refuse_wide(source.path, data)
            data = data.removeprefix(MARK)
        text, rest = _cut(rest + data) if data else (rest, b"")
        if not data and not text:
            return
        if len(rest) > BLOCK:
            raise LossexportError(f"{source.path}: line {first} or later is too long")
        try:
            lines = text.decode("ascii").splitlines()
        except UnicodeDecodeError as error:
            raise LossexportError(f"{source.path}: is not a text file: {error}") from error
        yield first, lines
        first += len(lines)


def _cut(data: bytes) -> tuple[bytes, bytes]:
    """Whole lines, which may end in LF, CR LF or CR, and the rest."""
    # If the data ends in CR, the next block may begin with its LF.
    place = max(data.rfind(b"\n"), data.rfind(b"\r", 0, -1)) + 1
    return data[:place], data[place:]


def _blank_heading(lines: list[str], side: Side) -> None:
    """Skip a first line of column names, with a note."""
    texts = _split(lines[0]) if lines else []
    if len(texts) > 1 and not any(map(is_number, texts)):
        side.notes.append(f"{side.path.name}: line 1, {lines[0].strip()!r}, is read as a heading.")
        lines[0] = ""


def _split(line: str) -> list[str]:
    """Fields between commas, or else between spaces or tabs; a trailing comma adds no field."""
    if "," not in line:
        return line.split()
    return [text.strip() for text in line.strip().removesuffix(",").split(",")]


def _parse(path: Path, lines: list[str], first: int) -> tuple[Float64, list[int]]:
    """Values [n,8] (class -1 if there is none) and the line of each row."""
    line_of = [i for i, line in enumerate(lines, first) if line.strip()]
    lines = [line for line in lines if line.strip()]
    if not lines:
        return np.empty((0, 8)), line_of
    try:
        if any("_" in line for line in lines):
            raise ValueError("_")
        between = "," if "," in lines[0] else None
        values = np.loadtxt(lines, np.float64, comments=None, delimiter=between, ndmin=2)
    except ValueError:
        values = np.array([_slow(path, n, x) for n, x in zip(line_of, lines, strict=True)])
    if values.shape[1] < 7:
        _refuse_fields(path, line_of[0], lines[0])
    if values.shape[1] == 7:
        values = np.column_stack([values, np.full(len(values), -1.0)])
    return values[:, :8], line_of


def _slow(path: Path, index: int, line: str) -> list[float]:
    """Values of a line of 7 or more fields, for blocks with unequal or wrong lines."""
    texts = _split(line)
    if len(texts) < 7:
        _refuse_fields(path, index, line)
    fields = zip(_FIELDS, texts[:8], strict=False)
    values = [number_at(path, f"line {index}, {name}", text) for name, text in fields]
    return [*values, -1.0][:8]


def _refuse_fields(path: Path, index: int, line: str) -> None:
    between = ", with commas, not semicolons, between them" if ";" in line else ""
    fail(path, f"line {index}", line, f"{','.join(_FIELDS[:7])} are expected{between}")


def _check(path: Path, values: Float64, line_of: list[int], scored: bool) -> None:
    """Refuse a row with an impossible frame, box or conf."""
    frame = values[:, 0]
    bad: Bool = ~((frame >= 0) & (frame < 2**53) & (frame == np.floor(frame)))
    if bad.any():
        row = int(np.argmax(bad))
        why = "a whole number from 0 up is expected"
        fail(path, f"line {line_of[row]}, frame", float(frame[row]), why)
    check_boxes(
        path, values[:, 2:6], lambda r, c: f"line {line_of[r]}, {_FIELDS[2 + c]}", inverted=scored
    )
    check_scores(path, values[:, 6], lambda r: f"line {line_of[r]}, conf")


FORMAT = Format(
    name="mot",
    title="MOT challenge text, a line for each box",
    given="file",
    stems=True,
    stream=read,
)
