"""Runs a detector on the images of a folder and collects its boxes, also after an interruption."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from lossexport import __version__
from lossexport.boxes.boxset import Dataset, Input, UInt8
from lossexport.boxes.oriented import FIELDS, OWN, rows_of
from lossexport.boxes.side import Entry, Side
from lossexport.detectors.detector import Detector
from lossexport.detectors.layout import Found
from lossexport.errors import LossexportError
from lossexport.files import reason, sha256, write_bytes
from lossexport.formats.source import FolderDigest
from lossexport.images import ImageFolder, few, pixels

RESULTS = "detections.json"
PARTIAL = "detections.partial"
"""The file of a run that is not finished, in the folder of its results."""


class Collector:
    """The boxes of one detector, which gets its images in batches; the name of a file is its id."""

    def __init__(self, detector: Detector) -> None:
        """Start without boxes."""
        self.detector = detector
        self.side = Side(detector.path, detector.input)
        self._waiting: list[tuple[str, UInt8]] = []

    def add(self, file: str, image: UInt8) -> list[tuple[str, Found]]:
        """Take an image; the results of the batch that it fills, else nothing."""
        self._waiting.append((file, image))
        return self.flush() if len(self._waiting) >= self.detector.batch else []

    def flush(self) -> list[tuple[str, Found]]:
        """Run the images that wait for others."""
        files = [file for file, _ in self._waiting]
        if not files:
            return []
        try:
            results = self.detector.detect([image for _, image in self._waiting])
        except LossexportError as error:
            raise LossexportError(f"{error} (on {', '.join(files)})") from error
        self._waiting.clear()
        for file, found in zip(files, results, strict=True):
            self.take(file, found)
        return list(zip(files, results, strict=True))

    def take(self, file: str, found: Found) -> None:
        """Add the boxes of an image."""
        if found.box.shape[1] == 5:
            box, self.side.box_field = rows_of(found.box), FIELDS[0]
        else:
            size = found.box[:, 2:] - found.box[:, :2]
            box = np.concatenate([found.box[:, :2], size], axis=1)
        self.side.boxes.add(
            np.full(len(box), self.side.images.ids[file], np.int32),
            found.label.astype(np.int32),
            box,
            score=found.score,
        )

    def finish(self) -> Side:
        """The side, after the last images."""
        self.flush()
        kinds, named = self.detector.kinds, self.detector.named
        self.side.images.name_by_ids()
        self.side.categories.rows = {kind.id: Entry(kind.name if named else None) for kind in kinds}
        self.side.categories.ids.codes([kind.id for kind in kinds])
        return self.side


def notes(detectors: Sequence[Detector], failures: list[str]) -> list[str]:
    """Sentences about what was found, free batches, and images that were left out."""
    free = [d for d in detectors if d.free_batch and d.batch == 1]
    named = dict.fromkeys(repr(detector.input.name) for detector in free)
    found = (
        [f"The batch of {' and '.join(named)} is free; it ran with a batch of 1."] if named else []
    )
    found += dict.fromkeys(
        f"{detector.input.name}: {why}." for detector in detectors for why in detector.why
    )
    if failures:
        found.append(f"Images that were left out: {few(failures)}.")
    return found


def detect_folder(
    detector: Detector, folder: ImageFolder, out: Path | None, advance: Callable[[float], None]
) -> tuple[Side, dict[str, Input]]:
    """Run a detector on every image of a folder; the side has notes.

    With `out`, the boxes of each batch are kept in its file PARTIAL, from which a run of the same
    detector on the same images goes on; `finish_partial` removes it. Also returns the inputs that
    were read. Raises LossexportError if no image can be read.
    """
    collector = Collector(detector)
    partial = Partial(out, detector) if out is not None else None
    digest = FolderDigest()
    failures: list[str] = []
    listed = folder.names()
    for done, file in enumerate(listed, 1):
        try:
            data = folder.read(file)
            known = partial.known(file, data, detector) if partial else None
            image = pixels(folder.decode(file, data)) if known is None else None
        except LossexportError as error:
            failures.append(str(error))
            continue
        digest.add(Path(file), data)
        if known is not None:
            collector.take(file, known)
        elif image is not None:
            results = collector.add(file, image)
            if partial:
                partial.keep(results)
        advance(done / len(listed))
    results = collector.flush()
    if partial:
        partial.keep(results)
    side = collector.finish()
    if not side.images.rows:
        raise LossexportError(f"{folder.path}: no image can be read: {few(failures)}")
    side.notes += notes([detector], failures)
    inputs = {"images": digest.finish(folder.path)}
    if detector.description_input is not None:
        inputs["detector"] = detector.description_input
    return side, inputs


def name_by_order(side: Side, references: Side) -> None:
    """Name the categories of a detector without names as the references do, in order of their ids.

    This is done, with a note, if both have the same number of them; more than one.
    """
    rows, known = side.categories.rows or {}, references.categories.rows or {}
    nameless = all(row.name is None for row in rows.values())
    numbers = [value for value in known if isinstance(value, int)]
    if not (nameless and 1 < len(rows) == len(known) == len(numbers)):
        return
    names = [known[value] for value in sorted(numbers)]
    if any(row.name is None for row in names) or [*rows] == sorted(numbers):
        return
    side.categories.rows = dict(zip(rows, names, strict=True))
    side.notes.append(
        f"{side.path.name}: its {len(rows)} categories have no names: they are taken as those of "
        f"{references.path.name}, in the order of the ids there."
    )


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The boxes of one image, in a line of the file."""

    file: str
    sha256: str
    boxes: list[tuple[float, ...]]
    scores: list[float]
    labels: list[int]

    def found(self, width: int) -> Found:
        return Found(
            np.array(self.boxes, np.float64).reshape(-1, width),
            np.array(self.scores, np.float64),
            np.array(self.labels, np.int64),
        )


