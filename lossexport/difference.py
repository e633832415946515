"""What changed between two exports, from their manifests: ops, bytes, tolerances, parity."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from lossexport.errors import LossexportError
from lossexport.manifest import MANIFEST_NAME, Artifact, BackendParity, Manifest, load_manifest

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `file` is empty for what concerns all of a manifest.

    `what` is a field of the manifest, such as `sha256`, `attributes.gamma` or `parity.ort-cpu`;
    `before` and `after` are its values, None where it is missing.
    """

    file: str
    what: str
    before: Any
    after: Any


def difference(before: Path, after: Path) -> list[Change]:
    """The changes from one manifest, or folder with one, to another, sorted by file.

    Raises LossexportError on a path without a manifest and on a manifest that cannot be read.
    """
    old, new = _manifest(before), _manifest(after)
    found = list(_fields("", "generator", dict(old.generator), dict(new.generator)))
    olds, news = ({a.file: a for a in manifest.artifacts} for manifest in (old, new))
    for file in sorted(olds.keys() | news.keys()):
        found += _artifact(file, olds.get(file), news.get(file))
    return found


def data(changes: list[Change]) -> dict[str, Any]:
    """The changes as plain data."""
    return {
        "schema_version": SCHEMA_VERSION,
        "same": not changes,
        "changes": [asdict(change) for change in changes],
    }


def _manifest(path: Path) -> Manifest:
    folder = path.parent if path.name == MANIFEST_NAME else path
    manifest = load_manifest(folder)
    if manifest is None:
        raise LossexportError(f"{path}: no {MANIFEST_NAME} is there: give it or its folder")
    return manifest


def _artifact(file: str, before: Artifact | None, after: Artifact | None) -> Iterator[Change]:
    if before is None or after is None:
        ops = [None if entry is None else entry.op for entry in (before, after)]
        yield Change(file, "file", *ops)
        return
    left, right = (_plain(entry) for entry in (before, after))
    for name in left:
        yield from _fields(file, name, left[name], right[name])


def _plain(entry: Artifact) -> dict[str, Any]:
    """An entry with what is compared of it: of parity the verdict and the worst part used."""
    found: dict[str, Any] = msgspec.to_builtins(entry)
    found["parity"] = {result.backend: _verdict(result) for result in entry.parity or ()}
    for kind in ("inputs", "outputs"):
        found[kind] = {tensor.pop("name"): tensor for tensor in found[kind]}
    return found


def _verdict(result: BackendParity) -> str:
    if result.status != "passed":
        return result.status
    used = [errors.get("tolerance_used") for errors in result.outputs.values()]
    worst = max((number for number in used if number is not None), default=0)
    return f"passed, {100 * worst:.3g} % of the tolerance"


def _fields(file: str, name: str, before: Any, after: Any) -> Iterator[Change]:
    """The parts that differ of a field and of the mappings in it."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted(before.keys() | after.keys()):
            yield from _fields(file, f"{name}.{key}", before.get(key), after.get(key))
    elif before != after:
        yield Change(file, name, before, after)


def in_words(value: Any) -> str:
    """A value of a change for a table: short, and a dash for what is missing."""
    if value is None:
        return "-"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else f"{text[:57]}..."


def in_counts(changes: list[Change]) -> str:
    """A line with the counts of what changed."""
    files = {change.file for change in changes if change.file}
    if not changes:
        return "no difference"
    return f"{len(changes)} differences in {len(files)} files"
