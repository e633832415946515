"""What `score --explain` finds beyond the numbers: one record each, from which all output derives.

Functions take the results of the one matching pass and return numbers for the summary, a table
for the report and a table for a Parquet file.
"""

from typing import Any

from lossexport.scoring.causes.classes import CLASSES, CURVES
from lossexport.scoring.causes.confusion import CONFUSION
from lossexport.scoring.causes.errors import ERRORS
from lossexport.scoring.causes.images import IMAGES
from lossexport.scoring.causes.record import Diagnosis, Finding, Section
from lossexport.scoring.causes.reliability import RELIABILITY
from lossexport.scoring.record import Run

DIAGNOSES: tuple[Diagnosis, ...] = (ERRORS, CONFUSION, IMAGES, CLASSES, CURVES, RELIABILITY)
GATE_NAMES = tuple(name for diagnosis in DIAGNOSES for name in diagnosis.gates)
FILES = tuple(diagnosis.file for diagnosis in DIAGNOSES)

Findings = list[tuple[Section, Finding]]


def diagnose(run: Run, summary: dict[str, Any]) -> Findings:
    """Make every diagnosis, and put its numbers into the summary."""
    found: Findings = []
    for diagnosis in DIAGNOSES:
        finding = diagnosis.find(run, summary)
        summary.update(finding.numbers)
        found.append((diagnosis, finding))
    return found
