"""The whole of a comparison, from two inputs to three files."""

import json
import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lossexport.errors import LossexportError
from lossexport.scoring import matching
from lossexport.scoring.boxset import Float32
from lossexport.scoring.compare_boxes import Comparison, compare_boxes
from lossexport.scoring.compare_inputs import Sides, read_results, run_detectors
from lossexport.scoring.compare_summary import Gates, summarize
from lossexport.scoring.metrics import BoxQuality
from lossexport.scoring.outputs import appear_together, check_folder
from lossexport.scoring.pictures import ImageFolder
from lossexport.scoring.pipeline import BOXES, REPORT, SUMMARY
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
    gates = Gates(*({k: float(v) for k, v in (g or {}).items()} for g in (fail_below, fail_above)))
    gates.check_names()
    if not 0 < iou_threshold <= 1:
        raise LossexportError(
            f"IoU threshold is {iou_threshold}: above 0 and at most 1 is expected"
        )
    if not math.isfinite(score_threshold):
        raise LossexportError(f"score threshold is {score_threshold}: a finite number is expected")
    paths = Path(parent), Path(child)
    models = [path.suffix == ".onnx" for path in paths]
    if models[0] != models[1]:
        raise LossexportError(f"{parent} and {child}: both must be .onnx detectors, or both results")
    if models[0]:
        _check_detectors(images, detector, names)
    elif detector or child_detector:
        raise LossexportError(f"{parent}: is no .onnx detector, so that no description applies")
    elif images and not out:
        raise LossexportError("images are drawn in the report: out is missing")
    folder = None if out is None else Path(out)
    if folder is not None:
        check_folder(folder)
    pictures = ImageFolder(Path(images)) if images is not None else None
    measure = BoxQuality(backend)
    settings = {"iou_threshold": float(iou_threshold), "score_threshold": float(score_threshold)}
    with follow(progress) as tell:

        def watch(step: str) -> Callable[[float], None]:
            return partial(tell, step)

        if models[0]:
            ...