class Partial:
    """The boxes of a run so far, a line for each image after one that says what ran.

    Numbers are written so that they are read with the same bits. The lines of another detector, or
    of another version, and a last line that is cut off count for nothing.
    """

    def __init__(self, out: Path, detector: Detector) -> None:
        """Read the lines of an earlier run from the folder `out`, which is made."""
        self.path = out / PARTIAL
        self._hashes: dict[str, str] = {}
        self._lines: dict[str, _Line] = {}
        self._width = 5 if getattr(detector.description.output, "oriented", False) else 4
        key = _key(detector)
        try:
            out.mkdir(parents=True, exist_ok=True)
            head, *rest = self.path.read_bytes().split(b"\n") if self.path.exists() else [b""]
            if head == key:
                for text in rest:
                    self._read(text)
            lines = [key, *map(msgspec.json.encode, self._lines.values()), b""]
            self.path.write_bytes(b"\n".join(lines))
        except OSError as error:
            raise LossexportError(f"{self.path}: cannot be written: {reason(error)}") from error

    def _read(self, text: bytes) -> None:
        try:
            line = msgspec.json.decode(text, type=_Line)
        except (msgspec.DecodeError, RecursionError):
            return
        whole = all(len(box) == self._width for box in line.boxes)
        if whole and len(line.boxes) == len(line.scores) == len(line.labels):
            self._lines[line.file] = line

    def known(self, file: str, data: bytes, detector: Detector) -> Found | None:
        """The boxes of an image of these bytes, if an earlier run has them."""
        self._hashes[file] = sha256(data)
        line = self._lines.get(file)
        if line is None or line.sha256 != self._hashes[file]:
            return None
        found = line.found(self._width)
        detector.count(found.label)
        return found

    def keep(self, results: list[tuple[str, Found]]) -> None:
        """Write the boxes of a batch."""
        lines = [
            _Line(
                file,
                self._hashes[file],
                found.box.tolist(),
                found.score.tolist(),
                found.label.tolist(),
            )
            for file, found in results
        ]
        try:
            with self.path.open("ab") as stream:
                stream.writelines(msgspec.json.encode(line) + b"\n" for line in lines)
        except OSError as error:
            raise LossexportError(f"{self.path}: cannot be written: {reason(error)}") from error


def write_results(out: Path, data: Dataset) -> None:
    """Write the predictions of a data set as COCO results, with its ids, into the folder `out`."""
    boxes = data.predictions
    field, own = (FIELDS[0], boxes.box[:, OWN]) if data.oriented else ("bbox", boxes.box)
    columns = (boxes.image.tolist(), boxes.category.tolist(), own.tolist())
    rows = [
        {
            "image_id": data.images[image],
            "category_id": data.categories[category].id,
            field: box,
            "score": score,
        }
        for image, category, box, score in zip(*columns, boxes.score.tolist(), strict=True)
    ]
    write_bytes(out / RESULTS, msgspec.json.encode(rows))


def finish_partial(out: Path) -> None:
    """Remove the file of a run that is done."""
    (out / PARTIAL).unlink(missing_ok=True)


def _key(detector: Detector) -> bytes:
    """What the boxes of an image depend on, beside the image."""
    described: dict[str, Any] = {
        "version": __version__,
        "model": detector.input.sha256,
        "batch": detector.batch,
        "layout": detector.description.layout.name,
        **{
            part: msgspec.to_builtins(getattr(detector.description, part))
            for part in ("input", "output", "limits")
        },
    }
    text = json.dumps(described, sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest().encode()
