"""`lossexport calibrate`."""

from typing import Any

import click

from lossexport.cli._terminal import number, show
from lossexport.cli._types import FILE, FILE_OR_DIR, FORMAT
from lossexport.cli.score import match_by


@click.command("calibrate", short_help="Learn from a labelled sample how often boxes are correct.")
@click.option("--pred", required=True, type=FILE_OR_DIR, help="Detections of the sample.")
@click.option("--ref", required=True, type=FILE_OR_DIR, help="References of the sample.")
@click.option("--out", required=True, type=FILE, help="File for the calibration, as JSON.")
@click.option("--format", type=FORMAT, default="coco", show_default=True,
    help="Format of both, as in score.",
)  # fmt: skip
@click.option("--pred-format", type=FORMAT, help="Format of --pred.")
@click.option("--ref-format", type=FORMAT, help="Format of --ref.")
@match_by
@click.option("--detector", metavar="NAME", help="Name of the detector, which watch can check.")
@click.option(
    "--threshold", default=0.25, show_default=True,
    help="Lowest score of the boxes whose drift is watched.",
)  # fmt: skip
def command(**options: Any) -> None:
    """Learn from a labelled sample how often the boxes of a detector are correct.

    The file is for `lossexport watch`, which then needs no references.
    """
    from lossexport.monitor import calibrate

    found = calibrate(**options, progress=True)
    rows = [
        ("images", str(found.images)),
        ("references", str(found.references)),
        ("boxes", str(found.boxes)),
        (f"boxes at score {found.threshold:g}", str(found.boxes_at_threshold)),
        ("precision of these", number(found.precision)),
        ("AP50, pooled", number(found.ap50)),
    ]
    show("Sample", ("what", "number"), rows, right=1)
    click.echo(f"calibration: {click.format_filename(options['out'])}")
