"""What a run finds beyond its numbers if it is asked for: causes, slices, cuts and intervals.

Their modules are imported only then, as a run without them shall not take longer.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from lossexport.bootstrap.draws import Draws
from lossexport.boxes.gates import Gates, Missing
from lossexport.boxes.pairs import Pairs
from lossexport.errors import LossexportError
from lossexport.formats.attributes import Images
from lossexport.formats.memory import Detections
from lossexport.scoring import coco_ap, protocol, ranked
from lossexport.scoring.record import Run
from lossexport.scoring.results import Results
from lossexport.scoring.summary import GATE_NAMES, INTERVALS

if TYPE_CHECKING:
    from lossexport.scoring.causes import Findings
    from lossexport.scoring.causes.record import Finding
    from lossexport.scoring.slices import Given, Request, Slice


class Extras(msgspec.Struct, frozen=True):
    """What is asked for."""

    explain: bool
    slices: "Request | None"
    draws: Draws | None
    wanted: Mapping[str, float]
    """Rates whose cut of the score is asked for, by their names."""

    @classmethod
    def of(
        cls,
        *,
        explain: bool = False,
        at_precision: float | None = None,
        at_recall: float | None = None,
        slices: "str | os.PathLike[str] | Given | None" = None,
        slice_by: str | Sequence[str] = (),
        size_grid: Sequence[float] = (),
        bootstrap: int | None = None,
        seed: int = 0,
    ) -> "Extras":
        """From the arguments of `score`. Raises LossexportError on wrong ones."""
        wanted = {
            name: ranked.check_rate(f"at_{name}", value)
            for name, value in (("precision", at_precision), ("recall", at_recall))
            if value is not None
        }
        draws = Draws.of(bootstrap, seed)
        if slices is None and not len(slice_by) and not len(size_grid):
            return cls(explain, None, draws, wanted)
        from lossexport.scoring.slices import Request

        return cls(explain, Request.of(slices, slice_by, size_grid), draws, wanted)

    @property
    def settings(self) -> dict[str, float]:
        """The settings that a summary names."""
        return {f"at_{name}": rate for name, rate in self.wanted.items()}

    def gates(
        self,
        below: Mapping[str, float] | None,
        above: Mapping[str, float] | None,
        baseline: str | os.PathLike[str] | None,
        max_drop: Mapping[str, float] | None,
    ) -> Gates:
        """Gates on the numbers of such a run. Raises LossexportError as `Gates` does."""
        return Gates(
            (*GATE_NAMES, *(_explained() if self.explain else ())),
            below,
            above,
            baseline,
            max_drop,
            None if self.draws is None else INTERVALS,
            Missing(tuple if self.explain else _explained, slices=self.slices is None),
        )

    def check_folder(self, folder: Path) -> None:
        """Raise LossexportError if there are tables of an earlier run that this one lacks."""
        from lossexport.reports.output import refuse_stale
        from lossexport.scoring.causes import FILES
        from lossexport.scoring.slices import SLICES

        for name in () if self.explain else FILES:
            refuse_stale(folder / name, "or explain this run too")
        if self.slices is None:
            refuse_stale(folder / SLICES.file, "or slice this run too")

    def read(self, references: Path | Detections | None, form: str, data: Images) -> "list[Slice]":
        """The slices of the images. Raises LossexportError as `Request.read` does."""
        return [] if self.slices is None else self.slices.read(references, form, data)

    def find(
        self, run: Run, pairs: Pairs, slices: "list[Slice]", summary: dict[str, Any]
    ) -> "Findings":
        """The causes and the slices of a run, whose numbers are put into the summary."""
        found: Findings = []
        if self.explain:
            from lossexport.scoring.causes import diagnose

            found += diagnose(run, summary)
        if self.slices is not None:
            from lossexport.scoring.slices import SLICES

            by_size = None
            if self.sizes:
                if run.data.parts:
                    raise LossexportError(
                        "size_grid: boxes are in parts of their images: sizes are not known"
                    )
                asked = protocol.of_sizes(self.sizes)
                by_size = coco_ap.match(run.data, run.order, pairs, asked)
            found.append((SLICES, self.slice(run.results, slices, by_size, summary)))
        return found

    @property
    def sizes(self) -> tuple[float, ...]:
        """The limits of sides that are asked for."""
        return () if self.slices is None else self.slices.sizes

    def slice(
        self,
        results: Results,
        slices: "Sequence[Slice]",
        by_size: protocol.Outcomes | None,
        summary: dict[str, Any],
    ) -> "Finding":
        """The numbers of the slices and of ranges of sizes, which are put into the summary."""
        from lossexport.scoring.slices import find

        finding = find(results, self.wanted, slices, self.sizes, by_size)
        summary.update(finding.numbers)
        return finding

    def resample(
        self,
        results: Results,
        summary: dict[str, Any],
        advance: Callable[[float], None] | None = None,
    ) -> None:
        """Put the intervals into the summary, if they are asked for."""
        if self.draws is not None:
            from lossexport.bootstrap.scored import bootstrap

            summary["bootstrap"] = bootstrap(results, summary, self.draws, advance)


def _explained() -> Sequence[str]:
    from lossexport.scoring.causes import GATE_NAMES as NAMES

    return NAMES


def tables(run: Run, findings: "Findings") -> Mapping[str, Any]:
    """What writes the Parquet files of the findings, by their names."""
    from functools import partial

    from lossexport.scoring.causes.tables import write

    return {
        section.file: partial(write, data=run.data, table=finding.table)
        for section, finding in findings
        if finding.table is not None
    }
