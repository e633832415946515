"""The manifest of an export folder: a description of each file, and its measurements."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from lossexport.catalog.variant import MAX_ELEMENTS
from lossexport.errors import LossexportError, shown
from lossexport.files import read_bytes, write_bytes
from lossexport.names import Builder, Precision

MANIFEST_NAME = "manifest.json"
SCHEMA_VERSION: Literal[1] = 1
MAX_MANIFEST_BYTES = 8 * 2**20

Name = Annotated[str, Meta(min_length=1, max_length=255)]
Text = Annotated[str, Meta(max_length=4096)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Size = Annotated[int, Meta(ge=0, le=MAX_ELEMENTS)]
Scalar = bool | int | float | str | None
Attributes = dict[Name, Scalar | Annotated[list[Scalar], Meta(max_length=4096)]]
Shape = Annotated[list[Name | Size], Meta(max_length=32)]


class _Strict(Struct, frozen=True, forbid_unknown_fields=True):
    """A strict, immutable part of the manifest."""


class TensorRecord(_Strict, frozen=True):
    """An input or output: numpy name of its dtype (or `bfloat16`), dimensions, kind of values.

    `shape` has sizes and symbolic names. `domain` is for people, such as `xyxy boxes, x2 >= x1`.
    """

    name: Name
    dtype: Name
    shape: Shape
    domain: Text


class RangeRecord(_Strict, frozen=True):
    """The sizes of a symbolic dimension that an engine takes, and the one it was tuned for."""

    min: Size
    opt: Size
    max: Size

    def __post_init__(self) -> None:
        """Refuse sizes that are out of order."""
        if not self.min <= self.opt <= self.max:
            raise ValueError(f"Range {self.min}:{self.opt}:{self.max} is out of order")


class ToleranceRecord(_Strict, frozen=True):
    """An output passes within `ulp` or within `abs`; `why` says where these come from."""

    ulp: float
    abs: float
    why: Text


class WorstRecord(_Strict, frozen=True):
    """The element with the worst error, and the seed and case that reproduce it."""

    seed: int
    case: Text
    output: Name
    index: Annotated[list[Size], Meta(max_length=32)]


class BackendParity(_Strict, frozen=True):
    """The result of a backend. `outputs` has the errors by output; null stands for NaN and inf."""

    backend: Name
    backend_version: Text
    status: Literal["passed", "failed", "not run here"]
    reason: Text | None = None
    cases: Size = 0
    outputs: dict[Name, dict[Name, int | float | None]] = {}
    worst: WorstRecord | None = None


class ProofRecord(_Strict, frozen=True):
    """The static proof that what a file computes stays within its types, or how far it came.

    `node` is the node that comes closest to the largest number of its `type`, or exceeds it, and
    `bound` how far, null if there is no bound. `limit` is the largest side of a box and
    `number_limit` the largest other number, of those tried, for which the proof holds too. `width`
    and `height` are those of the image. `large` has the results that are not shown to fit the type
    of their outputs, with their bounds; `example` is an input that overflows, and `reason` says why
    nothing is proved.
    """

    status: Literal["proved", "not proved", "overflows"]
    domain: Text
    node: Text
    type: Name
    bound: float | None
    largest: float
    limit: float | None = None
    number_limit: float | None = None
    width: Annotated[float, Meta(gt=0, le=65504)] = 640.0
    height: Annotated[float, Meta(gt=0, le=65504)] = 640.0
    large: dict[Name, float | None] = {}
    example: Text | None = None
    reason: Text | None = None


class Artifact(_Strict, frozen=True):
    """One exported file. `file` is a bare name beside the manifest.

    `builder` is, for an engine, the backend that built it and runs it (`rtx`, `tensorrt`), and
    `source` the sha256 of the ONNX file that it was built from.
    """

    file: Name
    sha256: Sha256
    size_bytes: Size
    op: Name
    kind: Literal["value", "gradient"]
    precision: Precision
    attributes: Attributes
    inputs: Annotated[list[TensorRecord], Meta(max_length=256)]
    outputs: Annotated[list[TensorRecord], Meta(max_length=256)]
    tolerance: dict[Name, ToleranceRecord]
    opset: int | None = None
    ir_version: int | None = None
    builder: Builder | None = None
    builder_version: Name | None = None
    compute_capabilities: Annotated[list[Name], Meta(max_length=64)] = []
    profile: dict[Name, RangeRecord] = {}
    source: Sha256 | None = None
    parity: Annotated[list[BackendParity], Meta(max_length=64)] | None = None
    proof: ProofRecord | None = None


class Manifest(_Strict, frozen=True):
    """A manifest. `generator` has the versions of the software that made the files, by name.

    Artifacts are sorted by file.
    """

    generator: dict[Name, Text]
    artifacts: Annotated[list[Artifact], Meta(max_length=4096)]
    schema_version: Literal[1]


def load_manifest(folder: Path) -> Manifest | None:
    """Read `manifest.json` of `folder`; None if there is none.

    Raises LossexportError, naming file, field and value, on anything that is not schema 1.
    """
    path = folder / MANIFEST_NAME
    if not os.path.exists(path):  # noqa: PTH110  pathlib's raises on a name that is too long
        return None
    return _decode(read_bytes(path, MAX_MANIFEST_BYTES), path)


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json` to `folder`, all or nothing; equal manifests give equal bytes.

    Raises LossexportError on a manifest that `load_manifest` would refuse.
    """
    path = folder / MANIFEST_NAME
    # Decoded as it will be read, so that a whole number in a field of floats is a float now too.
    manifest = _decode(msgspec.json.encode(manifest), path)
    write_bytes(path, _text(manifest))


