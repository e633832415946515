"""`lossexport compare`."""

from typing import Any

import click

from lossexport.cli._intervals import show_intervals
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
from lossexport.cli._terminal import Choice, number, show
from lossexport.cli._types import DIR, FILE, FILE_OR_NAME
from lossexport.cli.score import bounds, match_by, show_notes, show_quality
from lossexport.names import BACKENDS


@click.command("compare", short_help="Compare the boxes of two detectors, such as float and int8.")
@click.argument("parent", type=FILE)
@click.argument("child", type=FILE)
@click.option(
    "--images", type=DIR, help="Folder of images; detectors run on them, and the report shows them."
)
@click.option(
    "--detector",
    type=FILE_OR_NAME,
    help="Description of the detectors: a TOML file, the name of a shipped one, or that of a "
    "layout; `auto` finds the layout.  [default: auto]",
)
@click.option(
    "--child-detector",
    type=FILE_OR_NAME,
    help="Description of the child, if it differs.  [default: as --detector]",
)
@click.option(
    "--nms-iou", type=float,
    help="IoU of a NMS on the boxes of both detectors.  [default: as described or found]",
)  # fmt: skip
@click.option(
    "--names", type=FILE, help="COCO dictionary with the names of the images and categories."
)
@match_by
@click.option("--iou-threshold", default=0.5, show_default=True, help="Lowest IoU of a match.")
@click.option("--score-threshold", default=0.25, show_default=True, help="Lowest score counted.")
@click.option(
    "--backend", type=Choice(list(BACKENDS)),
    help="Backend for the metrics.  [default: the best that can run]",
)  # fmt: skip
@click.option("--out", type=DIR, help="Folder for summary.json, boxes.parquet and report.html.")
@browse
@click.option("--fail-below", multiple=True, metavar="NAME=VALUE", help="Exit with 1 if below.")
@click.option("--fail-above", multiple=True, metavar="NAME=VALUE", help="Exit with 1 if above.")
@baseline
@max_drop
@bootstrap
@seed
@json_file
@junit_file
def command(
    fail_below: tuple[str, ...],
    fail_above: tuple[str, ...],
    max_drop: tuple[str, ...],
    out: str | None,
    json_file: str | None,
    junit_file: str | None,
    **options: Any,
) -> None:
    """Compare the boxes of CHILD, such as a quantised model, with those of PARENT.

    Both are COCO results, or both are .onnx detectors, which run on --images.
    """
    from lossexport.comparison import compare

    summary = compare(
        **options,
        out=out,
        fail_below=bounds(fail_below, "--fail-below"),
        fail_above=bounds(fail_above, "--fail-above"),
        max_drop=bounds(max_drop, "--max-drop"),
        progress=True,
    )
    _show(summary)
    show_intervals(summary)
    show_notes(summary)
    if out:
        click.echo(f"report: {click.format_filename(out)}/report.html")
    numbers = {name: str(summary["counts"][name]) for name in ("parent", "child", "new")}
    numbers |= {name: number(summary[name]) for name in ("kept", "agreement")}
    finish("compare", summary, numbers, json_file, junit_file)


def _show(summary: dict[str, Any]) -> None:
    """Print counts, quality of the matched pairs and score drift; a dash if undefined."""
    counts = [(name, str(value)) for name, value in summary["counts"].items()]
    rates = [(name, number(summary[name])) for name in ("kept", "agreement")]
    show("Counts", ("what", "number"), counts + rates, right=1)
    show_quality(summary)
    drift = summary["drift"]
    columns = [*drift]
    show(
        "Drift of the score, child - parent",
        columns,
        [[number(drift[name]) for name in columns]],
        right=len(columns),
    )
