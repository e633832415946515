"""What `verify` found, before it is a table, a page or a manifest's entry."""

from dataclasses import dataclass
from pathlib import Path

from lossexport.catalog.variant import Variant
from lossexport.manifest import BackendParity


@dataclass(frozen=True, slots=True)
class FileReport:
    """One artifact and how each backend fared on it."""

    path: Path
    variant: Variant
    results: tuple[BackendParity, ...]
    sha256: str | None = None
    """Of a file that a manifest lists."""


@dataclass(frozen=True, slots=True)
class Report:
    """What `verify` found; `notes` are sentences on what it could not do besides."""

    files: tuple[FileReport, ...]
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether a backend breached a tolerance."""
        return self._has("failed")

    @property
    def passed(self) -> bool:
        """Whether something ran and nothing failed. What could not run here did not pass."""
        return self._has("passed") and not self.failed

    def _has(self, status: str) -> bool:
        return any(result.status == status for file in self.files for result in file.results)
