"""`lossexport watch`."""

from typing import Any, TextIO

import click

from lossexport.cli import emit
from lossexport.cli._reports import finish, json_file, junit_file
from lossexport.cli._terminal import number
from lossexport.cli._types import FILE
from lossexport.cli.score import bounds, show_notes
from lossexport.errors import LossexportError, printable


@click.command("watch", short_help="Estimate quality without references; find drift.")
@click.argument("calibration", type=FILE)
@click.option(
    "--pred", required=True, type=FILE,
    help="Frames: COCO results, or a line of JSON for each (.jsonl, or - for standard input).",
)  # fmt: skip
@click.option("--window", default=200, show_default=True, help="Frames of a window.")
@click.option(
    "--threshold", default=0.25, show_default=True,
    help="Lowest score of the boxes whose precision is estimated.",
)  # fmt: skip
@click.option("--detector", metavar="NAME", help="Name that the calibration must have.")
@click.option(
    "--alpha", default=0.01, show_default=True,
    help="Chance of a false alarm in a window, if frames are independent.",
)  # fmt: skip
@click.option(
    "--fail-below", multiple=True, metavar="NAME=VALUE",
    help="Exit with 1 if an estimate, or NAME.lower, is below in any window.",
)  # fmt: skip
@click.option("--fail-on-drift", is_flag=True, help="Exit with 1 if a window has drifted.")
@json_file
@junit_file
@click.pass_obj
def command(
    stream: TextIO | None,
    /,
    pred: str,
    fail_below: tuple[str, ...],
    json_file: str | None,
    junit_file: str | None,
    **options: Any,
) -> None:
    """Estimate precision and AP50 of windows of frames without references, and find drift.

    CALIBRATION is a file of `lossexport calibrate`. Frames of standard input are answered as their
    windows become full.
    """
    from lossexport.monitor.run import ESTIMATES, watch

    def tell(statement: dict[str, Any]) -> None:
        text = printable(line(statement))
        if pred != "-":
            click.echo(text)
        elif refused := emit(stream, f"{text}\n"):
            raise LossexportError(f"standard output: {refused}")

    summary = watch(
        pred=pred, **options, fail_below=bounds(fail_below, "--fail-below"), tell=tell
    )  # fmt: skip
    show_notes(summary)
    numbers = {name: str(value) for name, value in summary["counts"].items()}
    numbers |= {f"{name}, lowest estimate": number(summary["lowest"][name]) for name in ESTIMATES}
    finish("watch", summary, numbers, json_file, junit_file)


def line(statement: dict[str, Any]) -> str:
    """A statement on one line."""
    found = statement["estimate"]
    parts = [
        f"window {statement['window']} (frames {statement['first']} to {statement['last']})",
        f"estimate of precision {_interval(found['precision'])}",
        f"of AP50 {_interval(found['AP50'])}",
        f"of correct boxes {_interval(found['correct'], '.0f')} of "
        f"{statement['boxes_at_threshold']}",
    ]
    moved = [
        f"{part} ({row['moved']}: {row['before']:.0%} -> {row['now']:.0%}, p {row['p_holm']:.1g})"
        for part, row in statement["drift"].items()
        if row and row["drifted"]
    ]
    drift = f"drift of {', '.join(moved)}" if moved else "no drift"
    return f"{parts[0]}: {', '.join(parts[1:])}; {drift}"


def _interval(value: dict[str, float | None], form: str = ".3f") -> str:
    if value["value"] is None:
        return "undefined"
    return f"{value['value']:{form}} ({value['lower']:{form}} to {value['upper']:{form}})"
