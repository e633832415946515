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
    from lossexport.scoring import check_gates, score

    gates = _gates(fail_below)
    summary = score(
        pred,
        ref,
        format=cast(Any, form),
        iou_threshold=iou_threshold,
        backend=backend,
        out=out,
        fail_below=gates,
        progress=True,
    )
    _show(summary)
    if out:
        click.echo(f"report: {out}/report.html")
    failures = check_gates(summary, gates)
    if failures:
        raise CheckFailedError("; ".join(failures))
