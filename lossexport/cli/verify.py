"""`lossexport verify`."""

from collections.abc import Sequence
from pathlib import Path

import click

from lossexport.cli._own import takes_ops
from lossexport.cli._reports import html_file, json_file, junit_file, write_checks, write_json
from lossexport.cli._terminal import show
from lossexport.cli._types import FILE_OR_DIR
from lossexport.errors import CheckFailedError, LossexportError, printable
from lossexport.files import write_bytes
from lossexport.progress import steps


def _names(texts: Sequence[str]) -> list[str]:
    return [name for text in texts for name in text.split(",")]


@click.command("verify")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=FILE_OR_DIR)
@click.option(
    "--backend", "backends", multiple=True, metavar="NAME",
    help="native, ort-kernels, ort (ort-cpu, ort-cuda, ort-rtx), rtx or tensorrt; repeat it, or "
    "use commas, for several.  [default: all]",
)  # fmt: skip
@click.option(
    "--require", "required", multiple=True, metavar="NAME",
    help="Exit with 1 if a file did not run on this backend; ort is ort-cpu here.",
)  # fmt: skip
@json_file
@junit_file
@html_file
@click.option("--replay", metavar="CASE", help="Run a single case, by its name in the report.")
@click.option(
    "--store/--no-store", default=False,
    help="Store the results in the manifest.  [default: leave it unchanged]",
)  # fmt: skip
@click.option(
    "--hash-only", is_flag=True,
    help="Only compare the files with the hashes in their manifests; needs no PyTorch.",
)  # fmt: skip
@takes_ops
def command(
    paths: tuple[str, ...],
    backends: tuple[str, ...],
    required: tuple[str, ...],
    json_file: str | None,
    junit_file: str | None,
    html_file: str | None,
    replay: str | None,
    store: bool,
    hash_only: bool,
) -> None:
    """Compare exported files with PyTorch in float64.

    Runs every backend of this machine. PATH is an .onnx file, an .engine file or an export folder.
    The exit code is 1 if an output exceeds its tolerance. Missing backends are reported as "not run
    here" and engines without a GPU as "built, not run here"; neither counts as passed.
    """
    if hash_only:
        others = {
            "backend": backends, "require": required, "html": html_file, "replay": replay,
            "store": store,
        }  # fmt: skip
        if used := [name for name, value in others.items() if value]:
            raise LossexportError(f"--{used[0]}: is not for --hash-only, which runs nothing")
        _compare_hashes(paths, json_file, junit_file)
        return
    from lossexport.parity.report import (
        COLUMNS,
        NUMBERS,
        checks,
        html_page,
        json_text,
        rows,
        unmet,
        verdict,
    )  # fmt: skip
    from lossexport.parity.verify import verify

    needed = _names(required)
    with steps("verifying") as step:
        report = verify(
            paths, backends=_names(backends) or None, replay=replay, store=store,
            require=needed, progress=step,
        )  # fmt: skip
    if json_file:
        write_bytes(Path(json_file), json_text(report).encode())
    if html_file:
        write_bytes(Path(html_file), html_page(report).encode(errors="backslashreplace"))
    show("Parity with eager PyTorch in float64", COLUMNS, rows(report), right=NUMBERS)
    click.echo(printable(verdict(report)))
    for note in report.notes:
        click.echo(printable(f"note: {note}"))
    found = checks(report, needed)
    table = [(check.name, check.status, check.message) for check in found]
    write_checks("lossexport verify", found, ("artifact", "result", "why"), table, junit_file)
    if report.failed:
        raise CheckFailedError(verdict(report).splitlines()[0])
    if missing := unmet(report, needed):
        raise CheckFailedError("; ".join(missing))


def _compare_hashes(paths: tuple[str, ...], json_file: str | None, junit_file: str | None) -> None:
    from lossexport.hashes import check_hashes

    checks = check_hashes(paths)
    failed = [check for check in checks if check.status == "failed"]
    if json_file:
        artifacts = [{"path": c.name, "status": c.status, "message": c.message} for c in checks]
        report = {"schema_version": 1, "passed": not failed, "artifacts": artifacts}
        write_json(json_file, report)
    rows = [(check.name, check.status, check.message) for check in checks]
    columns = ("file", "result", "sha256, or why not")
    show("Files and their manifests", columns, rows)
    write_checks("lossexport verify --hash-only", checks, columns, rows, junit_file)
    if failed:
        raise CheckFailedError(f"{len(failed)} of {len(checks)} files are not as listed")
