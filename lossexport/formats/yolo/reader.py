"""YOLO labels: a folder of `IMAGE.txt` with lines `class cx cy w h [score]` in parts of the image.

Sub-folders are read too, including the folders of Ultralytics with `labels` and `data.yaml`. If the
other input states the sizes of the images, boxes are converted to pixels. Otherwise they keep these
units: IoU and GIoU are the same as in pixels, the distance and aspect terms of DIoU and CIoU are
those of a square image, and sizes by area are undefined.
"""

from pathlib import Path, PurePosixPath

import numpy as np

from lossexport.boxes.boxset import Id, check_rows
from lossexport.boxes.side import Entry, Side
from lossexport.errors import LossexportError
from lossexport.folder import Folder
from lossexport.formats.shared import (
    add_image,
    called,
    check_found,
    image_name,
    note_passed,
    suffix,
    text_lines,
)
from lossexport.formats.source import Advance, FolderDigest
from lossexport.formats.yolo import names as class_names
from lossexport.formats.yolo.lines import Labels, parse
from lossexport.images import IMAGE_FILES

MAX_FILE = 4 << 20

_LABELS = "labels"
_FOREIGN = ("xml", "json", "csv")
_READ = ("txt", "names", "yaml", "yml")


def read(path: Path, scored: bool, advance: Advance) -> Side:
    """Read a folder of label files; lines of predictions (`scored`) have a score."""
    reader = _Reader(path, scored)
    with Folder(path) as folder:
        names = [name for name in folder.names() if suffix(name) not in IMAGE_FILES]
        files = [name for name in names if suffix(name) in _READ]
        reader.passed += [name for name in names if suffix(name) not in _READ]
        for name, data in reader.digest.read(folder, files, MAX_FILE, advance):
            reader.take(name, data)
    return reader.finish(folder.passed)


class _Reader:
    """Collects the labels and the names of classes."""

    def __init__(self, path: Path, scored: bool) -> None:
        self.scored = scored
        self.passed: list[str] = []
        self.digest = FolderDigest()
        self._side = Side(path)
        self._side.images.rows = {}
        self._images: dict[Id, str] = {}
        self._tables: list[tuple[str, dict[int, str]]] = []
        self._polygons = self._tracks = 0
        self._highest = 0.0
        self._whole = True

    def take(self, file: str, data: bytes) -> None:
        """Read a file of labels or of names."""
        path = self._side.path / file
        lines = text_lines(path, data)
        if suffix(file) in ("yaml", "yml"):
            names = class_names.in_yaml(path, lines)
        elif suffix(file) == "names" or PurePosixPath(file).name.lower() == "classes.txt":
            names = class_names.listed(path, lines)
        else:
            labels = parse(path, lines, self.scored)
            if labels is None:
                self.passed.append(file)
            else:
                self._add(file, labels)
            return
        if names is None:
            self.passed.append(file)
        else:
            self._tables.append((file, names))

    def _add(self, file: str, labels: Labels) -> None:
        side, count = self._side, len(labels.kinds)
        check_rows(side.path / file, side.boxes.count + count, self.scored)
        # An empty file is an image without boxes, which still counts as an image.
        image = add_image(side, image_name(file, _LABELS), file, self._images, None)
        if not count:
            return
        score = np.array(labels.scores) if self.scored else None
        side.boxes.add(
            np.full(count, image, np.int32),
            side.categories.ids.codes(labels.kinds),
            labels.boxes(),
            score=score,
        )
        self._polygons += labels.polygons
        self._tracks += labels.tracks
        if score is not None:
            self._highest = max(self._highest, float(score.max()))
            self._whole &= bool((score == np.floor(score)).all())

    def finish(self, hidden: list[str]) -> Side:
        """The side, with notes on anything that is not a plain box, including `hidden` files."""
        side = self._side
        if not self._images:
            check_found(side, ".txt file of labels", self.passed, _FOREIGN, self.scored)
        self._add_names()
        name = called(side.path)
        if self._polygons:
            lines = "line is a polygon" if self._polygons == 1 else "lines are polygons"
            side.notes.append(f"{name}: {self._polygons} {lines}, read as the box around it.")
        if self._tracks:
            lines = "line has" if self._tracks == 1 else "lines have"
            side.notes.append(f"{name}: {self._tracks} {lines} a track id, which is not used.")
        if self._whole and self._highest > 1:
            side.notes.append(
                f"{name}: every score is a whole number, up to {self._highest:g}: track ids are "
                "read as scores where a line has no score (Ultralytics: save_conf=True)."
            )
        note_passed(side, "labels", [*self.passed, *hidden])
        side.input = self.digest.finish(side.path)
        return side

    def _add_names(self) -> None:
        """Add the names. Raises LossexportError if two tables name a class differently."""
        names: dict[int, str] = {}
        source: dict[int, str] = {}
        for file, table in self._tables:
            for kind, name in table.items():
                if names.setdefault(kind, name) != name:
                    raise LossexportError(
                        f"{self._side.path / file}: class {kind} is {name!r} here and "
                        f"{names[kind]!r} in {source[kind]}: keep one of the two tables"
                    )
                source.setdefault(kind, file)
        if names:
            self._side.categories.rows = {kind: Entry(name) for kind, name in names.items()}
            self._side.categories.ids.codes(list(names))
