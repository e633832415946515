"""`score`: a whole scoring run, from two inputs to three files."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lossexport import arguments, formats
from lossexport.boxes import matching, pairs
from lossexport.boxes.boxset import Dataset, Input
from lossexport.boxes.explain import SCORED
from lossexport.boxes.explain import explain as notes_on
from lossexport.boxes.oriented import FIELDS
from lossexport.boxes.pairs import Order, Pairs
from lossexport.boxes.quality import BoxQuality
from lossexport.boxes.side import Side
from lossexport.errors import LossexportError
from lossexport.files import check_folder
from lossexport.formats.memory import Detections, given
from lossexport.images import ImageFolder
from lossexport.names import BROWSED, MOST_BROWSED, Extra, MatchBy
from lossexport.progress import Progress, follow
from lossexport.scoring import coco_ap, confidence, protocol
from lossexport.scoring.extras import Extras, tables
from lossexport.scoring.numbers import rate
from lossexport.scoring.record import Run, wanted_rates
from lossexport.scoring.summary import missed_of, summarize
from lossexport.threads import Aside

if TYPE_CHECKING:
    from lossexport.reports.pictures import Crop
    from lossexport.scoring.causes import Findings

BATCH = 8
"""Images that run at once in a detector whose batch is free."""


def score(
    pred: str | os.PathLike[str] | Detections,
    ref: str | os.PathLike[str] | Detections,
    *,
    format: str = "coco",
    pred_format: str | None = None,
    ref_format: str | None = None,
    match_by: MatchBy | None = None,
    extra_categories: Extra = "count",
    iou_threshold: float = 0.5,
    backend: str | None = None,
    out: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
    browse: int = BROWSED,
    detector: str | os.PathLike[str] | None = None,
    nms_iou: float | None = None,
    fail_below: Mapping[str, float] | None = None,
    fail_above: Mapping[str, float] | None = None,
    baseline: str | os.PathLike[str] | None = None,
    max_drop: Mapping[str, float] | None = None,
    explain: bool = False,
    at_precision: float | None = None,
    at_recall: float | None = None,
    slices: str | os.PathLike[str] | Mapping[str, Sequence[int | str]] | None = None,
    slice_by: str | Sequence[str] = (),
    size_grid: Sequence[float] = (),
    bootstrap: int | None = None,
    seed: int = 0,
    progress: bool | Progress = False,
) -> dict[str, Any]:
    """Score predictions against references and return the summary.

    `pred` and `ref` are files or folders in `format`, or each in its own format (`pred_format`,
    `ref_format`); `lossexport score --help` lists the names. Either may also be detections in
    memory, as for `Evaluator.update`. If ids and names of images or
    categories contradict each other, `match_by` ("id", "name") decides; without it this is an
    error. Predictions of categories that the references do not have are counted as wrong or left
    out, as `extra_categories` says ("count", "ignore"), with a note. Boxes are matched at
    `iou_threshold`, in (0, 1]; AP and AR follow the COCO protocol and do not depend on it. IoU,
    GIoU, DIoU and CIoU of the matched pairs are computed by the exported artifacts on `backend`
    (None: the best one here), and so is the quality estimated from predicted log variances, for
    COCO results that have them. With `out`, `summary.json`, `boxes.parquet` and `report.html` are
    written to that folder, all or none. The report draws the worst boxes on images of the folder
    `images`, found by file name, and up to `browse` whole images with their faults, from 0 to 200;
    without `images`, these have boxes only.

    `pred` may be an `.onnx` detector, which runs on every JPEG and PNG file of the folder `images`,
    several at once where its batch is free; `detector` and `nms_iou` are as in `compare`. Images
    are joined by the names of their files. With `out`, its boxes are kept as the COCO results
    `detections.json`, with the ids of the references, and a run that was interrupted goes on.

    `fail_below` and `fail_above` map names of numbers (`AP50`, `iou_mean`, `best_f1`, `unmatched`,
    ...) to the lowest and the highest value that passes, and `max_drop` to how far a number may be
    below that of `baseline`, the `summary.json` of an earlier run. Failures are sentences in the
    summary's `gate_failures` and raise no error. With `explain`, errors are sorted by their causes
    (docs/diagnosis.md), and tables of them are written to `out`. `at_precision` and `at_recall`, in
    (0, 1], ask for the lowest cut of the score with this precision and the highest with this
    recall. `slices`, a CSV file of attributes of images or a mapping of names to ids of images, and
    `slice_by`, fields of the images of COCO references, add the numbers of parts of the images,
    and `size_grid`, rising sides in pixels, those of ranges of sizes. They can be gates, such as
    `AP:night`, and those of a category too: `AP50:person`.

    With `bootstrap`, 2 to 10,000 draws of half of the images, the summary's `bootstrap`
    has the 95 % interval of each number, and gates may be asked of its ends (`AP.lower`). The draws
    follow from `seed`, 0 or more.

    `progress` shows a bar on a terminal if the run takes more than two seconds, and elsewhere
    lines on stderr, the first after two seconds, then one every ten. It may also be a function,
    which is called with the name of the step and the part of it that is done.

    Raises LossexportError on a bad argument or input, naming the file, the field and the value.
    """
    extras = Extras.of(
        explain=explain,
        at_precision=at_precision,
        at_recall=at_recall,
        slices=slices,
        slice_by=slice_by,
        size_grid=size_grid,
        bootstrap=bootstrap,
        seed=seed,
    )
    gates = extras.gates(fail_below, fail_above, baseline, max_drop)
    inputs = given("pred", pred), given("ref", ref)
    pred_format, ref_format = formats.of_both(format, pred_format, ref_format)
    iou_threshold = matching.check_iou_threshold(iou_threshold)
    browse = arguments.whole("browse", browse, 0, MOST_BROWSED)
    folder = arguments.optional_path("out", out)
    drawn_from = arguments.optional_path("images", images)
    runs = isinstance(inputs[0], Path) and inputs[0].suffix == ".onnx"
    described = _described(inputs[0], detector, nms_iou, drawn_from, runs=runs)
    if folder is not None:
        check_folder(folder)
        extras.check_folder(folder)
    elif drawn_from is not None and not runs:
        raise LossexportError(f"images {drawn_from}: are drawn in the report: out is missing")
    pictures = None if drawn_from is None else ImageFolder(drawn_from)
    measure = BoxQuality(backend)
    forms = [
        formats.of_path(value, form) if isinstance(value, Path) else "memory"
        for form, value in zip((pred_format, ref_format), inputs, strict=True)
    ]
    if runs:
        forms[0] = "detector"
    settings = {
        "format": ", ".join(dict.fromkeys(forms)),
        "iou_threshold": iou_threshold,
        **extras.settings,
    }

    with follow(progress, "scoring") as tell:
        read: dict[str, Input] = {}
        predictions: Path | Detections | Side = inputs[0]
        references: Path | Detections | Side = inputs[1]
        if isinstance(inputs[0], Path) and described is not None and pictures is not None:
            from lossexport.detectors import collect
            from lossexport.detectors.detector import Detector

            model = Detector(inputs[0], *described)
            model.run_batches(BATCH)
            told = partial(tell, "reading references")
            references = formats.read_references(inputs[1], ref_format, told)
            if references.box_field in FIELDS:
                model.give_oriented(references.path)
            advance = partial(tell, "running the detector")
            predictions, read = collect.detect_folder(model, pictures, folder, advance)
            collect.name_by_order(predictions, references)
        data = formats.read(
            predictions,
            references,
            pred_format,
            lambda step: partial(tell, step),
            ref_format=ref_format,
            match_by=match_by,
            extra_categories=extra_categories,
        )
        data.inputs.update(read)
        if described is not None and folder is not None:
            collect.write_results(folder, data)
        parts = extras.read(inputs[1], ref_format, data)
        run, found, notes = evaluate(data, measure, backend, settings, tell)
        summary = summarize(run)
        summary["notes"] += notes
        findings = extras.find(run, found, parts, summary)
        extras.resample(run.results, summary, partial(tell, "drawing images"))
        gates.apply(summary)
        if folder is not None:
            _write(folder, pictures, run, summary, findings, browse, tell)
            if described is not None:
                collect.finish_partial(folder)
    return summary


class Evaluated(NamedTuple):
    """A run, its overlapping pairs, and notes on it."""

    run: Run
    found: Pairs
    notes: list[str]


def evaluate(
    data: Dataset,
    measure: BoxQuality,
    backend: str | None,
    settings: Mapping[str, Any],
    tell: Progress,
) -> Evaluated:
    """Match the boxes of a data set and measure them, at the `iou_threshold` of the settings."""
    threshold = settings["iou_threshold"]
    measure = measure.of_kind(data.oriented)
    if measure.oriented:
        settings = {**settings, "boxes": "oriented"}
    tell("matching", 0.0)
    order = pairs.sort_boxes(data)
    least = min(pairs.cap(threshold), float(protocol.THRESHOLDS[0]))
    found = pairs.find_pairs(data, order, least)
    tell("matching", 0.5)
    with Aside(partial(_by_coco, data, order, found)) as by_coco:
        result = matching.match(data, order, found, threshold)
        tell("matching", 1.0)
        taken, refs = result.pairs()
        # By image, so that a backend gets the same blocks whatever the order of the images.
        by_image = np.argsort(data.predictions.image[taken], kind="stable")
        measured = measure(
            data.predictions.box[taken[by_image]],
            data.references.box[refs[by_image]],
            partial(tell, "box quality"),
        )
        back = np.argsort(by_image)
        quality = {metric: values[back] for metric, values in measured.items()}
        estimate = confidence.predicted_quality(
            data.predictions, backend, partial(tell, "predicted quality")
        )
        notes = notes_on(data, order, len(taken), threshold, SCORED)
        rated = rate(
            data.predictions.category,
            data.predictions.score,
            result.status,
            quality["iou"],
            missed_of(data, result),
            threshold,
            wanted_rates(settings),
        )
        coco, outcomes = by_coco.result()
    run = Run(
        data, result, quality, estimate, coco, outcomes, order, settings, measure.backend, rated
    )
    return Evaluated(run, found, notes)


def _by_coco(
    data: Dataset, order: Order, found: Pairs
) -> tuple[coco_ap.CocoResult, protocol.Outcomes]:
    outcomes = coco_ap.match(data, order, found)
    return coco_ap.accumulate(outcomes, parts=data.parts), outcomes


def _described(
    pred: Path | Detections,
    detector: str | os.PathLike[str] | None,
    nms_iou: float | None,
    images: Path | None,
    *,
    runs: bool,
) -> tuple[Path, None, float | None] | None:
    """The arguments of the detector after its path; None for predictions of other kinds."""
    where = arguments.optional_path("detector", detector)
    if not runs:
        if where is not None or nms_iou is not None:
            name = pred if isinstance(pred, Path) else "pred"
            raise LossexportError(f"{name}: is no .onnx detector: detector and nms_iou are for one")
        return None
    # Runtimes and layouts are imported only if a detector runs.
    from lossexport.detectors.description import AUTO, check_nms_iou

    if images is None:
        raise LossexportError(f"{pred}: running a detector needs a folder of images")
    return where or Path(AUTO), None, None if nms_iou is None else check_nms_iou(nms_iou)


def _write(
    folder: Path,
    pictures: ImageFolder | None,
    run: Run,
    summary: dict[str, Any],
    findings: "Findings",
    browse: int,
    tell: Progress,
) -> None:
    # pyarrow and jinja2 are imported only if files are written.
    from lossexport.reports.browse import scenes
    from lossexport.reports.output import write
    from lossexport.reports.pictures import crops
    from lossexport.scoring.cases import faults, worst_cases
    from lossexport.scoring.report import render
    from lossexport.scoring.table import write_boxes

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
        lambda: render(
            run, summary, drawn, scenes(run.data, faults(run), pictures, browse), findings
        ),
        partial(tell, "writing"),
        tables(run, findings),
    )
