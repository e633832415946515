"""The whole of a comparison, from two inputs to three files."""

import json
import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lossexport import arguments
from lossexport.errors import LossexportError, shown
from lossexport.files import appear_together, check_folder
from lossexport.scoring.boxset import Float32
from lossexport.scoring.compare_boxes import Comparison, as_dataset, compare_boxes
from lossexport.scoring.compare_inputs import Sides, read_results, run_detectors
from lossexport.scoring.compare_summary import GATE_NAMES, summarize
from lossexport.scoring.explain import COMPARED, explain, scores_differ
from lossexport.scoring.gates import Gates
from lossexport.scoring.join import MatchBy, check_match_by
from lossexport.scoring.metrics import BoxQuality
from lossexport.scoring.pictures import Crop, ImageFolder, crops
from lossexport.scoring.pipeline import BOXES, REPORT, SUMMARY, check_iou_threshold
from lossexport.scoring.progress import Progress, follow

PathLike = str | os.PathLike[str]


def compare(
    parent: PathLike,
    child: PathLike,
    *,
    images: PathLike | None = None,
    detector: PathLike | None = None,
    child_detector: PathLike | None = None,
    names: PathLike | None = None,
    match_by: MatchBy | None = None,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.25,
    backend: str | None = None,
    out: PathLike | None = None,
    fail_below: Mapping[str, float] | None = None,
    fail_above: Mapping[str, float] | None = None,
    progress: bool | Progress = False,
) -> dict[str, Any]:
    """Compare the boxes of a child with those of its parent and return the summary.

    `parent` and `child` are both COCO results (a list, or a dictionary of annotations with a
    score), or both `.onnx` detectors. Detectors run on every JPEG and PNG file of the folder
    `images`, as the description `detector` says (a TOML file, or the name of a shipped one) and
    `child_detector` where the child's tensors differ. For results, `images` is where the report
    finds the images that it draws, and `names` a COCO dictionary that names images and categories.
    `match_by` is as in `score`.

    Boxes whose score is `score_threshold` or more count. Per image and category, child boxes by
    falling score each take the free parent box of highest IoU that is at least `iou_threshold`, in
    (0, 1]; what is left is lost (the parent's) or new (the child's). IoU, GIoU, DIoU and CIoU of
    the matched pairs are computed by the exported artifacts on `backend` (None: the best one here).
    Drift is the child's score minus the parent's. With `out`, the folder gets `summary.json`,
    `boxes.parquet` and `report.html`, all or none of them.

    `fail_below` and `fail_above` map names of numbers (`kept`, `iou_mean`, `new`, `drift_max_abs`,
    ...) to the least and the most that passes; what fails stands in the summary's `gate_failures`,
    one sentence each, and raises nothing. `progress` is as in `score`.

    Raises LossexportError on a bad argument or input, naming the file, the field and the value.
    """
    gates = Gates(GATE_NAMES, fail_below, fail_above)
    check_match_by(match_by)
    iou_threshold = check_iou_threshold(iou_threshold)
    score_threshold = arguments.number("score_threshold", score_threshold)
    if not 0 <= score_threshold < math.inf:
        raise LossexportError(
            f"score threshold is {shown(score_threshold)}: a finite number from 0 up is expected"
        )
    pair = arguments.path("parent", parent), arguments.path("child", child)
    folder = arguments.optional_path("out", out)
    drawn_from = arguments.optional_path("images", images)
    table = arguments.optional_path("names", names)
    described = arguments.optional_path("detector", detector)
    child_described = arguments.optional_path("child_detector", child_detector)
    detectors = _descriptions(pair, drawn_from, described, child_described, table)
    if drawn_from and not detectors and not folder:
        raise LossexportError(
            "images are drawn in the report, which needs a folder: out is missing"
        )
    if folder is not None:
        check_folder(folder)
    pictures = None if drawn_from is None else ImageFolder(drawn_from)
    measure = BoxQuality(backend)
    settings = {"iou_threshold": iou_threshold, "score_threshold": score_threshold}
    with follow(progress, "comparing") as tell:

        def watch(step: str) -> Callable[[float], None]:
            return partial(tell, step)

        if detectors and pictures:
            sides = run_detectors(pair, detectors, pictures, match_by, watch)
        else:
            sides = read_results(*pair, table, match_by, watch)
        tell("matching", 0.0)
        result = compare_boxes(sides, iou_threshold, score_threshold)
        tell("matching", 1.0)
        quality = measure(
            sides.child.box[result.child],
            sides.parent.box[result.parent],
            watch("box quality"),
        )
        summary = summarize(sides, result, quality, settings, measure.backend)
        summary["notes"] += _explanations(sides, result, iou_threshold, score_threshold)
        gates.apply(summary)
        if folder is not None:
            tell("writing", 0.0)
            _write(folder, pictures, summary, sides, result, quality, watch("writing"))
    return summary


def _explanations(
    sides: Sides, result: Comparison, iou_threshold: float, score_threshold: float
) -> list[str]:
    scores = sides.parent.score, sides.child.score
    counted = [np.flatnonzero(score >= score_threshold) for score in scores]
    notes = scores_differ(sides.child.score, sides.parent.score, COMPARED)
    data = as_dataset(sides, *counted)
    return notes + explain(data, len(result.child), iou_threshold, COMPARED)


def _descriptions(
    pair: tuple[Path, Path],
    images: Path | None,
    detector: Path | None,
    child_detector: Path | None,
    names: Path | None,
) -> tuple[Path, Path] | None:
    """Description files of parent and child; None for results, which have none.

    Raises LossexportError where the arguments do not go together.
    """
    parent, child = pair
    models = [path.suffix == ".onnx" for path in pair]
    if models[0] != models[1]:
        raise LossexportError(
            f"{parent} and {child}: an .onnx detector is compared with another, not with results"
        )
    if not models[0]:
        if detector or child_detector:
            raise LossexportError(f"{parent}: is no .onnx detector: a description is for detectors")
        return None
    if not images or not detector:
        missing = "a description (detector)" if images else "a folder of images"
        raise LossexportError(f"{parent}: running a detector needs {missing}")
    if names:
        raise LossexportError(f"{names}: names are for results: a description names categories")
    return detector, child_detector or detector


def _write(
    folder: Path,
    pictures: ImageFolder | None,
    summary: dict[str, Any],
    sides: Sides,
    result: Comparison,
    quality: Mapping[str, Float32],
    advance: Callable[[float], None],
) -> None:
    # Only a run that writes pays for the imports of pyarrow and jinja2.
    from lossexport.scoring.compare_report import render, worst_cases
    from lossexport.scoring.compare_table import write_boxes

    drawn: list[Crop] = []
    if pictures is not None:
        drawn, notes = crops(pictures, worst_cases(sides, result, quality["iou"]))
        summary["notes"] += notes
    with appear_together(folder) as stage:
        text = json.dumps(summary, indent=2, allow_nan=False)
        (stage / SUMMARY).write_text(text + "\n", encoding="utf-8")
        advance(0.2)
        write_boxes(stage / BOXES, sides, result, quality)
        advance(0.8)
        report = render(summary, sides, result, quality, drawn)
        (stage / REPORT).write_text(report, encoding="utf-8", errors="replace")
        advance(1.0)
