"""Checks that exported files are those that their manifest lists, without PyTorch or a runtime."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from lossexport import arguments
from lossexport.checks import Check
from lossexport.errors import LossexportError
from lossexport.files import read_bytes, sha256
from lossexport.manifest import MANIFEST_NAME, Artifact, find, load_manifest
from lossexport.runtime.backends import MAX_BYTES

_GROUP = "lossexport.hash"
_SUFFIXES = (".onnx", ".engine")


def check_hashes(paths: str | Path | Sequence[str | Path]) -> list[Check]:
    """Compare files, or all files of export folders, with the manifests beside them.

    A file fails if it differs from its entry, is missing, or, in a folder, if no entry lists it.
    Raises LossexportError on a path without a manifest and on a manifest that cannot be read.
    """
    given = [arguments.path("path", path) for path in arguments.several("paths", paths)]
    return [check for path in given for check in _checks(path)]


def _checks(path: Path) -> Iterator[Check]:
    folder = path if path.is_dir() else path.parent
    manifest = load_manifest(folder)
    if manifest is None and not os.path.lexists(path):
        raise LossexportError(f"{path}: does not exist")
    if manifest is None:
        raise LossexportError(f"{folder}: has no {MANIFEST_NAME}")
    if path != folder:
        if (entry := find(manifest, path.name)) is None:
            raise LossexportError(f"{path}: {folder / MANIFEST_NAME} does not list it")
        yield _compare(path, entry)
        return
    for entry in manifest.artifacts:
        yield _compare(folder / entry.file, entry)
    listed = {entry.file for entry in manifest.artifacts}
    for file in sorted(folder.iterdir()):
        if file.suffix in _SUFFIXES and file.name not in listed:
            yield Check(_GROUP, str(file), "failed", f"{MANIFEST_NAME} does not list it")


def _compare(path: Path, entry: Artifact) -> Check:
    try:
        data = read_bytes(path, MAX_BYTES)
    except LossexportError as error:
        return Check(_GROUP, str(path), "failed", str(error))
    found = sha256(data)
    if found == entry.sha256:
        return Check(_GROUP, str(path), "passed", found)
    reason = f"sha256 is {found} ({len(data)} bytes), {MANIFEST_NAME} lists {entry.sha256} "
    return Check(_GROUP, str(path), "failed", f"{reason}({entry.size_bytes} bytes)")
