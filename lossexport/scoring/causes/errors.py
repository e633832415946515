"""Types of errors and the AP50 that each costs, by the rules of TIDE.

Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors, ECCV 2020 (arXiv
2008.08115). The numbers are those of tidecv 1.0.1, also for equal scores and overlaps: the 100
predictions of highest score of each image count, all categories together, and AP50 is the mean
over all categories that have a reference or a prediction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec.structs import replace

from lossexport.boxes.boxset import Bool, Dataset, Float64, Int8, Int32, Int64
from lossexport.boxes.pairs import assign, every_pair, find_pairs, ranks, sort_boxes
from lossexport.runtime.pairs import Boxes
from lossexport.scoring.causes.record import (
    Diagnosis,
    Finding,
    PageTable,
    Table,
    average_precision,
    shown,
)
from lossexport.scoring.record import Run

FOREGROUND, BACKGROUND = 0.5, 0.1
"""Overlaps from which a box is found, and up to which it is on the background."""
MOST = 100
"""Predictions of an image that count."""
RECALLS: Float64 = np.arange(101) / 100

CAUSES = {
    "classification": "on a reference of another category",
    "localization": "on a reference of its category, but too loose",
    "both": "neither the category nor the place is right",
    "duplicate": "on a reference that a better prediction has",
    "background": "on no reference",
    "missed": "a reference that no prediction of the first two types is on",
}
"""Type of an error and what it means."""
CLASSIFICATION, LOCALIZATION, BOTH, DUPLICATE, NOTHING, MISSED = range(len(CAUSES))
FOUND, IGNORED = -1, -2
SPECIAL = {
    "false_positive": "all wrong predictions behind the right ones",
    "false_negative": "no reference missed",
}


@dataclass(frozen=True, slots=True)
class Errors:
    """The errors of the n predictions that count and of the m references that are not ignored.

    Predictions are by image and falling score, references as in the file.
    """

    pred: Int64
    """[n] row of each prediction."""
    ref: Int64
    """[m] row of each reference."""
    kind: Int8
    """[n] position in CAUSES; FOUND for a prediction that is right."""
    ignored: Bool
    """[n] whether a prediction is in an ignored region: an error, but in no precision."""
    target: Int64
    """[n] the reference, as position in `ref`, that the prediction has or that its error is about;
    -1 without one."""
    iou: Float64
    """[n] the overlap with it; 0 without one."""
    mended: Bool
    """[n] whether the prediction would be right without its error."""
    missed: Bool
    """[m] whether nothing but a new prediction would find the reference."""
    free: Bool
    """[m] whether no prediction is matched with the reference."""


def classify(data: Dataset) -> Errors:
    """Give each wrong prediction and each missed reference its type."""
    predictions, references = data.predictions, data.references
    by_image = np.lexsort((-predictions.score, predictions.image))
    rows = by_image[ranks(predictions.image[by_image].astype(np.int64)) < MOST]
    counted = np.flatnonzero(~references.ignored)
    pred = predictions.take(rows)
    matched = _match(replace(data, predictions=pred, references=references.take(counted)))
    ref = references.take(counted)
    used = np.zeros(len(ref), np.bool_)
    used[matched[matched >= 0]] = True
    ignored = _in_ignored(data, rows) & (matched < 0)

    best = _Best.of(len(pred)), _Best.of(len(pred)), _Best.of(len(pred))
    by_place = np.argsort(ref.image, kind="stable")
    places = Boxes(ref.box, by_place, ref.image[by_place].astype(np.int64))
    own = Boxes(pred.box, np.arange(len(pred)), pred.image.astype(np.int64))
    for piece in every_pair(own, places, np.zeros(len(ref), np.bool_), BACKGROUND):
        at = by_place[piece.ref]
        same = pred.category[piece.pred] == ref.category[at]
        for one, mask in zip(best, (same, ~same, same & used[at]), strict=True):
            one.take(piece.pred[mask], at[mask], piece.iou[mask])
    same_class, other_class, taken = best

    kind = np.select(
        [
            matched >= 0,
            (same_class.iou >= BACKGROUND) & (same_class.iou <= FOREGROUND),
            other_class.iou >= FOREGROUND,
            taken.iou >= FOREGROUND,
            np.maximum(same_class.iou, other_class.iou) <= BACKGROUND,
        ],
        [FOUND, LOCALIZATION, CLASSIFICATION, DUPLICATE, NOTHING],
        BOTH,
    ).astype(np.int8)
    target, iou = np.full(len(pred), -1), np.zeros(len(pred))
    for which, one in (
        (LOCALIZATION, same_class),
        (CLASSIFICATION, other_class),
        (DUPLICATE, taken),
    ):
        here = kind == which
        target[here], iou[here] = one.ref[here], one.iou[here]
    # Of all predictions that would find a reference without their error, only the best one would.
    may = np.flatnonzero((kind == LOCALIZATION) | (kind == CLASSIFICATION))
    may = may[~used[target[may]]]
    wanted, first = np.unique(target[may], return_index=True)
    mended = np.zeros(len(pred), np.bool_)
    mended[may[first]] = True
    missed = ~used
    missed[wanted] = False
    hit = matched >= 0
    target[hit], iou[hit] = matched[hit], same_class.iou[hit]
    return Errors(rows, counted, kind, ignored, target, iou, mended, missed, ~used)


def _match(data: Dataset) -> Int64:
    """The reference of each prediction [n], or -1; none of the references is ignored.

    Of references with the same overlap the first is taken, where COCO takes the last.
    """
    last = len(data.references) - 1
    reverse = replace(data, references=data.references.take(np.arange(last, -1, -1)))
    order = sort_boxes(reverse)
    found = find_pairs(reverse, order, FOREGROUND)
    none = np.zeros(last + 1, np.bool_)
    matched = np.full(len(data.predictions), -1)
    for places, winner in assign(found, order, none, none[:, None], np.array([FOREGROUND])):
        won = winner[:, 0, 0]
        hit = won >= 0
        matched[order.pred[places[hit]]] = last - order.ref[found.ref[won[hit]]]
    return matched


def _in_ignored(data: Dataset, rows: Int64) -> Bool:
    """[n] whether more than half of each prediction is in an ignored region of its category."""
    references = data.references
    regions = np.flatnonzero(references.ignored)
    regions = regions[np.argsort(references.image[regions], kind="stable")]
    inside = np.zeros(len(rows), np.bool_)
    if not len(regions):
        return inside
    image = data.predictions.image[rows].astype(np.int64)
    pred = Boxes(data.predictions.box, rows, image)
    places = Boxes(references.box, regions, references.image[regions].astype(np.int64))
    any_class = references.any_class
    for piece in every_pair(pred, places, np.ones(len(regions), np.bool_), FOREGROUND):
        row = regions[piece.ref]
        fits = data.predictions.category[rows[piece.pred]] == references.category[row]
        if any_class is not None:
            fits |= any_class[row]
        inside[piece.pred[fits & (piece.iou > FOREGROUND)]] = True
    return inside


@dataclass(frozen=True, slots=True)
class _Best:
    """The highest overlap of each prediction or 0, and the first reference that has it."""

    iou: Float64
    ref: Int64

    @classmethod
    def of(cls, size: int) -> "_Best":
        return cls(np.zeros(size), np.full(size, -1))

    def take(self, pred: Int32, ref: Int64, iou: Float64) -> None:
        """Pairs by prediction, of which each has all of its pairs here."""
        if not len(pred):
            return
        start = np.flatnonzero(np.diff(pred, prepend=-1))
        most = np.maximum.reduceat(iou, start)
        size = np.diff(start, append=len(pred))
        first = np.where(iou == np.repeat(most, size), ref, np.iinfo(np.int64).max)
        self.iou[pred[start]] = most
        self.ref[pred[start]] = np.minimum.reduceat(first, start)


@dataclass(frozen=True, slots=True)
class Charges:
    """What the costs are made of: the n predictions that count, and the references of K categories.

    Predictions are by image and falling score.
    """

    category: Int32
    """[n]"""
    score: Float64
    """[n]"""
    kind: Int8
    """[n] as in `Errors`."""
    ignored: Bool
    """[n] as in `Errors`."""
    mended: Bool
    """[n] as in `Errors`."""
    meant: Int32
    """[n] the category that a mended prediction would have."""
    references: Int64
    """[K] those that are not ignored."""
    missed: Int64
    """[K] those that nothing but a new prediction would find."""
    free: Int64
    """[K] those that no prediction is matched with."""

    @classmethod
    def of(cls, data: Dataset, errors: Errors) -> "Charges":
        """From the boxes."""
        size = len(data.categories)
        references = data.references.category[errors.ref]
        meant = np.full(len(errors.pred), -1, np.int32)
        meant[errors.mended] = references[errors.target[errors.mended]]
        return cls(
            data.predictions.category[errors.pred],
            data.predictions.score[errors.pred],
            errors.kind,
            errors.ignored,
            errors.mended,
            meant,
            np.bincount(references, minlength=size),
            np.bincount(references[errors.missed], minlength=size),
            np.bincount(references[errors.free], minlength=size),
        )

    def numbers(self) -> dict[str, Any]:
        """The keys of the summary."""
        base, gain = self.costs()
        count = np.bincount(self.kind[self.kind >= 0], minlength=len(CAUSES))
        count[MISSED] = self.missed.sum()
        return {
            "errors": dict(zip(CAUSES, count.tolist(), strict=True)),
            "dAP": {"AP50": base, **gain},
        }

    def costs(self) -> tuple[float | None, dict[str, float | None]]:
        """AP50 and how far it would rise without each type of errors; None without any box."""
        category, score, positives = self.category, self.score, self.references
        right, counted = self.kind == FOUND, ~self.ignored
        processed = np.arange(len(score))
        rows = processed[counted], category[counted], right[counted], score[counted]
        base = _ap50(*rows, positives)
        if base is None:
            return None, dict.fromkeys((*CAUSES, *SPECIAL))
        found: dict[str, float | None] = {}
        # Of equal scores those that are wrong come first, as in tidecv once it has mended any.
        turn = np.where(right, len(score) + processed, processed)
        for which, name in enumerate(CAUSES):
            here = self.kind == which
            mended = here & self.mended
            keep = (counted & ~here) | mended
            kinds = np.where(mended, self.meant, category)[keep]
            wanted = positives - self.missed if which == MISSED else positives
            found[name] = _ap50(turn[keep], kinds, (right | mended)[keep], score[keep], wanted)
        rows = turn[counted], category[counted], right[counted], score[counted]
        found["false_positive"] = _ap50(*rows[:3], right[counted].astype(np.float64), positives)
        found["false_negative"] = _ap50(*rows, positives - self.free)
        rise = {name: None if value is None else value - base for name, value in found.items()}
        return base, {
            name: max(value, 0.0) if name in CAUSES and value is not None else value
            for name, value in rise.items()
        }


def _ap50(
    turn: Int64, category: Int32, true: Bool, score: Float64, positives: Int64
) -> float | None:
    """AP50 of predictions by falling score and, for equal scores, rising `turn`; None without any.

    `positives` [K] are the references of each category.
    """
    some = (np.bincount(category, minlength=len(positives)) > 0) | (positives > 0)
    if not some.any():
        return None
    order = np.lexsort((turn, -score, category))
    category, true = category[order], true[order]
    hits, of = ranks(category.astype(np.int64))[true], category[true]
    bounds = np.searchsorted(of, np.arange(len(positives) + 1))
    total = 0.0
    for k in np.unique(of).tolist():
        own = hits[bounds[k] : bounds[k + 1]]
        total += average_precision(own, int(positives[k]), RECALLS)
    return total / int(np.count_nonzero(some))


def find(run: Run, _: Mapping[str, Any]) -> Finding:
    """Count the errors of each type and what they cost."""
    errors = classify(run.data)
    found = Charges.of(run.data, errors).numbers()
    counts, gain = found["errors"], found["dAP"]
    rows = [(name, CAUSES[name], f"{counts[name]:,}", shown(gain[name], 4)) for name in CAUSES] + [
        (name.replace("_", " "), SPECIAL[name], "", shown(gain[name], 4)) for name in SPECIAL
    ]
    return Finding(
        found,
        PageTable(("Error", "Meaning", "Count", "AP50 that it costs"), rows, texts=(1,)),
        _table(run.data, errors),
    )


def _table(data: Dataset, errors: Errors) -> Table:
    """One row for each wrong prediction, then one for each missed reference."""
    wrong = np.flatnonzero(errors.kind >= 0)
    lost = errors.ref[errors.missed]
    names = np.array([*CAUSES], object)
    none = np.full(len(lost), -1)
    pred = np.concatenate([errors.pred[wrong], none])
    target = errors.target[wrong]
    about = np.full(len(wrong), -1)
    about[target >= 0] = errors.ref[target[target >= 0]]
    ref = np.concatenate([about, lost])
    iou = np.concatenate([errors.iou[wrong], np.zeros(len(lost))])
    score = np.concatenate([data.predictions.score[errors.pred[wrong]], np.zeros(len(lost))])
    kind = np.concatenate([errors.kind[wrong], np.full(len(lost), MISSED, np.int8)])
    sides = data.predictions, data.references
    image, category = (
        np.concatenate([getattr(sides[0], name)[errors.pred[wrong]], getattr(sides[1], name)[lost]])
        for name in ("image", "category")
    )
    pairless = (ref < 0) | (pred < 0)
    return Table(
        {
            "pred_index": "int64",
            "ref_index": "int64",
            "score": "double",
            "iou": "double",
            "error": "string",
        },
        {
            "pred_index": (pred, pred < 0),
            "ref_index": (ref, ref < 0),
            "score": (score, pred < 0),
            "iou": (iou, pairless),
            "error": (names[kind], None),
        },
        image,
        category,
    )


ERRORS = Diagnosis(
    name="errors",
    title="Errors by type",
    caption="TIDE, at an IoU of 0.5, with the 100 best predictions of each image. A cost is the "
    "rise of AP50 if errors of this type alone were mended; costs do not add up.",
    find=find,
    gates=(
        *(f"errors_{name}" for name in CAUSES),
        *(f"dAP_{name}" for name in ("AP50", *CAUSES, *SPECIAL)),
    ),
)
