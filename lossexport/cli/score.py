"""`lossexport score`."""

import os
import re
from typing import Any

import click

from lossexport.cli._intervals import show_intervals
from lossexport.cli._pair import pair, pair_numbers
from lossexport.cli._reports import (
    baseline,
    bootstrap,
    browse,
    finish,
    json_file,
    junit_file,
    max_drop,
    seed,
)
from lossexport.cli._terminal import Choice, assignments, number, show
from lossexport.cli._types import DIR, FILE, FILE_OR_DIR, FILE_OR_NAME, FORMAT
from lossexport.errors import LossexportError, printable
from lossexport.names import (
    BACKENDS,
    BROWSED,
    COCO_PRECISION,
    COCO_RECALL,
    EXTRA_CATEGORIES,
    MATCH_BY,
    METRIC_TITLES,
    RATES,
    STATISTICS,
)

match_by = click.option(
    "--match-by", type=Choice(MATCH_BY),
    help="Trust ids or names if they contradict each other.",
)  # fmt: skip


def bounds(items: tuple[str, ...], option: str) -> dict[str, float]:
    """Split NAME=NUMBER items of `option`. Raises LossexportError on anything else."""
    found = {}
    for name, text in assignments(items, option).items():
        try:
            found[name] = float(text)
        except ValueError as error:
            raise LossexportError(f"{option} {name}={text!r}: must be a number") from error
    return found


