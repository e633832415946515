"""The whole of a scoring run, from two inputs to three files."""

import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lossexport.errors import LossexportError, shown
from lossexport.files import appear_together, check_folder
from lossexport.scoring import coco_ap, confidence, formats, matching, pairs
from lossexport.scoring.boxset import Dataset, Float32
from lossexport.scoring.gates import Gates
from lossexport.scoring.metrics import BoxQuality
from lossexport.scoring.pictures import Crop, ImageFolder, crops
from lossexport.scoring.progress import Progress, follow
from lossexport.scoring.summary import GATE_NAMES, summarize

SUMMARY, BOXES, REPORT = "summary.json", "boxes.parquet", "report.html"


def score(
    pred: str | os.PathLike[str],
    ref: str | os.PathLike[str],
    *,
    format: str = "coco",
    iou_threshold: float = 0.5,
    backend: str | None = None,
    out: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
    fail_below: Mapping[str, float] | None = None,
    fail_above: Mapping[str, float] | None = None,
    progress: bool | Progress = False,
) -> dict[str, Any]:
    """Score predictions against references and return the summary.

    `pred` and `ref` are files (`coco`, `mot`) or folders (`yolo`, `voc`). Boxes are matched at
    `iou_threshold`, in (0, 1]; AP and AR follow the COCO protocol whatever the threshold. IoU,
    GIoU, DIoU and CIoU of the matched pairs are computed by the exported artifacts on `backend`
    (None: the best one here), and so is the quality that predicted log variances promise, for the
    COCO results that have them. With `out`, the folder gets `summary.json`, `boxes.parquet` and
    `report.html`, all or none of them; the report draws the worst boxes on images of the folder
    `images`, found by file name.

    `fail_below` and `fail_above` map names of numbers (`AP50`, `iou_mean`, `best_f1`, `unmatched`,
    ...) to the least and the most that passes; what fails stands in the summary's `gate_failures`,
    one sentence each, and raises nothing. `progress` shows a bar on a terminal when the run takes
    more than two seconds, or is a function called with the step's name and the part of it that is
    done.

    Raises LossexportError on a bad argument or input, naming the file, the field and the value.
    """
    gates = Gates(GATE_NAMES, fail_below, fail_above)
    if not 0 < iou_threshold <= 1:
        raise LossexportError(
            f"IoU threshold is {shown(iou_threshold)}: above 0 and at most 1 is expected"
        )
    folder = None if out is None else Path(out)
    if folder is not None:
        check_folder(folder)
    elif images is not None:
        raise LossexportError(f"images {images}: are drawn in the report: out is missing")
    pictures = None if images is None else ImageFolder(Path(images))
    measure = BoxQuality(backend)
    settings = {"format": format, "iou_threshold": float(iou_threshold)}

    with follow(progress) as tell:
        data = formats.read(Path(pred), Path(ref), format, lambda step: partial(tell, step))
        tell("matching", 0.0)
        order = pairs.sort_boxes(data)
        least = min(pairs.cap(iou_threshold), float(coco_ap.THRESHOLDS[0]))
        found = pairs.find_pairs(data, order, least)
        coco = coco_ap.evaluate(data, order, found)
        tell("matching", 0.8)
        result = matching.match(data, order, found, iou_threshold)
        tell("matching", 1.0)
        taken, refs = result.pairs()
        quality = measure(
            data.predictions.box[taken],
            data.references.box[refs],
            partial(tell, "box quality"),
        )
        estimate = confidence.predicted_quality(
            data.predictions, backend, partial(tell, "predicted quality")
        )
        predicted = confidence.block(estimate, result, quality["iou"])
        summary = summarize(data, result, quality, predicted, coco, settings, measure.backend)
        gates.apply(summary)
        if folder is not None:
            drawn: list[Crop] = []
            if pictures is not None:
                from lossexport.scoring.score_cases import worst_cases

                tell("drawing", 0.0)
                cases = worst_cases(data, result, quality["iou"], format)
                drawn, notes = crops(pictures, cases)
                summary["notes"] += notes
            tell("writing", 0.0)
            advance = partial(tell, "writing")
            _write(folder, summary, data, result, quality, estimate, coco, drawn, advance)
    return summary


def _write(
    folder: Path,
    summary: Mapping[str, Any],
    data: Dataset,
    result: matching.Matching,
    quality: Mapping[str, Float32],
    estimate: Float32,
    coco: coco_ap.CocoResult,
    drawn: list[Crop],
    advance: Callable[[float], None],
) -> None:
    # Only a run that writes pays for the imports of pyarrow and jinja2.
    from lossexport.scoring.parquet import write_boxes
    from lossexport.scoring.report import render

    with appear_together(folder) as stage:
        text = json.dumps(summary, indent=2, allow_nan=False)
        (stage / SUMMARY).write_text(text + "\n", encoding="utf-8")
        advance(0.1)
        write_boxes(stage / BOXES, data, result, quality, estimate)
        advance(0.8)
        report = render(summary, data, result, quality, estimate, coco, drawn)
        (stage / REPORT).write_text(report, encoding="utf-8", errors="replace")
        advance(1.0)
