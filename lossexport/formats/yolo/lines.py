"""Lines of a YOLO label file: boxes, or polygons read as the boxes around them."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lossexport.boxes.boxset import Float64, check_boxes, check_scores, fail
from lossexport.formats.shared import check_class, counted, is_number, number, number_at
from lossexport.formats.yolo.names import MAX_CLASS

LOW, HIGH = -1.0, 2.0
"""A coordinate beyond is not in parts of the image, even of a box that sticks out."""

_BOX = ("class", "cx", "cy", "w", "h")


@dataclass(slots=True)
class Labels:
    """The boxes of one file."""

    kinds: list[int] = field(default_factory=list)
    center: list[list[float]] = field(default_factory=list)
    """cx, cy, w, h in parts of the image."""
    scores: list[float] = field(default_factory=list)
    polygons: int = 0
    tracks: int = 0
    """Number of lines with a track id, which is ignored."""

    def boxes(self) -> Float64:
        """[n,4] x, y, width, height."""
        box = np.array(self.center, np.float64).reshape(-1, 4)
        return np.column_stack([box[:, :2] - box[:, 2:] / 2, box[:, 2:]])


def parse(path: Path, lines: list[str], scored: bool) -> Labels | None:
    """Labels in `lines`; None if there are lines but none of them looks like a label.

    Raises LossexportError, which names the first wrong line and the number of similar ones.
    """
    rows = [(index, line.split()) for index, line in enumerate(lines, 1)]
    rows = [(index, texts) for index, texts in rows if texts]
    if rows and not any(_like_a_label(texts) for _, texts in rows):
        return None
    labels = Labels()
    for index, texts in rows:
        layout = _layout(texts, scored)
        if layout is None:
            alike = sum(len(other) == len(texts) for _, other in rows)
            why = _why(lines[index - 1], len(texts), scored)
            more = counted(alike, len(rows), "lines")
            fail(path, f"line {index}", lines[index - 1], f"{why}{more}")
        points, track = layout
        labels.kinds.append(check_class(path, f"line {index}, class", texts[0], MAX_CLASS))
        end = len(texts) - track - scored
        if points:
            labels.center.append(_around(path, index, texts[1:end]))
        else:
            names = zip(_BOX[1:], texts[1:5], strict=True)
            labels.center.append(
                [number_at(path, f"line {index}, {name}", text) for name, text in names]
            )
        if scored:
            labels.scores.append(number_at(path, f"line {index}, score", texts[end]))
        labels.polygons += points > 0
        labels.tracks += track
    _check(path, labels, [index for index, _ in rows])
    return labels


def _like_a_label(texts: list[str]) -> bool:
    """Whether a line consists of numbers, or mostly of them, with any separators."""
    parts = [part for text in texts for part in re.split("[,;]", text) if part]
    numbers = sum(map(is_number, parts))
    return 0 < numbers == len(parts) or (len(parts) > 4 and 2 * numbers > len(parts))


def _layout(texts: list[str], scored: bool) -> tuple[int, bool] | None:
    """Points of the polygon (0 for a box) and whether a track id is last; None for other lines.

    Ultralytics writes `class cx cy w h [score] [id]` and `class x1 y1 x2 y2 x3 y3 ... [score]
    [id]`. A track id is a whole number.
    """
    count = len(texts) - 1 - scored
    whole = is_number(texts[-1]) and number(texts[-1]).is_integer()
    if count in (4, 5):
        return (0, count == 5) if count == 4 or whole else None
    if count >= 6 and count % 2 == 0:
        return count // 2, False
    # In references, a whole number at the end is the visibility of a keypoint.
    return (count // 2, True) if count >= 7 and whole and scored else None


def _why(line: str, count: int, scored: bool) -> str:
    """The reason to refuse a line of `count` fields."""
    wanted = f"class cx cy w h{' score' if scored else ''} is expected"
    if re.search("[,;]", line):
        return f"{wanted}, with spaces or tabs between the numbers and points for fractions"
    if scored and count == 5:
        return f"5 numbers: {wanted}; the score is missing (Ultralytics: save_conf=True)"
    if scored and count > 6:
        return (
            f"{count} numbers: {wanted}; a polygon of {(count - 1) // 2} points has no score, and "
            "a track id is a whole number"
        )
    if count == 6:
        return f"6 numbers: {wanted}; references have no score, and a track id is a whole number"
    if count > 6:
        return f"{count} numbers: {wanted}, or a polygon, class x1 y1 x2 y2 x3 y3 and so on"
    return f"{wanted}, not {count} field{'s' if count > 1 else ''}"


def _around(path: Path, line: int, texts: list[str]) -> list[float]:
    """The box around a polygon."""
    names = [f"{axis}{point}" for point in range(1, len(texts) // 2 + 1) for axis in "xy"]
    values = [
        number_at(path, f"line {line}, {name}", text)
        for name, text in zip(names, texts, strict=True)
    ]
    for name, value in zip(names, values, strict=True):
        if not LOW <= value <= HIGH:
            fail(path, f"line {line}, {name}", value, _IN_PARTS)
    sides = [(min(values[axis::2]), max(values[axis::2])) for axis in (0, 1)]
    return [(low + high) / 2 for low, high in sides] + [high - low for low, high in sides]


_IN_PARTS = "parts of the image, 0 to 1, are expected: divide pixels by width and height"


def _check(path: Path, labels: Labels, lines: list[int]) -> None:
    """Refuse boxes that are not finite, have a negative size or are not in parts of the image."""
    box = np.array(labels.center, np.float64).reshape(-1, 4)
    check_boxes(
        path, box, lambda r, c: f"line {lines[r]}, {_BOX[1 + c]}", inverted=bool(labels.scores)
    )
    wild = (box < LOW) | (box > HIGH)
    if wild.any():
        row, column = (int(i) for i in np.argwhere(wild)[0])
        more = counted(int(wild.any(axis=1).sum()), len(box), "boxes")
        where = f"line {lines[row]}, {_BOX[1 + column]}"
        fail(path, where, float(box[row, column]), f"{_IN_PARTS}{more}")
    score = np.array(labels.scores, np.float64)
    check_scores(path, score, lambda r: f"line {lines[r]}, score")
