"""What a run finds beyond its numbers if it is asked for: the causes of errors, and slices.

Their modules are imported only then, as a run without them shall not take longer.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from lossexport.boxes.boxset import Dataset
from lossexport.boxes.pairs import Pairs
from lossexport.formats.memory import Detections
from lossexport.scoring.record import Run

if TYPE_CHECKING:
    from lossexport.scoring.causes import Findings
    from lossexport.scoring.slices import Given, Request, Slice


class Extras(msgspec.Struct, frozen=True):
    """What is asked for."""

    explain: bool
    slices: "Request | None"

    @classmethod
    def of(
        cls,
        explain: bool,
        slices: "str | os.PathLike[str] | Given | None",
        slice_by: str | Sequence[str],
        size_grid: Sequence[float],
    ) -> "Extras":
        """From the arguments of `score`. Raises LossexportError on wrong ones."""
        if slices is None and not len(slice_by) and not len(size_grid):
            return cls(explain, None)
        from lossexport.scoring.slices import Request

        return cls(explain, Request.of(slices, slice_by, size_grid))

    def gate_names(self) -> tuple[str, ...]:
        """The names of more numbers that can be gates."""
        if not self.explain:
            return ()
        from lossexport.scoring.causes import GATE_NAMES

        return GATE_NAMES

    def check_folder(self, folder: Path) -> None:
        """Raise LossexportError if there are tables of an earlier run that this one lacks."""
        from lossexport.reports.output import refuse_stale
        from lossexport.scoring.causes import FILES
        from lossexport.scoring.slices import SLICES

        for name in () if self.explain else FILES:
            refuse_stale(folder / name, "or explain this run too")
        if self.slices is None:
            refuse_stale(folder / SLICES.file, "or slice this run too")

    def read(self, references: Path | Detections, form: str, data: Dataset) -> "list[Slice]":
        """The slices of the images. Raises LossexportError as `slices.read` does."""
        return [] if self.slices is None else self.slices.read(references, form, data)

    def find(
        self, run: Run, pairs: Pairs, slices: "list[Slice]", summary: dict[str, Any]
    ) -> "Findings":
        """Find all, and put the numbers into the summary."""
        found: Findings = []
        if self.explain:
            from lossexport.scoring.causes import diagnose

            found += diagnose(run, summary)
        if self.slices is not None:
            from lossexport.scoring.slices import SLICES, find

            finding = find(run, pairs, slices, self.slices.sizes)
            summary.update(finding.numbers)
            found.append((SLICES, finding))
        return found


def tables(run: Run, findings: "Findings") -> Mapping[str, Any]:
    """What writes the Parquet files of the findings, by their names."""
    from functools import partial

    from lossexport.scoring.causes.tables import write

    return {
        section.file: partial(write, data=run.data, table=finding.table)
        for section, finding in findings
        if finding.table is not None
    }
