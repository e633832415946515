"""Which backends there are, which can run here, and `load`."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from lossexport import arguments
from lossexport.errors import LossexportError, shown
from lossexport.files import read_bytes, sha256
from lossexport.names import BACKENDS, KERNEL_BACKENDS
from lossexport.runtime.guard.external import inline_external
from lossexport.runtime.session import Availability, Session, Source

if TYPE_CHECKING:
    from lossexport.manifest import Artifact

NAMES = tuple(BACKENDS)
"""Every name that `load` knows."""

MAX_BYTES = 64 * 2**20


class _Backend(Protocol):
    SUFFIX: str
    runs: Callable[[Source], bool]  # of KERNEL_BACKENDS alone

    def availability(self, backend: str) -> Availability: ...

    def open_session(self, source: Source, backend: str, provider: str) -> Session: ...


def load(
    path: str | Path,
    backend: str | None = None,
    *,
    provider: str = "cpu",
    max_bytes: int = MAX_BYTES,
) -> Session:
    """Load an `.onnx` or `.engine` file of at most `max_bytes`, including external data.

    `backend` is one of NAMES. None picks the best one that can run the file; it picks `native` only
    for a file that a manifest lists, because `native` runs the op that the file names and not its
    graph, and `ort-kernels` only for a file whose calls of our functions are as they were written.
    `provider` is `cpu`, `cuda` or `rtx`, for onnxruntime; engines run on the GPU. If a
    `manifest.json` beside the file lists it, its hash must match; an engine, which is native code,
    must be listed. Raises LossexportError, with the reason, if the file or backend cannot be used.
    """
    path = arguments.path("path", path)
    provider = arguments.text("provider", provider)
    if arguments.number("max_bytes", max_bytes) < 0:
        raise arguments.refuse("max_bytes", max_bytes, "a number of bytes")
    if backend is not None and (not isinstance(backend, str) or backend not in NAMES):
        raise LossexportError(f"backend {shown(backend)}: not one of {', '.join(NAMES)}")
    usable = [name for name in BACKENDS if path.suffix == _module(name).SUFFIX]
    if not usable:
        raise LossexportError(f"{path}: suffix {path.suffix!r}, expected .onnx or .engine")
    if backend is not None and backend not in usable:
        raise LossexportError(
            f"{path}: backend {backend!r} runs {_module(backend).SUFFIX} files, not {path.suffix}"
        )
    source = read_source(path, max_bytes)
    if path.suffix == ".engine" and source.artifact is None:
        raise LossexportError(
            f"{path}: refused, no manifest.json beside it lists this engine: an engine is native "
            "code, and runs only where its hash is known"
        )
    name = backend or _best(source, usable, provider)
    return _module(name).open_session(source, name, provider)


def read_source(path: Path, max_bytes: int) -> Source:
    """Read a file of at most `max_bytes`, including external data, and its manifest's entry.

    Raises LossexportError on a file that cannot be read or is not what the manifest says.
    """
    data = read_bytes(path, max_bytes)
    artifact = listed(path, data)
    if path.suffix == ".onnx":
        data = inline_external(path, data, max_bytes)
    return Source(path, data, artifact)


def available() -> dict[str, Availability]:
    """For every backend of NAMES whether it can run here."""
    return {name: _module(name).availability(name) for name in NAMES}


def version(backend: str) -> str | None:
    """The version of what runs `backend`, one of NAMES, here; None if nothing does."""
    return _module(backend).availability(backend).version


def installed_version(*distributions: str) -> str | None:
    """The version of the first of `distributions` that is installed."""
    from importlib import metadata

    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def has_module(name: str) -> bool:
    """Whether module `name` is installed, without importing it."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # a package above it is missing
        return False


def _module(backend: str) -> _Backend:
    return cast(_Backend, import_module(BACKENDS[backend]))


def listed(path: Path, data: bytes) -> "Artifact | None":
    """The manifest's entry of the file. Raises LossexportError if its hash differs."""
    if not (path.parent / "manifest.json").exists():
        return None
    from lossexport.manifest import find, load_manifest

    manifest = load_manifest(path.parent)
    artifact = find(manifest, path.name) if manifest else None
    if artifact is None:
        return None
    for field, actual in (("sha256", sha256(data)), ("size_bytes", len(data))):
        if actual != (stated := getattr(artifact, field)):
            raise LossexportError(f"{path}: {field} {actual}, manifest.json says {stated}")
    return artifact


def _best(source: Source, usable: list[str], provider: str) -> str:
    """The backend that built the file, or else the first of `usable` that can run."""
    if source.artifact is not None and source.artifact.builder in usable:
        return source.artifact.builder
    for name in KERNEL_BACKENDS:
        if name in usable and provider == "cpu" and _module(name).runs(source):
            return name
    usable = [name for name in usable if name not in KERNEL_BACKENDS]
    found = [_module(name).availability(name) for name in usable]
    for one in found:
        if one.runs:
            return one.backend
    first = found[0]
    raise LossexportError(f"{source.path}: not run here: {first.reason}; {first.fix}")
