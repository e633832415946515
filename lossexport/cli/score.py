"""`lossexport score`."""

from typing import Any, cast

import click

from lossexport.cli._terminal import assignments, show
from lossexport.errors import CheckFailedError, LossexportError


def _gates(items: tuple[str, ...]) -> dict[str, float]:
    gates = {}
    for name, text in assignments(items, "--fail-below").items():
        try:
            gates[name] = float(text)
        except ValueError as error:
            raise LossexportError(f"--fail-below {name}={text!r}: must be a number") from error
    return gates


@click.command("score")
@click.option("--pred", required=True, help="Detections: a file, or a folder of YOLO or VOC files.")
@click.option("--ref", required=True, help="References of the same format.")
@click.option(
    "--format", "form", type=click.Choice(["coco", "yolo", "mot", "voc"]), default="coco",
    show_default=True, help="Format of both.",
)  # fmt: skip
@click.option("--iou-threshold", default=0.5, show_default=True, help="Least IoU of a match.")
@click.option(
    "--backend", type=click.Choice(["native", "ort", "tensorrt", "rtx"]),
    help="What runs the metrics.  [default: the best that can run]",
)  # fmt: skip
@click.option("--out", help="Folder for summary.json, boxes.parquet and report.html.")
@click.option("--fail-below", multiple=True, metavar="METRIC=VALUE", help="Exit with 1 below it.")
def command(
    pred: str,
    ref: str,
    form: str,
    iou_threshold: float,
    backend: str | None,
    out: str | None,
    fail_below: tuple[str, ...],
) -> None:
    """Score detections against references: box quality, COCO AP, per box and in all."""
    from lossexport.scoring import score

    summary = score(
        pred,
        ref,
        format=cast(Any, form),
        iou_threshold=iou_threshold,
        backend=backend,
        out=out,
        fail_below=_gates(fail_below),
        progress=True,
    )
    _show(summary)
    if out:
        click.echo(f"report: {out}/report.html")
    if summary["gate_failures"]:
        raise CheckFailedError("; ".join(summary["gate_failures"]))


def _show(summary: dict[str, Any]) -> None:
    """Counts, quality of the matched pairs, COCO numbers; an undefined number is a dash."""

    def text(value: float | None) -> str:
        return "-" if value is None else f"{value:.4f}"

    counts = summary["counts"]
    show("Counts", ("what", "number"), [(k, str(v)) for k, v in counts.items()], right=1)
    places = ("mean", "median", "p5", "p95")
    quality = [
        (metric, *(text(summary[metric][place]) for place in places))
        for metric in ("iou", "giou", "diou", "ciou")
    ]
    show("Quality of matched boxes", ("metric", *places), quality, right=4)
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100")
    show("COCO protocol", names, [[text(summary[name]) for name in names]], right=len(names))
