"""The evaluator: scores detections in memory, image by image, shard by shard."""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from html import escape
from typing import Any

from lossexport.boxes.assemble import plural
from lossexport.boxes.boxset import Id
from lossexport.boxes.columns import ID, plain_id
from lossexport.boxes.matching import check_iou_threshold
from lossexport.boxes.quality import BoxQuality
from lossexport.boxes.side import Side
from lossexport.errors import LossexportError, shown
from lossexport.evaluator import chunk, wire
from lossexport.evaluator.frame import NOT_LISTED, Frame
from lossexport.evaluator.layout import Kept
from lossexport.evaluator.state import (
    CATEGORY_NUMBER,
    CATEGORY_TEXT,
    IMAGE_NUMBER,
    IMAGE_TEXT,
    State,
    parse_categories,
)
from lossexport.evaluator.totals import Totals, check_kept
from lossexport.formats.memory import Detections, all_texts, side_in_memory
from lossexport.names import COCO_NUMBERS, METRIC_TITLES
from lossexport.scoring.extras import Extras

_OF_CATEGORIES = CATEGORY_NUMBER | CATEGORY_TEXT


class Evaluator:
    """Scores detections in memory; the numbers are those of `lossexport.score`, to the last bit.

    Neither the split into updates nor their order, nor that of merges, changes any number. Equal
    scores are ordered by the id of the image, then as their rows were given. All predictions and
    references of an image belong into one update, and each image into one shard: an image that was
    seen before is refused by `update`, `update_image` and `merge`.

    A call that raises leaves the evaluator as it was.
    """

    def __init__(
        self,
        iou_threshold: float = 0.5,
        backend: str | None = None,
        categories: Mapping[Any, str] | Iterable[Any] | None = None,
        *,
        explain: bool = False,
        size_grid: Sequence[float] = (),
    ) -> None:
        """Start with no image.

        Boxes are matched at `iou_threshold`, in (0, 1]. `backend` computes IoU, GIoU, DIoU and CIoU
        of the matched pairs in `compute`; None is the best one here. `categories` are all that
        there are: a mapping of ids to names, a list of ids, or a list of COCO's categories. Boxes
        of others are then refused. With None any category counts, by its id.

        `explain` keeps what `compute(explain=True)` needs, 9 bytes more for each prediction, and
        `size_grid`, rising sides in pixels, what `compute(size_grid=...)` needs of the same sides.

        Raises LossexportError on a bad argument, and if `backend` cannot run here.
        """
        threshold = check_iou_threshold(iou_threshold)
        self._backend = backend
        self._measure = None if backend is None else BoxQuality(backend)
        closed, self._spelled = parse_categories(categories)
        sizes = Extras.of(size_grid=size_grid).sizes
        self._state = State(threshold, closed, self._spelled, Kept(bool(explain), sizes))

    def update(self, predictions: Detections, references: Detections) -> None:
        """Add images with all their boxes.

        Both are columns (a mapping of arrays of NumPy, PyTorch or DLPack, or an Arrow table) or a
        list of COCO rows: `image_id` [n] and `category_id` [n] (whole numbers or texts), `bbox`
        [n,4] (x, y, width, height) or `box` [n,4] (x1, y1, x2, y2), `score` [n] (predictions).
        Oriented boxes are `rbox` [n,5] (cx, cy, w, h, radians), in all updates or in none.
        Optional are `log_variance` [n,4] (predictions; NaN for a row without one) and, of
        references, `iscrowd` [n], `area` [n] (NaN stands for width x height), `id` [n] (0 is never
        matched in AP and AR, as in pycocotools) and `images`, a mapping whose ids also count where
        an image has no box. Units are pixels.

        Raises LossexportError, naming the column and the row, on columns that are missing, of other
        shapes, types or lengths, on values that are not finite, on unknown categories if
        `categories` were given, and naming the image if it was seen before.
        """
        pred = side_in_memory("predictions", predictions, scored=True)
        ref = side_in_memory("references", references, scored=False)
        for side in (pred, ref):
            if side.categories.rows is not None:
                raise LossexportError(
                    f"{side.path}: categories are those of the evaluator: Evaluator(categories=...)"
                )
            self._refuse_unlisted(side)
        self._state.add_sides(pred, ref)

    def _refuse_unlisted(self, side: Side) -> None:
        if self._state.categories is None:
            return
        codes = side.boxes.peek_codes()[1]
        for code, value in enumerate(side.categories.ids.ids):
            if value not in self._state.table:
                row = int((codes == code).argmax())
                raise LossexportError(
                    f"{side.path}: category_id[{row}] is {shown(value)}: {NOT_LISTED}"
                )

    def update_image(
        self,
        image_id: Id,
        boxes: Any,
        scores: Any,
        labels: Any,
        ref_boxes: Any,
        ref_labels: Any,
        *,
        ref_iscrowd: Any = None,
        ref_area: Any = None,
        log_variance: Any = None,
    ) -> None:
        """Add one image: `boxes` [n,4] (x1, y1, x2, y2), `scores` [n], `labels` [n] (category ids),
        and its references `ref_boxes` [m,4], `ref_labels` [m]; arrays or lists, also empty ones.
        Oriented boxes are [n,5] and [m,5]: cx, cy, w, h and a clockwise angle in radians.

        Optional are `ref_iscrowd` [m], `ref_area` [m] and `log_variance` [n,4], as for `update`.
        What is given is copied, so its memory may be used again. Raises LossexportError as
        `update` does.
        """
        raw = image_id
        if hasattr(image_id, "item"):
            with suppress(Exception):  # an array of several; the value's own code
                raw = image_id.item()
        plain = isinstance(raw, int | float | str) and not isinstance(raw, bool)
        value = plain_id(raw) if plain else None
        if value is None or (isinstance(value, str) and not chunk.encodes(value)):
            raise LossexportError(f"image_id is {shown(image_id)}: {ID}")
        state = self._state
        open_ = state.categories is None
        found = Frame(value, state.table, closed=not open_, oriented=True).chunk(
            (boxes, scores, labels, ref_boxes, ref_labels), ref_iscrowd, ref_area, log_variance
        )
        spelled = IMAGE_TEXT if isinstance(raw, str) else IMAGE_NUMBER
        if open_ and len(found.references):
            spelled |= CATEGORY_TEXT if all_texts(ref_labels) else CATEGORY_NUMBER
        state.add(found, spelled)

    def compute(
        self,
        *,
        explain: bool = False,
        at_precision: float | None = None,
        at_recall: float | None = None,
        slices: str | os.PathLike[str] | Mapping[str, Sequence[int | str]] | None = None,
        size_grid: Sequence[float] = (),
        bootstrap: int | None = None,
        seed: int = 0,
    ) -> dict[str, Any]:
        """The numbers of the `summary.json` of `score`, from all images so far.

        Without `inputs`, `notes` and `gates`, which are about files and limits. The arguments are
        those of `score`: `explain` adds causes of errors, `at_precision` and `at_recall` add cuts
        of the score, `slices` (a mapping of names to ids of images, or a CSV file with a column
        image_id) the numbers of parts of the images, `size_grid` those of ranges of sizes, and
        `bootstrap` the intervals of so many draws by `seed`. More images may be added afterwards.

        Raises LossexportError on a bad argument, on `explain` and on a `size_grid` that the
        evaluator was not made with, and if no backend can run here.
        """
        extras = Extras.of(
            explain=explain,
            at_precision=at_precision,
            at_recall=at_recall,
            slices=slices,
            size_grid=size_grid,
            bootstrap=bootstrap,
            seed=seed,
        )
        check_kept(self._state.kept, extras)
        found = self._totals()
        return found.summary(extras, extras.read(None, "", found.results))

    def _totals(self) -> Totals:
        """All images so far. Raises LossexportError if no backend can run here."""
        if self._measure is None:
            self._measure = BoxQuality(self._backend)
        return Totals.of(self._state, self._measure, self._backend)

    def merge(self, other: "Evaluator") -> None:
        """Add the images of another evaluator, which is left as it is.

        Raises LossexportError if its settings differ, and on an image that both have.
        """
        if not isinstance(other, Evaluator):
            raise LossexportError(f"other is {shown(other)}: an Evaluator is expected")
        self._state.merge(other._state)

    def to_bytes(self) -> bytes:
        """All that was seen, with the settings but the backend.

        Evaluators of the same images have the same bytes. There are 23 of them for each prediction,
        24 more if it is matched (28 if boxes are oriented) and 24 more if it has a log variance, 5
        for each reference, about 16 for each image, and some for each category.
        """
        return wire.to_bytes(self._state)

    @classmethod
    def from_bytes(
        cls, data: bytes | bytearray | memoryview, backend: str | None = None
    ) -> "Evaluator":
        """The evaluator that `to_bytes` wrote, with a `backend` of its own.

        The bytes need not be trusted: nothing in them is run, and no more memory is taken than a
        few times their length. Raises LossexportError on bytes that are damaged or of another
        version.
        """
        state = wire.from_bytes(data)
        found = cls(state.threshold, backend)
        found._state = state
        found._spelled = 0 if state.categories is None else state.spelled & _OF_CATEGORIES
        return found

    def reset(self) -> None:
        """Forget all images; the settings stay."""
        state = self._state
        self._state = State(state.threshold, state.categories, self._spelled, state.kept)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._state.images)

    def __repr__(self) -> str:
        """The settings and the number of images."""
        state = self._state
        return (
            f"<Evaluator at IoU {state.threshold:g}: {plural(len(state.images), 'image')}, "
            f"{plural(state.predictions, 'prediction')}, {plural(state.references, 'reference')}>"
        )

    def _repr_html_(self) -> str:
        """The summary as a table, for notebooks."""
        summary = self.compute()
        rows = [(name, summary[name]) for name in COCO_NUMBERS]
        rows += [(name, summary[name]) for name in ("precision", "recall", "f1")]
        metrics = {m: title for m, title in METRIC_TITLES.items() if m in summary}
        rows += [(f"{title}, mean", summary[m]["mean"]) for m, title in metrics.items()]
        cells = "".join(
            f"<tr><th>{escape(name)}</th><td>{_shown(value)}</td></tr>" for name, value in rows
        )
        return f"<table><caption>{escape(repr(self)[1:-1])}</caption>{cells}</table>"


def _shown(value: float | None) -> str:
    return "-" if value is None or value == -1 else f"{value:.4f}"