def store_parity(folder: Path, results: Mapping[str, Iterable[BackendParity]]) -> None:
    """Put results, by file, into `manifest.json`. Everything else in it keeps its text and order.

    Raises LossexportError on a manifest that cannot be read or written.
    """
    path = folder / MANIFEST_NAME
    data = read_bytes(path, MAX_MANIFEST_BYTES)
    _decode(data, path)
    manifest = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    entries = msgspec.json.decode(manifest["artifacts"], type=list[dict[str, msgspec.Raw]])
    for entry in entries:
        found = results.get(msgspec.json.decode(entry["file"], type=str))
        if found is not None:
            entry["parity"] = msgspec.Raw(msgspec.json.encode(list(found), order="sorted"))
    manifest["artifacts"] = msgspec.Raw(msgspec.json.encode(entries))
    if (text := _text(manifest, order=None)) != data:
        write_bytes(path, text)


def plain(manifest: Manifest) -> dict[str, Any]:
    """The manifest as plain data, as in `manifest.json`."""
    data: dict[str, Any] = msgspec.to_builtins(manifest)
    return data


def _text(manifest: Any, order: Literal["sorted"] | None = "sorted") -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest, order=order), indent=2) + b"\n"


def merge(
    manifest: Manifest | None, artifacts: Iterable[Artifact], generator: Mapping[str, str]
) -> Manifest:
    """Add `artifacts` to `manifest`, replacing older entries of the same files."""
    old = manifest.artifacts if manifest else []
    files = {artifact.file: artifact for artifact in (*old, *artifacts)}
    return Manifest(
        schema_version=SCHEMA_VERSION,
        generator={**(manifest.generator if manifest else {}), **generator},
        artifacts=[files[file] for file in sorted(files)],
    )


def find(manifest: Manifest, file: str) -> Artifact | None:
    """The artifact of the file named `file`."""
    return next((artifact for artifact in manifest.artifacts if artifact.file == file), None)


def _decode(data: bytes, path: Path) -> Manifest:
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.ValidationError as error:
        raise LossexportError(f"{path}: {error}{_value(data, str(error))}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LossexportError(f"{path}: not JSON: {error}") from error
    except RecursionError as error:
        raise LossexportError(f"{path}: JSON nested too deeply") from error
    seen: set[str] = set()
    for number, artifact in enumerate(manifest.artifacts):
        where = f"{path}: $.artifacts[{number}].file: {artifact.file!r}"
        if re.fullmatch(r"[^/\\:\x00-\x1f]+", artifact.file) is None or artifact.file in (
            ".",
            "..",
        ):
            raise LossexportError(f"{where} is not a bare file name")
        if artifact.file in seen:
            raise LossexportError(f"{where} is listed twice")
        if artifact.file.endswith(".engine") != (artifact.builder is not None):
            raise LossexportError(f"{where} and builder {artifact.builder!r} do not go together")
        seen.add(artifact.file)
    return manifest


def _value(data: bytes, message: str) -> str:
    """`, which is VALUE` for the field that msgspec's message names; "" if it names none."""
    _, _, pointer = message.partition(" - at `$")
    if not message.startswith(("Expected", "Invalid")) or "[...]" in pointer:
        return ""
    try:
        value: Any = msgspec.json.decode(data)
        for key, index in re.findall(r"\.(\w+)|\[(\d+)\]", pointer):
            value = value[key] if key else value[int(index)]
    # The JSON is broken after the first refused field, or repeats a key.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, TypeError):
        return ""
    try:
        text = msgspec.json.encode(value).decode()
    except OverflowError:  # a whole number beyond 64 bits
        text = shown(value)
    return f", which is {text if len(text) <= 60 else text[:57] + '...'}"
