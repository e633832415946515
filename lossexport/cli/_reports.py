"""The options of verbs that check something: where results go for programs and CI systems."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from lossexport.checks import Check, gate_checks, junit, step_summary
from lossexport.cli._terminal import number
from lossexport.cli._types import FILE
from lossexport.errors import CheckFailedError, LossexportError, printable
from lossexport.files import check_file, write_bytes
from lossexport.names import BROWSED

_WRITTEN = "lossexport.written"


def _writable(ctx: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Check early that a file can be written, so that no work is lost.

    Raises LossexportError if it cannot, and if another option names the same file.
    """
    if value is not None:
        written = ctx.meta.setdefault(_WRITTEN, {})
        other = written.setdefault(Path(value).absolute(), option.opts[0])
        if other != option.opts[0]:
            raise LossexportError(f"{option.opts[0]} {value}: {other} writes the same file")
        check_file(Path(value))
    return value


json_file = click.option(
    "--json", "json_file", type=FILE, callback=_writable, help="Write the results as JSON."
)
junit_file = click.option(
    "--junit", "junit_file", type=FILE, callback=_writable,
    help="Write the checks as JUnit XML, for CI systems.",
)  # fmt: skip
html_file = click.option(
    "--html", "html_file", type=FILE, callback=_writable,
    help="Write the report as one HTML page.",
)  # fmt: skip
baseline = click.option(
    "--baseline", type=FILE, help="The summary.json of an earlier run, for --max-drop."
)
max_drop = click.option(
    "--max-drop", multiple=True, metavar="METRIC=VALUE",
    help="Exit with 1 if lower than in --baseline by more than this.",
)  # fmt: skip
bootstrap = click.option(
    "--bootstrap", type=int, metavar="N",
    help="Draw the images N times: 95 % intervals of all numbers; gates as AP.lower, AP.upper.",
)  # fmt: skip
browse = click.option(
    "--browse", default=BROWSED, show_default=True, metavar="N",
    help="Images in the report with all of their faults or differences, 0 to 200.",
)  # fmt: skip
seed = click.option("--seed", type=int, default=0, show_default=True, help="Of --bootstrap.")


def write_checks(
    title: str, checks: Sequence[Check], columns: Sequence[str], rows: Sequence[Sequence[str]],
    junit_file: str | None,
) -> None:  # fmt: skip
    """Write the checks where they were asked for, and the table into the summary of a CI step."""
    if junit_file:
        write_bytes(Path(junit_file), junit(title, checks))
    if note := step_summary(title, columns, rows):
        click.echo(f"note: {printable(note)}")


def write_json(file: str, data: Mapping[str, Any]) -> None:
    """Write the results of a verb as JSON."""
    write_bytes(Path(file), (json.dumps(data, indent=2, allow_nan=False) + "\n").encode())


def finish(
    verb: str,
    summary: Mapping[str, Any],
    numbers: Mapping[str, str],
    json_file: str | None,
    junit_file: str | None,
) -> None:
    """Write what `score` and `compare` found; `numbers` are for the summary of a CI step.

    Raises CheckFailedError if a gate failed.
    """
    if json_file:
        write_json(json_file, summary)
    rows = [(name, value, "") for name, value in numbers.items()]
    for gate in summary["gates"]:
        value = number(gate["value"])
        result = "passed" if gate["passed"] else "FAILED"
        rows.append((gate["name"], value, f"{gate['kind']} {gate['bound']:g}: {result}"))
    checks = gate_checks(verb, summary)
    write_checks(f"lossexport {verb}", checks, ("number", "value", "gate"), rows, junit_file)
    if summary["gate_failures"]:
        raise CheckFailedError("; ".join(summary["gate_failures"]))
