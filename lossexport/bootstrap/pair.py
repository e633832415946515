"""`score_pair`: two results on the same references, and whether their difference is more than luck.

Both are counted under the same draws, so that what makes an image hard for both drops out.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from lossexport import arguments, formats
from lossexport.bootstrap.coco import CATEGORY_NUMBERS
from lossexport.bootstrap.draws import Draws, symmetric
from lossexport.bootstrap.scored import Sample
from lossexport.boxes.boxset import Float64, Int32, Int64
from lossexport.boxes.gates import Gates, value_of
from lossexport.boxes.matching import check_iou_threshold
from lossexport.boxes.quality import BoxQuality
from lossexport.errors import LossexportError
from lossexport.evaluator import Evaluator
from lossexport.evaluator.pair import Scored, sides_of
from lossexport.files import appear_together
from lossexport.formats.memory import Detections, given
from lossexport.names import Extra, MatchBy
from lossexport.progress import Progress, follow
from lossexport.reports.output import check_summary_folder, write_summary
from lossexport.scoring.run import evaluate
from lossexport.scoring.summary import INTERVALS, summarize

SCHEMA_VERSION = 1
DRAWS = 1000
SIDES = ("a", "b")


def score_pair(
    a: str | os.PathLike[str] | Detections | Evaluator,
    b: str | os.PathLike[str] | Detections | Evaluator,
    ref: str | os.PathLike[str] | Detections | None = None,
    *,
    format: str = "coco",
    pred_format: str | None = None,
    ref_format: str | None = None,
    match_by: MatchBy | None = None,
    extra_categories: Extra = "count",
    iou_threshold: float = 0.5,
    backend: str | None = None,
    out: str | os.PathLike[str] | None = None,
    fail_below: Mapping[str, float] | None = None,
    fail_above: Mapping[str, float] | None = None,
    bootstrap: int = DRAWS,
    seed: int = 0,
    progress: bool | Progress = False,
) -> dict[str, Any]:
    """Score the results `a` and `b` on the same references and return how they differ.

    The arguments are those of `score`; both results are in `pred_format`. The summary has under
    `a` and `b` the numbers of each, and under `differences`, for each number that gets an interval,
    the values `a` and `b`, their `difference` (b - a), the ends `lower` and `upper` of its 95 %
    interval, its `standard_error`, `better`, the share of draws in which that of `b` is higher, and
    the number of `draws` in which both are defined. `categories` has the same of the AP of each.
    Both are counted in the same draws of images.

    `a` and `b` may also be two evaluators, which have seen the same references; no `ref` and none
    of the arguments that are about reading are given then.

    Gates are on the difference: `fail_below={"AP.lower": -0.005}` asks that `b` be not worse by
    more than half a point, at 95 %. With `out`, `summary.json` is written to that folder.

    Raises LossexportError as `score` does, and on an `.onnx` detector.
    """
    draws = Draws.checked(bootstrap, seed)
    gates = Gates(INTERVALS, fail_below, fail_above, bounded=INTERVALS)
    folder = arguments.optional_path("out", out)
    if folder is not None:
        check_summary_folder(folder)
    reading: dict[str, Any] = {
        "format": format,
        "pred_format": pred_format,
        "ref_format": ref_format,
        "match_by": match_by,
        "extra_categories": extra_categories,
        "iou_threshold": iou_threshold,
        "backend": backend,
    }
    with follow(progress, "scoring") as tell:
        if isinstance(a, Evaluator) or isinstance(b, Evaluator):
            _refuse_reading(ref, reading)
            sides = sides_of(a, b)
        else:
            sides = _read(a, b, ref, tell, **reading)
        summary = compared(sides, draws, tell)
        view = _as_numbers(summary["differences"])
        gates.apply(view)
        summary |= {name: view[name] for name in ("gates", "gate_failures")}
        if folder is not None:
            with appear_together(folder) as stage:
                write_summary(stage, summary)
    return summary


def _refuse_reading(ref: object, reading: Mapping[str, Any]) -> None:
    """Evaluators have read all that they compare."""
    defaults = signature(score_pair).parameters
    used = [name for name, value in reading.items() if value != defaults[name].default]
    if ref is not None:
        used.insert(0, "ref")
    if used:
        raise LossexportError(f"{used[0]}: is not for evaluators, which have read everything")


def _read(
    a: str | os.PathLike[str] | Detections,
    b: str | os.PathLike[str] | Detections,
    ref: str | os.PathLike[str] | Detections | None,
    tell: Progress,
    *,
    format: str,
    pred_format: str | None,
    ref_format: str | None,
    match_by: MatchBy | None,
    extra_categories: Extra,
    iou_threshold: float,
    backend: str | None,
) -> list[Scored]:
    """What both results have found on the references, and their summaries."""
    if ref is None:
        raise LossexportError("ref is missing: only evaluators have references of their own")
    inputs = given("a", a), given("b", b)
    references = given("ref", ref)
    for value in inputs:
        if isinstance(value, Path) and value.suffix == ".onnx":
            raise LossexportError(
                f"{value}: two results are compared, not detectors: score it with --out first, "
                "which keeps its boxes in detections.json"
            )
    pred_format, ref_format = formats.of_both(format, pred_format, ref_format)
    settings = {"iou_threshold": check_iou_threshold(iou_threshold)}
    measure = BoxQuality(backend)
    sides = []
    for value in inputs:
        data = formats.read(
            value,
            references,
            pred_format,
            lambda step: partial(tell, step),
            ref_format=ref_format,
            match_by=match_by,
            extra_categories=extra_categories,
        )
        run = evaluate(data, measure, backend, settings, tell).run
        sides.append((run.results, summarize(run)))
    return sides


def _as_numbers(differences: Mapping[str, Any]) -> dict[str, Any]:
    """The differences as a summary of their own, for gates."""
    values = {name: found["difference"] for name, found in differences.items()}
    return {"counts": {}, **values, "bootstrap": {"intervals": differences}}


def compared(sides: Sequence[Scored], draws: Draws, tell: Progress) -> dict[str, Any]:
    """The numbers of two sides and of their differences."""
    samples = [Sample(found) for found, _ in sides]
    summaries = [summary for _, summary in sides]
    images, places = _together([found.images for found, _ in sides])
    numbers, categories = zip(
        *(
            sample.under(
                _placed(draws.weights(images, sample.width), place, sample.images),
                draws.count,
                partial(tell, f"drawing images, {side}"),
            )
            for sample, place, side in zip(samples, places, SIDES, strict=True)
        ),
        strict=True,
    )
    values = [{name: value_of(found, name) for name in INTERVALS} for found in summaries]
    rows = [{row["id"]: (n, row) for n, row in enumerate(s["categories"])} for s in summaries]
    first, second = summaries
    return {
        "schema_version": SCHEMA_VERSION,
        **{side: _plain(found) for side, found in zip(SIDES, summaries, strict=True)},
        "differences": {
            name: _difference([each[name] for each in values], [each[name] for each in numbers])
            for name in INTERVALS
        },
        "categories": [
            {"id": value, "name": rows[0][value][1]["name"]}
            | {
                name: _difference(
                    [_defined(side[value][1][name]) for side in rows],
                    [d[:, side[value][0], n] for d, side in zip(categories, rows, strict=True)],
                )
                for n, name in enumerate(CATEGORY_NUMBERS)
            }
            for value in rows[0]
            if value in rows[1]
        ],
        "bootstrap": draws.described(images),
        "settings": first["settings"],
        "backend": first["backend"],
        **_about_files(first, second),
    }


def _about_files(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """What evaluators have not."""
    if "inputs" not in first:
        return {}
    return {
        "inputs": {
            "a": first["inputs"]["pred"],
            "b": second["inputs"]["pred"],
            "ref": first["inputs"]["ref"],
        },
        "notes": list(dict.fromkeys([*first["notes"], *second["notes"]])),
    }


def _plain(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of one side."""
    common = ("schema_version", "settings", "backend", "inputs", "notes")
    return {name: value for name, value in summary.items() if name not in common}


def _defined(value: float) -> float | None:
    return None if value < 0 else value


def _together(tables: Sequence[Sequence[Any]]) -> tuple[int, list[Int64]]:
    """How many images there are on both sides, and the place of each side's images among them."""
    place = {value: n for n, value in enumerate(dict.fromkeys([*tables[0], *tables[1]]))}
    return len(place), [np.array([place[v] for v in table], np.int64) for table in tables]


def _placed(weights: Iterator[Int32], place: Int64, images: int) -> Iterator[Int32]:
    """The weights of one side's images."""
    whole = np.array_equal(place, np.arange(images))
    for weight in weights:
        yield weight if whole and weight.shape[1] == images else weight[:, place]


def _difference(values: Sequence[float | None], drawn: Sequence[Float64]) -> dict[str, Any]:
    """A number of both sides, and of their difference in the draws [D]."""
    a, b = values
    apart = drawn[1] - drawn[0]
    known = apart[~np.isnan(apart)]
    value = None if a is None or b is None else b - a
    found = symmetric(apart, value)
    return {
        "a": a,
        "b": b,
        "difference": found.pop("value"),
        **found,
        "better": float(np.mean(known > 0)) if len(known) else None,
    }
