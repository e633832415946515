"""`lossexport verify`."""

from pathlib import Path

import click

from lossexport.cli._own import takes_ops
from lossexport.cli._terminal import show
from lossexport.cli._types import FILE, FILE_OR_DIR
from lossexport.errors import CheckFailedError, printable
from lossexport.progress import steps


@click.command("verify")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=FILE_OR_DIR)
@click.option(
    "--backend", "backends", multiple=True, metavar="NAME",
    help="native, ort-kernels, ort (ort-cpu, ort-cuda, ort-rtx), rtx or tensorrt; repeat it, or "
    "use commas, for several.  [default: all]",
)  # fmt: skip
@click.option("--json", "json_file", type=FILE, help="Write the report as JSON.")
@click.option("--html", "html_file", type=FILE, help="Write the report as one HTML page.")
@click.option("--replay", metavar="CASE", help="Run a single case, by its name in the report.")
@click.option(
    "--store/--no-store", default=False,
    help="Store the results in the manifest.  [default: leave it unchanged]",
)  # fmt: skip
@takes_ops
def command(
    paths: tuple[str, ...],
    backends: tuple[str, ...],
    json_file: str | None,
    html_file: str | None,
    replay: str | None,
    store: bool,
) -> None:
    """Compare exported files with PyTorch in float64.

    Runs every backend of this machine. PATH is an .onnx file, an .engine file or an export folder.
    The exit code is 1 if an output exceeds its tolerance. Missing backends are reported as "not run
    here" and engines without a GPU as "built, not run here"; neither counts as passed.
    """
    from lossexport.files import write_bytes
    from lossexport.parity.report import COLUMNS, NUMBERS, html_page, json_text, rows, verdict
    from lossexport.parity.verify import verify

    chosen = [name for text in backends for name in text.split(",")] or None
    with steps("verifying") as step:
        report = verify(paths, backends=chosen, replay=replay, store=store, progress=step)
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
