"""`compare`: a whole comparison, from two inputs to three files."""

import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lossexport import arguments
from lossexport.bootstrap.draws import Draws
from lossexport.boxes import pairs
from lossexport.boxes.explain import COMPARED, explain, scores_differ
from lossexport.boxes.gates import Gates
from lossexport.boxes.join import check_match_by
from lossexport.boxes.matching import check_iou_threshold
from lossexport.boxes.oriented import are_oriented
from lossexport.boxes.quality import BoxQuality
from lossexport.comparison.match import as_dataset, compare_boxes
from lossexport.comparison.record import Run
from lossexport.comparison.sides import read_results, run_detectors
from lossexport.comparison.summary import GATE_NAMES, INTERVALS, summarize
from lossexport.detectors.description import AUTO, check_nms_iou
from lossexport.errors import LossexportError, shown
from lossexport.files import check_folder
from lossexport.formats.memory import Detections, given
from lossexport.images import ImageFolder
from lossexport.names import BROWSED, MOST_BROWSED, MatchBy
from lossexport.progress import Progress, follow
from lossexport.reports.pictures import Crop, crops

PathLike = str | os.PathLike[str]


def compare(
    parent: PathLike | Detections,
    child: PathLike | Detections,
    *,
    images: PathLike | None = None,
    detector: PathLike | None = None,
    child_detector: PathLike | None = None,
    nms_iou: float | None = None,
    names: PathLike | None = None,
    match_by: MatchBy | None = None,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.25,
    backend: str | None = None,
    out: PathLike | None = None,
    browse: int = BROWSED,
    fail_below: Mapping[str, float] | None = None,
    fail_above: Mapping[str, float] | None = None,
    baseline: PathLike | None = None,
    max_drop: Mapping[str, float] | None = None,
    bootstrap: int | None = None,
    seed: int = 0,
    progress: bool | Progress = False,
) -> dict[str, Any]:
    """Compare the boxes of a child with those of its parent and return the summary.

    `parent` and `child` are both COCO results (a list, or a dictionary of annotations with a score)
    or predictions in memory, as for `Evaluator.update`, or both `.onnx` detectors. Detectors run on
    every JPEG and PNG file of the folder `images`. Their layouts are found in the graphs (`auto`,
    the default), or `detector` says them: a description, which is a TOML file or the name of a
    shipped one, or the name of a layout; `child_detector` is for a child that differs. With
    `nms_iou`, boxes of both go through NMS at this IoU, whatever their limits say. For results,
    `images` is where the report finds the images that it draws, and `names` a COCO dictionary that
    names images and categories. `match_by` is as in `score`.

    Boxes whose score is `score_threshold` or more count. In each image and category, child boxes
    are matched by falling score, each with the free parent box of highest IoU if that is at least
    `iou_threshold`, which is in (0, 1]. The remaining boxes are lost (the parent's) or new (the
    child's). IoU, GIoU, DIoU and CIoU of the matched pairs are computed by the exported artifacts
    on `backend` (None: the best one here). Drift is the child's score minus the parent's. With
    `out`, `summary.json`, `boxes.parquet` and `report.html` are written there, all or none. The
    report shows up to `browse` whole images with the boxes that are lost, new or moved, from 0 to
    200; without `images`, these have boxes only.

    `fail_below` and `fail_above` map names of numbers (`kept`, `iou_mean`, `new`, `drift_max_abs`,
    ...) to the lowest and the highest value that passes. Failures are sentences in the summary's
    `gate_failures` and raise no error. `baseline`, `max_drop`, `bootstrap`, `seed` and `progress`
    are as in `score`.

    Raises LossexportError on a bad argument or input, naming the file, the field and the value.
    """
    draws = Draws.of(bootstrap, seed)
    bounded = None if draws is None else INTERVALS
    gates = Gates(GATE_NAMES, fail_below, fail_above, baseline, max_drop, bounded)
    check_match_by(match_by)
    iou_threshold = check_iou_threshold(iou_threshold)
    score_threshold = arguments.number("score_threshold", score_threshold)
    if not 0 <= score_threshold < math.inf:
        raise LossexportError(
            f"score threshold is {shown(score_threshold)}: a finite number from 0 up is expected"
        )
    browse = arguments.whole("browse", browse, 0, MOST_BROWSED)
    pair = given("parent", parent), given("child", child)
    folder = arguments.optional_path("out", out)
    drawn_from = arguments.optional_path("images", images)
    table = arguments.optional_path("names", names)
    described = arguments.optional_path("detector", detector)
    child_described = arguments.optional_path("child_detector", child_detector)
    detectors = _descriptions(pair, drawn_from, described, child_described, table)
    if nms_iou is not None:
        nms_iou = _checked_iou(nms_iou, pair[0], detectors=bool(detectors))
    if drawn_from and not detectors and not folder:
        raise LossexportError(
            "images are drawn in the report, which needs a folder: out is missing"
        )
    if folder is not None:
        check_folder(folder)
    pictures = None if drawn_from is None else ImageFolder(drawn_from)
    measure = BoxQuality(backend)
    settings: dict[str, Any] = {
        "iou_threshold": iou_threshold,
        "score_threshold": score_threshold,
    }
    with follow(progress, "comparing") as tell:

        def watch(step: str) -> Callable[[float], None]:
            return partial(tell, step)

        if detectors and pictures:
            sides = run_detectors(*detectors, nms_iou, pictures, match_by, watch)
        else:
            sides = read_results(*pair, table, match_by, watch)
        measure = measure.of_kind(are_oriented(sides.parent.box))
        if measure.oriented:
            settings["boxes"] = "oriented"
        tell("matching", 0.0)
        result = compare_boxes(sides, iou_threshold, score_threshold)
        tell("matching", 1.0)
        quality = measure(
            sides.child.box[result.child],
            sides.parent.box[result.parent],
            watch("box quality"),
        )
        run = Run(sides, result, quality, settings, measure.backend)
        summary = summarize(run)
        summary["notes"] += _explanations(run)
        if draws is not None:
            from lossexport.bootstrap.compared import bootstrap as resample

            tell("drawing images", 0.0)
            summary["bootstrap"] = resample(run, summary, draws)
        gates.apply(summary)
        if folder is not None:
            _write(folder, pictures, run, summary, browse, tell)
    return summary


