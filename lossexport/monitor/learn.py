"""`calibrate`: learns from a labelled sample how often boxes of a detector are correct."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import lossexport
from lossexport import arguments, formats
from lossexport.boxes import matching, pairs
from lossexport.boxes.boxset import Bool, Dataset, Float64, Int64
from lossexport.errors import LossexportError
from lossexport.files import check_folder
from lossexport.formats.memory import Detections, given
from lossexport.monitor import drift
from lossexport.monitor.calibration import (
    MAX_CATEGORIES,
    VERSION,
    Calibration,
    Histogram,
    Kind,
    Replica,
    Source,
    rounded,
)
from lossexport.monitor.curve import SIZES, Cells, Curve, codes, fit
from lossexport.monitor.numbers import pooled_ap, tally
from lossexport.names import MatchBy
from lossexport.progress import Progress, follow

IOU = 0.5
STEPS = 256
"""Steps of the curve, half of them by the scores of all boxes, half by those that match."""
LEAST_IMAGES = 20
MAX_BOXES = 5_000_000
REPLICAS = 100
_SEED = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """The boxes of a sample that are correct or not, without those on ignored references."""

    images: int
    kinds: int
    image: Int64
    """[n]"""
    kind: Int64
    """[n]"""
    side: Float64
    """[n] square root of the area."""
    score: Float64
    """[n]"""
    correct: Bool
    """[n]"""
    objects: Int64
    """[images] references that count."""


def calibrate(
    pred: str | os.PathLike[str] | Detections,
    ref: str | os.PathLike[str] | Detections,
    out: str | os.PathLike[str] | None = None,
    *,
    format: str = "coco",
    pred_format: str | None = None,
    ref_format: str | None = None,
    match_by: MatchBy | None = None,
    detector: str | None = None,
    threshold: float = 0.25,
    replicas: int = REPLICAS,
    progress: bool | Progress = False,
) -> Calibration:
    """Learn how often the boxes of a detector are correct, for `Watch` and `lossexport watch`.

    `pred` and `ref` are those of `lossexport.score`, with at least 20 images; `pred` should have
    all boxes of the detector, also those of low score. A box is correct if it has a partner at an
    IoU of 0.5, by the matching of `score`. The probability depends on the score, the category and
    the size of the box. It is learned `replicas` times (2 to 1000), each time from images drawn
    with replacement: their mean is the estimate, and the images that a replica did not see show how
    far it is off. `threshold` is the score from which on boxes count for the precision, and for the
    histograms by which drift is found. `detector` is a name to be checked later.

    With `out`, the calibration is written to that JSON file, all or nothing. Raises LossexportError
    on a bad argument or input, naming the file, the field and the value.
    """
    inputs = given("pred", pred), given("ref", ref)
    where = arguments.optional_path("out", out)
    if where is not None:
        check_folder(where.parent)
    threshold = arguments.finite("threshold", threshold)
    if detector is not None and not 0 < len(arguments.text("detector", detector)) <= 4096:
        raise arguments.refuse("detector", detector, "a name of 1 to 4096 letters")
    if type(replicas) is not int or not 2 <= replicas <= 1000:
        raise arguments.refuse("replicas", replicas, "a whole number from 2 to 1000")
    pred_format, ref_format = formats.of_both(format, pred_format, ref_format)
    with follow(progress, "calibrating") as tell:
        data = formats.read(
            inputs[0],
            inputs[1],
            pred_format,
            lambda step: partial(tell, step),
            ref_format=ref_format,
            match_by=match_by,
        )
        name = data.inputs["pred"].name
        _check(data, name)
        sample = _sample(data)
        if not sample.correct.any():
            raise LossexportError(
                f"{name}: none of its {len(sample.score)} boxes matches a reference: lossexport "
                "score names likely causes"
            )
        found = _learn(sample, threshold, replicas, partial(tell, "learning"))
        calibration = Calibration(
            version=VERSION,
            generator=f"lossexport {lossexport.__version__}",
            detector=detector,
            categories=[Kind(id=kind.id, name=kind.name) for kind in data.categories],
            inputs={
                "pred": Source(name=name, sha256=data.inputs["pred"].sha256),
                "ref": Source(name=data.inputs["ref"].name, sha256=data.inputs["ref"].sha256),
            },
            **found,
        )
        if where is not None:
            calibration.save(where)
    return calibration


def _check(data: Dataset, name: str) -> None:
    if data.parts:
        raise LossexportError(
            f"{name}: boxes are in parts of the image, whose size is not known: give references "
            "with the width and height of each image"
        )
    if len(data.images) < LEAST_IMAGES:
        raise LossexportError(f"{name}: not enough images: {len(data.images)} of {LEAST_IMAGES}")
    for what, number, most in (
        ("boxes", len(data.predictions), MAX_BOXES),
        ("categories", len(data.categories), MAX_CATEGORIES),
    ):
        if number > most:
            raise LossexportError(f"{name}: {number} {what}, more than the limit of {most}")


def _sample(data: Dataset) -> Sample:
    order = pairs.sort_boxes(data)
    found = pairs.find_pairs(data, order, IOU)
    status = matching.match(data, order, found, IOU).status
    kept = np.flatnonzero(status != matching.IGNORED)
    predictions, references = data.predictions.take(kept), data.references
    return Sample(
        len(data.images),
        len(data.categories),
        predictions.image.astype(np.int64),
        predictions.category.astype(np.int64),
        sides(predictions.box),
        predictions.score,
        status[kept] == matching.MATCHED,
        np.bincount(references.image[~references.ignored], minlength=len(data.images)),
    )


def sides(box: Float64) -> Float64:
    """Square roots [n] of the areas of boxes x, y, width, height; 0 of an inverted one."""
    size = np.maximum(box[:, 2:], 0)
    root: Float64 = np.sqrt(size[:, 0] * size[:, 1])
    return root


def _learn(
    sample: Sample, threshold: float, replicas: int, tell: Callable[[float], None]
) -> dict[str, Any]:
    """The fields of the calibration that follow from the sample."""
    score, right = sample.score, sample.correct
    counted = score >= threshold
    limits = _steps(score, right, threshold)
    size_limits = np.quantile(sample.side[right], np.arange(1, SIZES) / SIZES)
    code = codes(
        drift.place(score, limits), sample.kind, drift.place(sample.side, size_limits), sample.kinds
    )
    distinct, cell = np.unique(code, return_inverse=True)
    cells = Cells.of(distinct, sample.kinds)
    weights = _weights(sample.images, replicas)
    curves, honest = _fit_all(sample, cells, cell, weights, len(limits) + 1, tell)

    def per_image(values: Float64 | Bool) -> Float64:
        return tally(sample.image, values, sample.images)

    missed = sample.objects - per_image(right)
    variance = honest * (1 - honest)
    causes = np.stack([np.ones(sample.images), per_image(honest), per_image(variance)], 1)
    every = _misses(causes, missed, np.ones(sample.images))
    at_threshold = counted.astype(np.float64)
    precision = float(right[counted].mean()) if counted.any() else None
    return {
        "threshold": threshold,
        "images": sample.images,
        "boxes": len(score),
        "boxes_at_threshold": int(counted.sum()),
        "references": int(sample.objects.sum()),
        "precision": precision,
        "ap50": pooled_ap(score, right, int(sample.objects.sum())),
        "score_limits": limits.tolist(),
        "size_limits": size_limits.tolist(),
        "replicas": [
            Replica(
                step=rounded(curve.step),
                kind=rounded(curve.kind),
                size=rounded(curve.size),
                misses=rounded(_misses(causes, missed, weight)),
            )
            for curve, weight in zip(curves, weights, strict=True)
        ],
        "dispersion": _dispersion(per_image(right - honest), variance),
        "dispersion_at_threshold": _dispersion(
            per_image((right - honest) * at_threshold), variance * at_threshold
        ),
        "missed_deviation": float(np.std(missed - causes @ every)),
        "histograms": _histograms(sample, counted),
    }


def _steps(score: Float64, correct: Bool, threshold: float) -> Float64:
    """Scores [s] at which the curve may rise; the threshold is one."""
    parts = np.linspace(0, 1, STEPS // 2 + 1)[1:-1]
    limits = [np.quantile(score, parts), np.quantile(score[correct], parts)]
    return np.unique(np.concatenate([*limits, [threshold]]))


def _weights(images: int, replicas: int) -> Float64:
    """[B,images] how often each image is drawn for each replica."""
    draw = np.random.default_rng(_SEED).integers
    found = [np.bincount(draw(0, images, images), minlength=images) for _ in range(replicas)]
    return np.array(found, np.float64)


def _fit_all(
    sample: Sample,
    cells: Cells,
    cell: Int64,
    weights: Float64,
    steps: int,
    tell: Callable[[float], None],
) -> tuple[list[Curve], Float64]:
    """The curve of each replica, and for each box [n] the mean of those that did not see it.

    `cell` [n] is the cell of each box.
    """
    number = len(cells.step)
    total, seen = np.zeros(len(cell)), np.zeros(len(cell))
    curves = []
    for done, weight in enumerate(weights, 1):
        own = weight[sample.image]
        count, correct = (tally(cell, w, number) for w in (own, own * sample.correct))
        curve = fit(cells, count, correct, steps, sample.kinds)
        unseen = own == 0
        total[unseen] += curve.at(cells)[cell[unseen]]
        seen += unseen
        curves.append(curve)
        tell(done / len(weights))
    # With few replicas, an image may have been drawn for each.
    whole: Float64 = np.stack([curve.at(cells) for curve in curves]).mean(0)
    total[seen == 0] = whole[cell[seen == 0]]
    honest: Float64 = total / np.maximum(seen, 1)
    return curves, honest


def _misses(causes: Float64, missed: Float64, weight: Float64) -> Float64:
    """Coefficients [3] of a linear fit of the objects that an image misses."""
    weighted = causes * weight[:, None]
    ridge = 1e-3 * len(causes) * np.eye(3)
    solved = np.linalg.solve(weighted.T @ causes + ridge, weighted.T @ missed)
    return solved.astype(np.float64, copy=False)


def _dispersion(residual: Float64, variance: Float64) -> float:
    """How many times more `residual` [images] vary than independent boxes of this variance."""
    return float(max(1.0, np.square(residual).sum() / max(variance.sum(), 1e-9)))


def _histograms(sample: Sample, counted: Bool) -> dict[drift.Part, Histogram]:
    image = sample.image[counted]
    count = np.bincount(image, minlength=sample.images)
    # Of the counts, each image is one.
    values = {
        "score": (image, sample.score[counted]),
        "size": (image, sample.side[counted]),
        "count": (np.arange(sample.images), count.astype(np.float64)),
    }
    classes = drift.Tally.empty(sample.kinds)
    classes.add(image, sample.kind[counted])
    found: dict[drift.Part, Histogram] = {"class": Histogram.of(np.empty(0), classes)}
    for part in drift.PARTS:
        if part == "class":
            continue
        own, value = values[part]
        limits = drift.edges(value)
        tally = drift.Tally.empty(len(limits) + 1)
        tally.add(own, drift.place(value, limits))
        found[part] = Histogram.of(limits, tally)
    return found