class _Command(click.Command):
    """A command whose help ends with the formats."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Nothing multiplies matrices, and NumPy's threads for that would wait busily for a while.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from lossexport.formats import FORMATS

        rows = []
        for name in FORMATS.names():
            try:
                form = FORMATS.find(name)
                rows.append((name, f"{form.title}: a {form.given}."))
            except LossexportError as error:
                rows.append((name, str(error)))
        with formatter.section("Formats"):
            formatter.write_dl(rows)


@click.command(
    "score", cls=_Command, short_help="Score detections: COCO AP, and the quality of every box."
)
@click.argument("results", nargs=-1, type=FILE_OR_DIR, metavar="[RESULTS] | [A B]")
@click.option("--pred", type=FILE_OR_DIR,
    help="Detections: a file or a folder; or an .onnx detector, which runs on --images.",
)  # fmt: skip
@click.option("--ref", required=True, type=FILE_OR_DIR, help="References: a file or a folder.")
@click.option("--format", "form", type=FORMAT, default="coco", show_default=True,
    help="Format of both, see below.",
)  # fmt: skip
@click.option("--pred-format", type=FORMAT, help="Format of --pred.")
@click.option("--ref-format", type=FORMAT, help="Format of --ref.")
@match_by
@click.option(
    "--extra-categories", type=Choice(EXTRA_CATEGORIES), default="count",
    show_default=True, help="Count or ignore predictions of categories that --ref lacks.",
)  # fmt: skip
@click.option("--iou-threshold", default=0.5, show_default=True, help="Lowest IoU of a match.")
@click.option(
    "--backend", type=Choice(list(BACKENDS)),
    help="Backend for the metrics.  [default: the best that can run]",
)  # fmt: skip
@click.option("--out", type=DIR, help="Folder for summary.json, boxes.parquet and report.html.")
@click.option(
    "--images", type=DIR,
    help="Folder of images: a detector runs on them, and the report shows the worst boxes.",
)  # fmt: skip
@browse
@click.option(
    "--detector", type=FILE_OR_NAME,
    help="Description of an .onnx detector, or name of its layout, as in compare.  [default: auto]",
)  # fmt: skip
@click.option(
    "--nms-iou", type=float,
    help="IoU of a NMS on the boxes of a detector.  [default: as described or found]",
)  # fmt: skip
@click.option(
    "--workers",
    metavar="ray[://HOST:PORT]",
    help="Score Parquet files on a cluster of Ray; --out then gets summary.json alone.",
)
@click.option(
    "--explain", is_flag=True, help="Sort errors by their causes, and write tables of them."
)
@click.option("--at-precision", type=float, help="Find the lowest score with this precision.")
@click.option("--at-recall", type=float, help="Find the highest score with this recall.")
@click.option("--slices", type=FILE,
    help="CSV of image_id or file_name and attributes: score the images of each value too.",
)  # fmt: skip
@click.option("--slice-by", multiple=True, metavar="FIELD",
    help="Score the images of each value of a field of COCO's images too.",
)  # fmt: skip
@click.option("--size-grid", metavar="SIDE,SIDE,...",
    help="Score the references of each range of sizes too; sides in pixels.",
)  # fmt: skip
@click.option("--fail-below", multiple=True, metavar="METRIC=VALUE", help="Exit with 1 if below.")
@click.option("--fail-above", multiple=True, metavar="METRIC=VALUE", help="Exit with 1 if above.")
@baseline
@max_drop
@bootstrap
@seed
@json_file
@junit_file
def command(
    results: tuple[str, ...],
    pred: str | None,
    ref: str,
    form: str,
    pred_format: str | None,
    ref_format: str | None,
    match_by: Any,
    extra_categories: Any,
    iou_threshold: float,
    backend: str | None,
    out: str | None,
    images: str | None,
    browse: int,
    workers: str | None,
    detector: str | None,
    nms_iou: float | None,
    explain: bool,
    at_precision: float | None,
    at_recall: float | None,
    slices: str | None,
    slice_by: tuple[str, ...],
    size_grid: str | None,
    fail_below: tuple[str, ...],
    fail_above: tuple[str, ...],
    baseline: str | None,
    max_drop: tuple[str, ...],
    bootstrap: int | None,
    seed: int,
    json_file: str | None,
    junit_file: str | None,
) -> None:
    """Score detections against references: COCO AP, and the quality of every box.

    RESULTS are those of --pred. Two results, A and B, are compared on the same references, with the
    interval of each difference B - A.
    """
    given = results if pred is None else (*results, pred)
    if not given or len(given) > 2 or (pred is not None and results):
        raise click.UsageError(
            "--pred, or one result, or two that are compared: one of these is needed"
        )
    common: dict[str, Any] = {
        "iou_threshold": iou_threshold,
        "backend": backend,
        "out": out,
        "fail_below": bounds(fail_below, "--fail-below"),
        "fail_above": bounds(fail_above, "--fail-above"),
        "seed": seed,
        "progress": True,
    }
    read: dict[str, Any] = {
        "format": form,
        "pred_format": pred_format,
        "ref_format": ref_format,
        "match_by": match_by,
        "extra_categories": extra_categories,
    }
    # What neither two results nor workers take, and what two results do not.
    alone = {
        "--images": images is not None,
        "--browse": browse != BROWSED,
        "--detector": detector is not None,
        "--nms-iou": nms_iou is not None,
    }
    deeper = {
        "--explain": explain,
        "--at-precision": at_precision is not None,
        "--at-recall": at_recall is not None,
        "--slices": slices is not None,
        "--slice-by": bool(slice_by),
        "--size-grid": size_grid is not None,
    }
    if len(given) == 2:
        others = {
            "--workers": workers is not None,
            "--baseline": baseline is not None,
            "--max-drop": bool(max_drop),
        }
        _refuse("is for one result, not for two", alone | deeper | others)
        found = pair(*given, ref, bootstrap, {**read, **common})
        finish("score", found, pair_numbers(found), json_file, junit_file)
        return
    (pred,) = given
    common |= {
        "baseline": baseline,
        "max_drop": bounds(max_drop, "--max-drop"),
        "explain": explain,
        "at_precision": at_precision,
        "at_recall": at_recall,
        "slices": slices,
        "slice_by": slice_by,
        "size_grid": _sides(size_grid),
        "bootstrap": bootstrap,
    }
    if workers is None:
        from lossexport.runtime.binding import keep_memory
        from lossexport.scoring import score

        keep_memory()
        summary = score(
            pred,
            ref,
            images=images,
            browse=browse,
            detector=detector,
            nms_iou=nms_iou,
            **read,
            **common,
        )
    else:
        _refuse(
            "is not for --workers, which scores Parquet files by ids",
            {
                "--format": form != "coco",
                "--pred-format": pred_format not in (None, "parquet"),
                "--ref-format": ref_format not in (None, "parquet", "coco"),
                "--match-by": match_by is not None,
                "--extra-categories": extra_categories != "count",
                **alone,
            },
        )
        from lossexport import distributed

        summary = distributed.score(pred, ref, address=_address(workers), **common)
    _show(summary)
    show_intervals(summary)
    show_notes(summary)
    if out and workers is None:
        click.echo(f"report: {click.format_filename(out)}/report.html")
    finish("score", summary, _numbers(summary), json_file, junit_file)


def _sides(text: str | None) -> list[float]:
    try:
        return [] if text is None else [float(side) for side in text.split(",")]
    except ValueError as error:
        raise LossexportError(f"--size-grid {text!r}: expected SIDE,SIDE,...") from error


def _refuse(why: str, given: dict[str, bool]) -> None:
    for option, used in given.items():
        if used:
            raise LossexportError(f"{option}: {why}")


def _address(workers: str) -> str | None:
    """The address of a cluster for `distributed.score`; None for this machine."""
    if workers != "ray" and not re.fullmatch(r"ray://[^\s/]+:\d+", workers, re.ASCII):
        raise LossexportError(f"--workers {workers!r}: expected ray or ray://HOST:PORT")
    return None if workers == "ray" else workers


def show_quality(summary: dict[str, Any]) -> None:
    """Print the statistics of the metrics of the matched pairs."""
    rows = [
        (metric, *(number(summary[metric][place]) for place in STATISTICS))
        for metric in METRIC_TITLES
        if metric in summary
    ]
    boxes = "oriented boxes" if "boxes" in summary["settings"] else "boxes"
    show(f"Quality of matched {boxes}", ("metric", *STATISTICS), rows, right=4)


def show_notes(summary: dict[str, Any]) -> None:
    """Print the notes of a summary, a line each."""
    for note in summary["notes"]:
        click.echo(f"note: {printable(note)}")


def _numbers(summary: dict[str, Any]) -> dict[str, str]:
    """The numbers that people ask for first."""
    from lossexport.boxes.gates import value_of

    counted = ("images", "predictions", "references")
    counts = {name: str(summary["counts"][name]) for name in counted}
    shown = {name: number(value_of(summary, name)) for name in ("AP", "AP50", "AP75", "iou_mean")}
    return counts | shown


_CUTS = {"best": "best F1", "at_precision": "wanted precision", "at_recall": "wanted recall"}


def _show(summary: dict[str, Any]) -> None:
    """Print counts, rates, quality of the matched pairs and COCO numbers; a dash if undefined."""
    from lossexport.boxes.gates import value_of

    counts = [(name, str(value)) for name, value in summary["counts"].items()]
    counts += [(f"{name}, any score", number(summary[name])) for name in RATES]
    show("Counts", ("what", "number"), counts, right=1)
    cuts = [
        (title, *(number(summary[key][name]) for name in ("score", *RATES)))
        for key, title in _CUTS.items()
        if key in summary
    ]
    title = f"Cuts of the score at IoU {summary['settings']['iou_threshold']:g}"
    show(title, ("for", "from score", *RATES), cuts, right=4)
    show("LRP error", [*summary["lrp"]], [list(map(number, summary["lrp"].values()))], right=5)
    gaps = {name: summary["calibration"][name] for name in ("dece", "laece", "mce")}
    show("Calibration of scores", [*gaps], [list(map(number, gaps.values()))], right=3)
    show_quality(summary)
    predicted = summary["quality"]
    if predicted["count"]:
        values = [
            str(value) if isinstance(value, int) else number(value) for value in predicted.values()
        ]
        show("Quality that the detector predicts", list(predicted), [values], right=len(values))
    _show_extras(summary)
    for kind, names in (("precision", COCO_PRECISION), ("recall", COCO_RECALL)):
        values = [number(value_of(summary, name)) for name in names]
        show(f"COCO average {kind}", names, [values], right=len(names))


def _show_extras(summary: dict[str, Any]) -> None:
    """Print the errors by type and the slices, if there are any."""
    if "errors" in summary:
        costs = [
            (name, str(count), number(summary["dAP"][name]))
            for name, count in summary["errors"].items()
        ]
        show("Errors", ("type", "count", "AP50 that it costs"), costs, right=2)
    if "slices" not in summary:
        return
    from lossexport.scoring.causes.flat import flat

    names = ("AP", "AP50", "AP75", "best_f1", "lrp_optimal", "iou_mean")
    rows = []
    for row in summary["slices"]:
        values = dict(flat(row))
        counts = (str(values.get(f"counts_{what}", "")) for what in ("images", "references"))
        numbers = (number(values.get(name)) for name in names)
        rows.append((f"{row['attribute']}/{row['value']}", *counts, *numbers))
    show("Slices", ("slice", "images", "references", *names), rows, right=8)