def _explanations(run: Run) -> list[str]:
    sides, least = run.sides, run.settings["score_threshold"]
    scores = sides.parent.score, sides.child.score
    counted = [np.flatnonzero(score >= least) for score in scores]
    notes = scores_differ(sides.child.score, sides.parent.score, COMPARED)
    data = as_dataset(sides, *counted)
    matched = len(run.result.child)
    order = pairs.sort_boxes(data)
    return notes + explain(data, order, matched, run.settings["iou_threshold"], COMPARED)


def _checked_iou(value: float, parent: Path | Detections, *, detectors: bool) -> float:
    if not detectors:
        name = parent if isinstance(parent, Path) else "parent"
        raise LossexportError(f"{name}: is no .onnx detector: nms_iou is for detectors")
    return check_nms_iou(value)


def _descriptions(
    pair: tuple[Path | Detections, Path | Detections],
    images: Path | None,
    detector: Path | None,
    child_detector: Path | None,
    names: Path | None,
) -> tuple[tuple[Path, Path], tuple[Path, Path]] | None:
    """The detectors, parent and child, and their descriptions; None for results.

    Raises LossexportError if the arguments contradict each other.
    """
    parent, child = (
        value if isinstance(value, Path) else Path(name)
        for name, value in zip(("parent", "child"), pair, strict=True)
    )
    models = [path.suffix == ".onnx" for path in (parent, child)]
    if models[0] != models[1]:
        raise LossexportError(
            f"{parent} and {child}: an .onnx detector is compared with another, not with results"
        )
    if not models[0]:
        if detector or child_detector:
            raise LossexportError(f"{parent}: is no .onnx detector: a description is for detectors")
        return None
    if not images:
        raise LossexportError(f"{parent}: running a detector needs a folder of images")
    if names:
        raise LossexportError(f"{names}: names are for results: a description names categories")
    described = detector or Path(AUTO)
    return (parent, child), (described, child_detector or described)


def _write(
    folder: Path,
    pictures: ImageFolder | None,
    run: Run,
    summary: dict[str, Any],
    browse: int,
    tell: Progress,
) -> None:
    # pyarrow and jinja2 are imported only if files are written.
    from lossexport.comparison.cases import differences, worst_cases
    from lossexport.comparison.report import render
    from lossexport.comparison.table import write_boxes
    from lossexport.reports.browse import scenes
    from lossexport.reports.output import write

    drawn: list[Crop] = []
    if pictures is not None:
        tell("drawing", 0.0)
        drawn, notes = crops(pictures, worst_cases(run))
        summary["notes"] += notes
    tell("writing", 0.0)
    write(
        folder,
        summary,
        lambda path: write_boxes(path, run),
        lambda: render(run, summary, drawn, scenes(*differences(run), pictures, browse)),
        partial(tell, "writing"),
    )
