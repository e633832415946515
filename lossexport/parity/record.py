"""The results of `verify`, from which tables, pages and manifest entries are made."""

from dataclasses import dataclass
from pathlib import Path

from lossexport.catalog.variant import Variant
from lossexport.manifest import BackendParity, ProofRecord


@dataclass(frozen=True, slots=True)
class FileReport:
    """An artifact and the result of each backend."""

    path: Path
    variant: Variant
    results: tuple[BackendParity, ...]
    sha256: str | None = None
    """Hash of the file, if a manifest lists it."""
    edited: bool = False
    """Whether the graph is not the one that the file's metadata claim."""
    proof: ProofRecord | None = None
    """What is proved of the range of its results, if it is an fp16 or bf16 graph."""


@dataclass(frozen=True, slots=True)
class Report:
    """The results of `verify`; `notes` are sentences about anything that could not be done."""

    files: tuple[FileReport, ...]
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether a backend exceeded a tolerance, or a graph overflows."""
        return self._has("failed") or bool(self.overflows)

    @property
    def overflows(self) -> list[FileReport]:
        """The files in which a result overflows the type that computes it."""
        return [file for file in self.files if file.proof and file.proof.status == "overflows"]

    @property
    def passed(self) -> bool:
        """Whether something ran and nothing failed. A file that did not run has not passed."""
        return self._has("passed") and not self.failed

    def _has(self, status: str) -> bool:
        return any(result.status == status for file in self.files for result in file.results)
