"""`lossexport bench`."""

import re
from dataclasses import asdict
from datetime import UTC, datetime

import click

from lossexport import __version__
from lossexport.cli._reports import json_file, write_json
from lossexport.cli._terminal import show
from lossexport.errors import LossexportError
from lossexport.progress import steps

MAX_SIZE = 16384


@click.command("bench")
@click.option(
    "--sizes",
    default="64,512,2048,4096",
    metavar="N,N,...",
    show_default=True,
    help="Numbers of boxes, N = M.",
)
@json_file
def command(sizes: str, json_file: str | None) -> None:
    """Time pairwise CIoU in PyTorch, as a kernel and exported.

    PyTorch runs it eagerly and compiled. A naive export is timed for comparison.
    """
    parsed = []
    for text in sizes.split(","):
        # int() refuses thousands of digits.
        if re.fullmatch(r"\d{1,9}", text, re.ASCII) is None or not 1 <= int(text) <= MAX_SIZE:
            raise LossexportError(f"--sizes {text!r}: must be a number from 1 to {MAX_SIZE}")
        parsed.append(int(text))
    from lossexport import bench

    with steps("timing") as step:
        rows = bench.run(parsed, step)
    names = list(rows[0].milliseconds)
    ours = names[-1]
    table = []
    for row in rows:
        base = row.milliseconds[ours] or float("nan")
        cells = [
            "not run here" if value is None else f"{value:.3g} ({value / base:.2g}x)"
            for value in row.milliseconds.values()
        ]
        table.append((str(row.size), *cells))
    where = bench.environment()
    title = "Pairwise CIoU, median ms (times our export); " + ", ".join(
        f"{name} {value}" for name, value in where.items()
    )
    show(title, ("N = M", *names), table, right=len(names))
    if json_file:
        record = {
            "schema_version": 1,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "lossexport": __version__,
            "environment": where,
            "rows": [asdict(row) for row in rows],
        }
        write_json(json_file, record)
