"""`lossexport verify`."""

from pathlib import Path

import click

from lossexport.cli._terminal import show
from lossexport.errors import CheckFailedError, printable
from lossexport.progress import progress


@click.command("verify")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--backend", "backends", multiple=True, metavar="NAME",
    help="native, ort, rtx or tensorrt; several with commas or repeated.  [default: all]",
)  # fmt: skip
@click.option("--json", "json_file", metavar="FILE", help="Write the report as JSON.")
@click.option("--html", "html_file", metavar="FILE", help="Write the report as one HTML page.")
@click.option("--replay", metavar="CASE", help="Run one case only, as the report names it.")
@click.option("--no-store", is_flag=True, help="Leave the manifest as it is.")
def command(
    paths: tuple[str, ...],
    backends: tuple[str, ...],
    json_file: str | None,
    html_file: str | None,
    replay: str | None,
    no_store: bool,
) -> None:
    """Compare artifacts with float64 PyTorch on every backend of this machine.

    PATH is an .onnx, an .engine or an export folder. Exits with 1 where an output is beyond its
    tolerance. What cannot run here is said to be so and does not count as passed. The results are
    stored in the manifest beside the files.
    """
    from lossexport.files import write_bytes
    from lossexport.parity import verify
    from lossexport.parity.report import COLUMNS, NUMBERS, html_page, json_text, rows, verdict

    chosen = [name for text in backends for name in text.split(",")] or None
    with progress() as step:
        report = verify(paths, backends=chosen, replay=replay, store=not no_store, progress=step)
    if json_file:
        write_bytes(Path(json_file), json_text(report).encode())
    if html_file:
        write_bytes(Path(html_file), html_page(report).encode(errors="backslashreplace"))
    show("Parity with eager PyTorch in float64", COLUMNS, rows(report), right=NUMBERS)
    click.echo(printable(verdict(report)))
    for note in report.notes:
        click.echo(printable(f"note: {note}"))
    if report.failed:
        raise CheckFailedError(verdict(report).splitlines()[0])
