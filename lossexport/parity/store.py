"""Writes the results of `verify` into the manifests that list the files."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from lossexport.errors import LossexportError
from lossexport.files import exclusive
from lossexport.manifest import Artifact, BackendParity, load_manifest, store_parity
from lossexport.parity.record import FileReport


def store_results(reports: Iterable[FileReport], keep: bool) -> Iterator[str]:
    """Put the results into the manifests that list the files, and yield a note for each failure.

    With `keep`, the results of other backends there are kept.
    """
    by_folder: dict[Path, dict[str, FileReport]] = {}
    for report in reports:
        by_folder.setdefault(report.path.parent, {})[report.path.name] = report
    for folder, files in by_folder.items():
        try:
            with exclusive(folder):  # an export may write there at the same time
                left_out = _store_in(folder, files, keep)
        except LossexportError as error:
            yield f"{error}: the results are not stored in the manifest"
            continue
        if left_out:
            yield f"{folder}: no manifest.json lists {', '.join(left_out)}: not stored"


def _store_in(folder: Path, files: dict[str, FileReport], keep: bool) -> list[str]:
    """Store the results on the files of one folder. Returns the names of files not listed there."""
    manifest = load_manifest(folder)
    listed = {entry.file: entry for entry in manifest.artifacts} if manifest else {}
    results = {
        name: _parity(listed[name], report, keep)
        for name, report in files.items()
        if name in listed and listed[name].sha256 == report.sha256
    }
    if any(listed[name].parity != result for name, result in results.items()):
        store_parity(folder, results)
    return sorted(files.keys() - results.keys())


def _parity(entry: Artifact, report: FileReport, keep: bool) -> list[BackendParity]:
    new = {result.backend for result in report.results}
    old = [result for result in entry.parity or () if keep and result.backend not in new]
    return [*old, *report.results]
