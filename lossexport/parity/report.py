"""A parity report as a table, as JSON and as one HTML page."""

import json
import math
import shlex
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from lossexport import __version__
from lossexport.catalog import CATALOG
from lossexport.catalog.variant import Variant
from lossexport.checks import Check, CheckStatus
from lossexport.manifest import BackendParity
from lossexport.parity.artifact import required
from lossexport.parity.record import Report
from lossexport.parity.tolerance import tolerances
from lossexport.ranges.record import sentence

COLUMNS = (
    *("artifact", "backend", "status", "output"),
    *("cases", "max abs", "max rel", "p99.9 ULP", "max ULP", "of tolerance"),
)
NUMBERS = 6
_NOT_RUN = "not run here"
_MOST_ULP = 2**23


def status(path: Path, result: BackendParity) -> str:
    """The verdict in words: an engine that cannot run here was still built."""
    if result.status != _NOT_RUN:
        return result.status
    return f"built, {_NOT_RUN}" if path.suffix == ".engine" else _NOT_RUN


def absence(path: Path, result: BackendParity) -> str:
    """Why a file did not run."""
    return f"{status(path, result)}: {result.reason}"


def rows(report: Report) -> list[tuple[str, ...]]:
    """One row for each output on a backend that ran, and one for each backend that did not run."""
    found: list[tuple[str, ...]] = []
    for file in report.files:
        for result in file.results:
            head = (file.path.name, result.backend, status(file.path, result))
            if not result.outputs:
                found.append((*head, result.reason or "", *[""] * NUMBERS))
            for name, errors in result.outputs.items():
                used = errors["tolerance_used"]
                found.append(
                    (
                        *(*head, name, str(result.cases)),
                        *(_number(errors[key]) for key in ("max_abs", "max_rel")),
                        *(_ulp(errors[key]) for key in ("p999_ulp", "max_ulp")),
                        "beyond" if used is None else f"{100 * used:.0f} %",
                    )
                )
    return found


def _number(value: float | None) -> str:
    return "inf" if value is None else f"{value:.3g}"


def _ulp(value: float | None) -> str:
    """A number of ULP; beyond the cap, the error is as large as the value itself."""
    return "inf" if value is None else f"{value:.3g}" if value <= _MOST_ULP else "> 2^23"


