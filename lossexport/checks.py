"""Results of checks as CI systems read them: JUnit XML, and a summary on the page of a job."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lossexport.files import reason

SUMMARY = "GITHUB_STEP_SUMMARY"
"""Variable with the file that a step of GitHub Actions appends its summary to, as Markdown."""
_ROWS = 40
_NO_XML = "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
"""A pattern, compiled on use, because that takes as long as a small import."""


CheckStatus = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked, or was not, with the reason in `message`."""

    group: str
    name: str
    status: CheckStatus
    message: str = ""


def gate_checks(verb: str, summary: Mapping[str, Any]) -> list[Check]:
    """The gates of a summary; without any, that the numbers could be computed."""
    failures = iter(summary["gate_failures"])
    return [
        Check(
            f"lossexport.{verb}",
            f"{gate['name']} {gate['kind']} {gate['bound']:g}",
            "passed" if gate["passed"] else "failed",
            "" if gate["passed"] else next(failures),
        )
        for gate in summary["gates"]
    ] or [Check(f"lossexport.{verb}", "computed", "passed")]


def junit(suite: str, checks: Sequence[Check]) -> bytes:
    """The checks as JUnit XML with one suite, which most CI systems read."""
    from xml.etree import ElementTree

    counts = {
        plural: str(sum(check.status == status for check in checks))
        for plural, status in (("failures", "failed"), ("skipped", "skipped"))
    }
    given = {"name": suite, "tests": str(len(checks)), "errors": "0", **counts}
    # The schema of Jenkins has no `skipped` of all suites.
    whole = {name: value for name, value in given.items() if name != "skipped"}
    root = ElementTree.Element("testsuites", whole)
    parent = ElementTree.SubElement(root, "testsuite", given)
    for check in checks:
        names = {"classname": _xml(check.group), "name": _xml(check.name), "time": "0"}
        case = ElementTree.SubElement(parent, "testcase", names)
        if check.status != "passed":
            tag = "failure" if check.status == "failed" else "skipped"
            first = _xml(check.message).partition("\n")[0]
            ElementTree.SubElement(case, tag, {"message": first}).text = _xml(check.message)
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, "utf-8", xml_declaration=True)
    return text + b"\n"


def _xml(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return re.sub(_NO_XML, "\N{REPLACEMENT CHARACTER}", text)


def step_summary(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Append a table to the summary of this CI step, if the system has one.

    Returns why it could not be written, or nothing. Rows beyond the first 40 are counted only.
    """
    where = os.environ.get(SUMMARY)
    if not where:
        return ""
    lines = [columns, ["---"] * len(columns), *rows[:_ROWS]]
    text = "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)
    if len(rows) > _ROWS:
        text += f"\n\n{len(rows) - _ROWS} more rows"
    try:
        with Path(where).open("a", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(f"### {_cell(title)}\n\n{text}\n\n")
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        return f"{SUMMARY}={where}: cannot be written: {why}"
    return ""


def _cell(text: str) -> str:
    """Text in one cell of Markdown, as it stands."""
    return re.sub(r"([\\`*_{}<>|\[\]])", r"\\\1", " ".join(text.split()))
