"""Whole images with every fault on them: the worst images of each kind, for the box browser."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lossexport.boxes.boxset import Dataset, Float64, Int8, Int32, Int64
from lossexport.boxes.forest import overlap
from lossexport.errors import LossexportError
from lossexport.images import ImageFolder
from lossexport.reports.pictures import data_uri, drawn, existing, in_turn

SIDE = (640, 480)
"""Largest width and height of an image in the report, in pixels."""
BOXES = 20
"""Faults that are drawn on one image, and as many boxes without a fault."""


@dataclass(frozen=True, slots=True)
class Findings:
    """F faults of any kinds, which are texts that `kind` counts from 0.

    The images with the highest sum of `weight` in a kind are its worst.
    """

    kinds: Sequence[str]
    kind: Int8
    """[F] position in `kinds`."""
    image: Int32
    """[F] position in `Dataset.images`."""
    first: Int64
    """[F] row of the reference; -1 if there is none."""
    second: Int64
    """[F] row of the prediction; -1 if there is none."""
    weight: Float64
    """[F] how bad it is, from 0 up."""
    before: Float64 | None = None
    """[F] score of the reference, NaN if there is none; None if references have no scores."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault as the page shows it; boxes are x, y, width, height in pixels of the drawing."""

    kind: str
    names: tuple[str, ...]
    """Its category; or that of the prediction, then that of the reference."""
    score: float | None
    """The highest of its boxes; None if they have none."""
    text: str
    """Its scores and the IoU, if it has any."""
    first: tuple[float, ...] | None
    second: tuple[float, ...] | None

    @property
    def at(self) -> tuple[float, float]:
        """Where the number of the fault stands: inside of its box, at the top left."""
        x, y, *_ = self.second or self.first or (0.0, 0.0)
        return round(max(x, 0.0) + 4, 1), round(max(y, 0.0) + 15, 1)

    @property
    def style(self) -> str:
        """The class of the style sheet; kinds that it does not name look alike."""
        return {"false": "wrong"}.get(self.kind, self.kind.replace(" ", "-"))


@dataclass(frozen=True, slots=True)
class Scene:
    """An image, its faults and the boxes without one; `uri` is empty if only boxes are drawn."""

    name: str
    uri: str
    width: int
    height: int
    faults: list[Fault]
    fine: list[tuple[str, tuple[float, ...]]]
    """Style ("one" is a reference, "two" a prediction) and box."""
    remark: str


def scenes(data: Dataset, found: Findings, folder: ImageFolder | None, most: int) -> list[Scene]:
    """Draw up to `most` images: the worst of each kind in turn, an image once.

    Without `folder`, or where it lacks an image, boxes are drawn on an empty canvas of the image's
    size, or around the boxes if no input states it.
    """
    ranked = []
    for kind in range(len(found.kinds)):
        rows = found.kind == kind
        total = np.bincount(found.image[rows], found.weight[rows], minlength=len(data.images))
        some = np.flatnonzero(total)
        ranked.append(some[np.argsort(-total[some], kind="stable")[:most]].tolist())
    chosen = list(dict.fromkeys(in_turn(*ranked)))[:most]
    return [_scene(data, found, folder, image) for image in chosen]


def _scene(data: Dataset, found: Findings, folder: ImageFolder | None, image: int) -> Scene:
    faults = np.flatnonzero(found.image == image)
    faults = faults[np.argsort(-found.weight[faults], kind="stable")]
    shown = faults[:BOXES]
    references, predictions = data.references, data.predictions
    without = [
        (style, box[np.setdiff1d(np.flatnonzero(places == image), used[faults])[:BOXES]])
        for style, box, places, used in (
            ("one", references.box, references.image, found.first),
            ("two", predictions.box, predictions.image, found.second),
        )
    ]
    files = data.files[image] if data.files else ()
    size, uri, remark = _canvas(data, folder, files, image)
    scale = min(SIDE[0] / size[0], SIDE[1] / size[1])
    unit = np.tile(size, 2) if data.parts else 1.0

    def place(box: Float64) -> tuple[float, ...]:
        return drawn(box * unit, np.zeros(2), scale, SIDE)

    hidden = len(faults) - len(shown)
    facts = [remark, f"{hidden} more are not drawn" if hidden else ""]
    width, height = (max(round(float(side)), 1) for side in size * scale)
    return Scene(
        name=files[0] if files else str(data.images[image]),
        uri=uri,
        width=width,
        height=height,
        faults=[_fault(data, found, int(row), place) for row in shown],
        fine=[(style, place(box)) for style, rows in without for box in rows],
        remark="; ".join(filter(None, facts)),
    )


def _canvas(
    data: Dataset, folder: ImageFolder | None, files: Sequence[str], image: int
) -> tuple[Float64, str, str]:
    """Width and height of an image [2] in the unit of the boxes, its data URI, and a remark."""
    if folder is not None:
        try:
            file = existing(folder, files)
            picture = folder.decode(file, folder.read(file))
        except LossexportError as error:
            size, _, remark = _canvas(data, None, files, image)
            return size, "", f"{error}; {remark}" if remark else str(error)
        size = np.array([picture.width, picture.height], np.float64)
        scale = min(SIDE[0] / picture.width, SIDE[1] / picture.height, 1.0)
        small = picture.resize(
            (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1)),
            reducing_gap=3.0,
        )
        return size, data_uri(small), ""
    if data.sizes is not None and np.all(data.sizes[image] > 0):
        return data.sizes[image], "", ""
    if data.parts:
        return np.ones(2), "", "drawn on a square: no input states the size of the image"
    boxes = [side.box[side.image == image] for side in (data.references, data.predictions)]
    reach = np.concatenate([box[:, :2] + box[:, 2:4] for box in boxes]).max(axis=0, initial=1.0)
    return reach, "", "drawn around the boxes: no input states the size of the image"


def _fault(
    data: Dataset, found: Findings, row: int, place: Callable[[Float64], tuple[float, ...]]
) -> Fault:
    first, second = int(found.first[row]), int(found.second[row])
    predictions, references = data.predictions, data.references
    names = [
        data.categories[side.category[place]].name
        for side, place in ((predictions, second), (references, first))
        if place >= 0
    ]
    scores = [] if found.before is None or first < 0 else [float(found.before[row])]
    scores += [float(predictions.score[second])] if second >= 0 else []
    facts = []
    if scores:
        changed = " \N{RIGHTWARDS ARROW} ".join(f"{score:.3g}" for score in scores)
        facts.append(f"score {changed}")
    if first >= 0 and second >= 0:
        pair = predictions.box[second][None], references.box[first][None]
        facts.append(f"IoU\N{NO-BREAK SPACE}{overlap(*pair, np.zeros(1, np.bool_))[0]:.2f}")
    return Fault(
        found.kinds[found.kind[row]],
        tuple(dict.fromkeys(names)),
        max(scores, default=None),
        ", ".join(facts),
        place(references.box[first]) if first >= 0 else None,
        place(predictions.box[second]) if second >= 0 else None,
    )