def _not_run(report: Report) -> dict[tuple[str, str, str], list[str]]:
    """The files that did not run, by backend, status and reason."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for file in report.files:
        for result in file.results:
            if result.status == _NOT_RUN:
                key = (result.backend, status(file.path, result), result.reason or "")
                found.setdefault(key, []).append(file.path.name)
    return found


def failure(name: object, result: BackendParity, replay: Callable[[str], str]) -> str:
    """A message on the failures of the file or op `name`, with the worst element.

    `replay` is called with the name of a case and returns how to run it again.
    """
    text = f"{name} on {result.backend}: {result.reason}"
    if result.worst is None:
        return text
    worst, errors = result.worst, result.outputs[result.worst.output]
    used, actual, expected = (
        errors[name] for name in ("tolerance_used", "worst_actual", "worst_expected")
    )
    if actual is None or expected is None:
        kind, times = "", ""
    elif used is None:  # the tolerance is 0
        kind, times = "exactly ", ""
    else:
        kind, times = "", f", off by {used:.3g} times its tolerance"
    return (
        f"{text}\n  {worst.output}{worst.index} is {_value(actual)}, expected "
        f"{kind}{_value(expected)}{times} ({errors['breaches']} of {errors['elements']} elements "
        f"are beyond); {replay(worst.case)}"
    )


def _value(value: float | None) -> str:
    return "NaN or infinite" if value is None else str(value)


def replay_command(path: Path, variant: Variant, case: str) -> str:
    """The command that runs one case of a file, with the option that loads its op."""
    ops = CATALOG.option(variant.op.name)
    return f"lossexport verify {shlex.quote(str(path))}{ops} --replay '{case}'"


def verdict(report: Report) -> str:
    """One line with the counts, and one for each failure with the case that replays it."""
    results = [(file, result) for file in report.files for result in file.results]
    counts = {
        name: sum(result.status == name for _, result in results)
        for name in ("passed", "failed", _NOT_RUN)
    }
    lines = [", ".join(f"{count} {name}" for name, count in counts.items())]
    lines += [
        f"FAILED {failure(file.path, result, partial(replay_command, file.path, file.variant))}"
        for file, result in results
        if result.status == "failed"
    ]
    lines += [
        f"FAILED {file.path}: {sentence(file.proof)}" for file in report.overflows if file.proof
    ]
    return "\n".join(lines)


def checks(report: Report, needed: Collection[str] = ()) -> list[Check]:
    """The result of each file on each backend. A file that did not run is skipped, if it may be."""
    return [
        Check(
            f"lossexport.verify.{file.variant.op.name}",
            f"{file.path.name} on {result.backend}",
            _outcome(result, needed),
            result.reason or "",
        )
        for file in report.files
        for result in file.results
    ] + [
        Check(
            f"lossexport.verify.{file.variant.op.name}",
            f"{file.path.name} ranges",
            "failed",
            sentence(file.proof),
        )
        for file in report.overflows
        if file.proof is not None
    ]


def _outcome(result: BackendParity, needed: Collection[str]) -> CheckStatus:
    if result.status == "not run here":
        return "failed" if required(result.backend, needed) else "skipped"
    return result.status


def unmet(report: Report, needed: Collection[str]) -> list[str]:
    """A sentence for each file that did not run on a backend which has to run."""
    return [
        f"{file.path}: {result.backend} is required: {absence(file.path, result)}"
        for file in report.files
        for result in file.results
        if result.status == _NOT_RUN and required(result.backend, needed)
    ]


def data(report: Report) -> dict[str, Any]:
    """The report as plain data."""
    return {
        "schema_version": 1,
        "lossexport": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "passed": report.passed,
        "artifacts": [
            {
                "path": str(file.path),
                "op": file.variant.op.name,
                "kind": "gradient" if file.variant.gradient else "value",
                "precision": file.variant.precision,
                "edited": file.edited,
                "proof": msgspec.to_builtins(file.proof),
                "attributes": dict(file.variant.attributes),
                "tolerance": msgspec.to_builtins(tolerances(file.variant)),
                "backends": [
                    {**msgspec.to_builtins(result), "status": status(file.path, result)}
                    for result in file.results
                ],
            }
            for file in report.files
        ],
    }


def json_text(report: Report) -> str:
    """The report as JSON."""
    return json.dumps(data(report), indent=2) + "\n"


def html_page(report: Report) -> str:
    """The report as one self-contained page."""
    from lossexport.reports.document import document

    results = [result for file in report.files for result in file.results]
    return document(
        "parity.html.j2",
        backends={
            result.backend: result.backend_version
            for result in results
            if result.status != _NOT_RUN and result.backend_version
        },
        passed=report.passed,
        verdict=verdict(report),
        heads=[
            ("Passed", sum(result.status == "passed" for result in results), "a file on a backend"),
            ("Failed", sum(result.status == "failed" for result in results), "beyond tolerance"),
            ("Not run here", sum(result.status == _NOT_RUN for result in results), "not passed"),
            ("Files", len(report.files), "artifacts"),
        ],
        results=_result_rows(report),
        not_run=[
            {"backend": backend, "status": status, "reason": reason, "artifacts": ", ".join(names)}
            for (backend, status, reason), names in _not_run(report).items()
        ],
        tolerances=_tolerance_rows(report),
        notes_found=report.notes,
    )


def _result_rows(report: Report) -> list[dict[str, Any]]:
    """One row for each output on a backend that ran, the most of its tolerance used first."""
    found: list[dict[str, Any]] = []
    for file in report.files:
        for result in file.results:
            if result.status == _NOT_RUN:
                continue
            head = {
                "artifact": file.path.name,
                "backend": result.backend,
                "status": result.status,
                "cases": result.cases,
            }
            if not result.outputs:
                empty = dict.fromkeys(("max_abs", "max_rel", "p999_ulp", "max_ulp", "case"), "")
                found.append({**head, **empty, "output": result.reason or "", **_used(None)})
            for name, errors in result.outputs.items():
                worst = result.worst is not None and result.worst.output == name
                found.append(
                    {
                        **head,
                        "output": name,
                        **{key: _number(errors[key]) for key in ("max_abs", "max_rel")},
                        **{key: _ulp(errors[key]) for key in ("p999_ulp", "max_ulp")},
                        "case": result.worst.case if result.worst is not None and worst else "",
                        **_used(errors["tolerance_used"]),
                    }
                )
    return sorted(found, key=lambda row: -math.inf if row["used"] is None else -row["used"])


def _used(part: float | None) -> dict[str, float | None]:
    """The part of a tolerance that is used, and its bar, which is full for all that is beyond."""
    return {"used": part, "bar": 1.0 if part is None else part}


def _tolerance_rows(report: Report) -> list[dict[str, Any]]:
    """One row for each op, precision and output."""
    found = {
        (file.variant.op.name, file.variant.precision, name): tolerance
        for file in report.files
        for name, tolerance in tolerances(file.variant).items()
    }
    return [
        {
            "op": op,
            "precision": precision,
            "output": name,
            "ulp": f"{tolerance.ulp:g}",
            "abs": f"{tolerance.abs:.3g}",
            "why": tolerance.why,
        }
        for (op, precision, name), tolerance in found.items()
    ]
