"""The file of a calibration: JSON with a version, read with bounds."""

import math
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct

from lossexport import arguments
from lossexport.boxes.boxset import Float64
from lossexport.boxes.columns import plain_id
from lossexport.errors import LossexportError, one_line, shown
from lossexport.files import read_bytes, write_bytes
from lossexport.monitor import drift
from lossexport.monitor.curve import FLOOR, SIZES, Curve

VERSION: Literal[1] = 1
MAX_BYTES = 128 * 2**20
MAX_CATEGORIES = 10_000
MAX_REPLICAS = 1000
MAX_STEPS = 1024
_LOG_ODDS = math.log((1 - FLOOR) / FLOOR) + 1e-3
_CONSTANT = 30.0

Count = Annotated[int, Meta(ge=0, le=2**53)]
Share = Annotated[float, Meta(ge=0, le=1)]
Id = int | Annotated[str, Meta(max_length=4096)]
Text = Annotated[str, Meta(max_length=4096)]
Limits = Annotated[list[float], Meta(max_length=MAX_STEPS)]
Factor = Annotated[float, Meta(ge=1, le=1e9)]


class _Strict(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A strict, immutable part of the file."""


class Kind(_Strict, frozen=True):
    """A category of the sample."""

    id: Id
    name: Text


Counts = Annotated[list[Count], Meta(max_length=MAX_CATEGORIES)]


class Histogram(_Strict, frozen=True):
    """Boxes of the sample between `limits`; classes have none. See `drift.Tally`."""

    limits: Limits
    counts: Counts
    squares: Counts
    products: Counts
    frames: Count

    @classmethod
    def of(cls, limits: Float64, tally: drift.Tally) -> "Histogram":
        """From its limits and what was counted."""
        columns = (tally.counts, tally.squares, tally.products)
        lists = [column.tolist() for column in columns]
        return cls(
            limits=limits.tolist(),
            counts=lists[0],
            squares=lists[1],
            products=lists[2],
            frames=tally.frames,
        )

    def tally(self) -> drift.Tally:
        """What was counted."""
        counts, squares, products = np.array([self.counts, self.squares, self.products], np.int64)
        return drift.Tally(counts, squares, products, self.frames)


class Replica(_Strict, frozen=True):
    """A curve and what goes with it, from the sample or from images drawn from it."""

    step: Annotated[list[float], Meta(max_length=MAX_STEPS + 1)]
    kind: Annotated[list[float], Meta(max_length=MAX_CATEGORIES)]
    size: Annotated[list[float], Meta(min_length=SIZES, max_length=SIZES)]
    misses: Annotated[list[float], Meta(min_length=3, max_length=3)]
    """Missed objects for each image, each expected correct box, and each unit of p (1 - p)."""


class Source(_Strict, frozen=True):
    """An input of the calibration."""

    name: Text
    sha256: Annotated[str, Meta(max_length=64)]


class Calibration(_Strict, frozen=True):
    """What `calibrate` learned from a labelled sample; `save` and `load` are its file.

    Scores are in the unit of the detector. Curves are log odds that a box is correct: has a partner
    of its category at an IoU of 0.5 or more.
    """

    version: Literal[1]
    generator: Text
    """The version of lossexport that wrote it."""
    detector: Text | None
    threshold: float
    """Boxes with this score or more are those of the precision and of the histograms."""
    images: Count
    boxes: Count
    """All boxes of the sample, at any score, without those on ignored references."""
    boxes_at_threshold: Count
    references: Count
    precision: Share | None
    """Of the sample, from its references; null without a box at the threshold."""
    ap50: Share
    """The same, pooled over the categories."""
    categories: Annotated[list[Kind], Meta(min_length=1, max_length=MAX_CATEGORIES)]
    score_limits: Limits
    size_limits: Annotated[list[float], Meta(min_length=SIZES - 1, max_length=SIZES - 1)]
    """Square roots of areas, in pixels."""
    replicas: Annotated[list[Replica], Meta(min_length=2, max_length=MAX_REPLICAS)]
    dispersion: Factor
    """How many times more the number of correct boxes varies than by chance: all boxes."""
    dispersion_at_threshold: Factor
    missed_deviation: Annotated[float, Meta(ge=0, le=1e9)]
    """Standard deviation of the missed objects of an image from their estimate."""
    histograms: dict[drift.Part, Histogram]
    inputs: dict[Literal["pred", "ref"], Source]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, all or nothing. Raises LossexportError if it cannot be written."""
        write_bytes(arguments.path("out", path), msgspec.json.encode(self) + b"\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Calibration":
        """Read a file that `save` wrote.

        It need not be trusted: it is data of bounded size, whose shapes and values are checked.
        Raises LossexportError, naming the file and the field, on anything else.
        """
        where = arguments.path("calibration", path)
        data = read_bytes(where, MAX_BYTES)
        try:
            version = msgspec.json.decode(data, type=_Version).version
            if version != VERSION:
                raise LossexportError(
                    f"{where}: version is {shown(version)}: this lossexport reads {VERSION}: run "
                    "lossexport calibrate again"
                )
            found = msgspec.json.decode(data, type=cls)
        except msgspec.ValidationError as error:
            raise LossexportError(
                f"{where}: {one_line(error)}: is it a file of lossexport calibrate?"
            ) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise LossexportError(f"{where}: not JSON: {one_line(error)}") from error
        found._check(where)
        return found

    def _check(self, where: Path) -> None:
        """Raise LossexportError on shapes that do not fit and on values out of their range."""
        kinds = len(self.categories)
        ids = [plain_id(kind.id) for kind in self.categories]
        if None in ids or len(set(ids)) != kinds:
            raise LossexportError(f"{where}: categories: an id is no id, or is there twice")
        if set(self.histograms) != set(drift.PARTS) or set(self.inputs) != {"pred", "ref"}:
            raise LossexportError(f"{where}: histograms or inputs: a part is missing")
        for name, limits in (
            ("score_limits", self.score_limits),
            ("size_limits", self.size_limits),
            *((f"histograms.{part}.limits", h.limits) for part, h in self.histograms.items()),
        ):
            # Two limits of sizes may be equal.
            strict = name != "size_limits"
            if any(b < a or (strict and a == b) for a, b in pairwise(limits)):
                raise LossexportError(f"{where}: {name} do not rise")
        for part, histogram in self.histograms.items():
            wanted = kinds if part == "class" else len(histogram.limits) + 1
            for field in ("counts", "squares", "products"):
                if (length := len(getattr(histogram, field))) != wanted:
                    raise LossexportError(
                        f"{where}: histograms.{part}.{field} has {length} numbers, {wanted} are "
                        "expected"
                    )
        for i, replica in enumerate(self.replicas):
            for field, values, wanted, most in (
                ("step", replica.step, len(self.score_limits) + 1, _LOG_ODDS),
                ("kind", replica.kind, kinds, _CONSTANT),
                ("size", replica.size, SIZES, _CONSTANT),
                ("misses", replica.misses, 3, 1e9),
            ):
                if len(values) != wanted:
                    raise LossexportError(
                        f"{where}: replicas[{i}].{field} has {len(values)} numbers, {wanted} are "
                        "expected"
                    )
                if max(map(abs, values)) > most:
                    raise LossexportError(
                        f"{where}: replicas[{i}].{field} has a value above {most:g}"
                    )

    def curves(self) -> list[Curve]:
        """The curve of each replica."""
        return [Curve(*map(np.array, (r.step, r.kind, r.size))) for r in self.replicas]

    def misses(self) -> Float64:
        """[B,3] the coefficients of the missed objects of each replica."""
        return np.array([replica.misses for replica in self.replicas])

    def __repr__(self) -> str:
        """What it is from."""
        of = "" if self.detector is None else f" of {self.detector}"
        return f"<Calibration{of}: {self.images} images, {self.boxes} boxes>"


class _Version(Struct):
    version: int


def rounded(values: Float64 | Sequence[float], digits: int = 4) -> list[float]:
    """Numbers for the file, which is a third as large as with all their digits."""
    found: list[float] = np.round(np.asarray(values, np.float64), digits).tolist()
    return found
