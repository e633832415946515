"""`verify`: every artifact against eager PyTorch in float64, on every backend of this machine."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lossexport import arguments
from lossexport.catalog import find
from lossexport.catalog.variant import Range, Variant
from lossexport.errors import CheckFailedError, LossexportError, within
from lossexport.files import exclusive, read_bytes
from lossexport.manifest import (
    MANIFEST_NAME,
    Artifact,
    BackendParity,
    load_manifest,
    store_parity,
)
from lossexport.parity.cases import Case, cases
from lossexport.parity.measure import check_interface, difference, measure, outcome
from lossexport.parity.oracle import Judge
from lossexport.parity.tolerance import tolerances
from lossexport.parity.trial import trial
from lossexport.progress import Step
from lossexport.runtime import NAMES, available, load
from lossexport.runtime.backends import MAX_BYTES, listed
from lossexport.runtime.identity import identify as from_metadata
from lossexport.runtime.native import kernel, kernels
from lossexport.runtime.onnx_guard import check_model
from lossexport.runtime.session import Source
from lossexport.runtime.trt import check_header


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


def verify(
    paths: str | Path | Sequence[str | Path],
    *,
    backends: Sequence[str] | None = None,
    replay: str | None = None,
    store: bool = False,
    progress: Step | None = None,
) -> Report:
    """Verify `.onnx` and `.engine` files, or all files that the manifest of a folder lists.

    Each runs on every backend that this machine has, or on those of `backends` alone; what cannot
    run is reported "not run here". With `replay` only that case ("FAMILY:N=SIZE:SEED") runs. With
    `store` the results are written into the manifest beside each file, which is left as it is
    otherwise; where they cannot be written, as in a folder that is read-only, the report has a
    note. Raises LossexportError on a file that cannot be used, where none is for `backends`, and
    where the result of a `replay` is to be stored.
    """
    replay = None if replay is None else arguments.text("replay", replay)
    arguments.check_function("progress", progress)
    backends = None if backends is None else arguments.several("backends", backends)
    if store and replay is not None:
        raise LossexportError(f"replay of {replay}: the result of one case is not stored")
    for name in backends or ():
        if name not in NAMES:
            raise LossexportError(f"backend {name!r}: not one of {', '.join(NAMES)}")
    given = [arguments.path("path", path) for path in arguments.several("paths", paths)]
    files = [file for path in given for file in _files(path)]
    reports = []
    for index, path in enumerate(files):
        if progress:
            progress(index, len(files), path.name)
        report = _verify_file(path, backends, replay)
        if report.results:
            reports.append(report)
    if progress:
        progress(len(files), len(files), "done")
    if not reports:
        names = ", ".join(backends or ())
        raise LossexportError(f"{', '.join(map(str, given))}: no file that is for {names}")
    notes = _store(reports, keep=backends is not None) if store else ()
    return Report(tuple(reports), tuple(notes))


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    manifest = load_manifest(path)
    if manifest is None:
        raise LossexportError(f"{path}: has no manifest.json")
    if not manifest.artifacts:
        raise LossexportError(f"{path / MANIFEST_NAME}: lists no artifacts")
    for entry in manifest.artifacts:
        yield path / entry.file


def _verify_file(path: Path, backends: Sequence[str] | None, replay: str | None) -> FileReport:
    variant, entry = identify(path)
    trial(variant)
    judge = Judge(variant)
    wanted = None if replay is None else [Case.parse(replay, variant)]
    runs = [("ort", "cpu"), ("ort", "cuda")]
    if entry is not None and entry.builder is not None:
        runs = [(entry.builder, "cpu")]
    elif backends or kernel(variant) in kernels():
        runs.append(("native", "cpu"))
    return FileReport(
        path,
        variant,
        tuple(
            _run(path, variant, backend, provider, wanted, judge)
            for backend, provider in runs
            if backends is None or backend in backends
        ),
        None if entry is None else entry.sha256,
    )


def _run(
    path: Path,
    variant: Variant,
    backend: str,
    provider: str,
    wanted: list[Case] | None,
    judge: Judge,
) -> BackendParity:
    label = f"{backend}-{provider}" if backend == "ort" else backend
    here = available()[backend]
    version = here.version or "unknown"
    reason = here.reason
    if here.runs and provider == "cuda" and "CUDAExecutionProvider" not in here.providers:
        reason = "this onnxruntime has no CUDA provider"
    if here.runs and backend == "native" and kernel(variant) not in kernels():
        reason = f"no native kernel of {kernel(variant)}"
    if reason is not None or not here.runs:
        return BackendParity(label, version, "not run here", reason)
    chosen = list(cases(variant)) if wanted is None else wanted
    try:
        session = load(path, backend, provider=provider)
        check_interface(variant, session)
        errors = measure(variant, session, chosen, judge)
    except CheckFailedError as error:
        return BackendParity(label, version, "failed", str(error))
    except LossexportError as error:
        # A broken file is the user's input; a backend that cannot hold a sound file has failed.
        if backend == "ort" and provider == "cpu":
            raise
        return BackendParity(label, version, "failed", str(error))
    return outcome(label, version, len(chosen), errors)


def identify(path: Path) -> tuple[Variant, Artifact | None]:
    """What a file is: from the manifest beside it, or from an `.onnx` file's own metadata."""
    data = read_bytes(path, MAX_BYTES)
    entry = listed(path, data)
    if entry is not None:
        if entry.builder is not None:
            check_header(Source(path, data, entry), entry)
        with within(f"{path}: manifest.json"):
            return _listed_variant(entry), entry
    if path.suffix == ".engine":
        raise LossexportError(f"{path}: no manifest.json beside it lists it, so it is not trusted")
    if path.suffix != ".onnx":
        raise LossexportError(f"{path}: suffix {path.suffix!r}, expected .onnx or .engine")
    return from_metadata(check_model(data, str(path)), str(path)), None


def _listed_variant(entry: Artifact) -> Variant:
    """The variant of an entry, whose tensors and profile must be that variant's."""
    op = find(entry.op, in_file=True)
    fixed = {
        dim: Range(size, size, size)
        for tensor, info in zip(op.inputs, entry.inputs, strict=False)
        for dim, size in zip(tensor.shape, info.shape, strict=False)
        if isinstance(dim, str) and isinstance(size, int) and dim in op.dims
    }
    profile = {name: Range(size.min, size.opt, size.max) for name, size in entry.profile.items()}
    variant = Variant.make(
        op, entry.attributes, entry.precision, entry.kind == "gradient", fixed | profile
    )
    if found := difference(variant, entry.inputs, entry.outputs):
        raise LossexportError(found)
    tolerance = tolerances(variant)
    if entry.tolerance != tolerance:
        name = next(n for n in tolerance if entry.tolerance.get(n) != tolerance[n])
        raise LossexportError(
            f"tolerance of {name} is {entry.tolerance.get(name)}, the catalogue's is "
            f"{tolerance[name]}; export again"
        )
    if set(profile) != set(variant.dynamic):
        raise LossexportError(f"profile of {list(profile)}, not of {list(variant.dynamic)}")
    return variant


def _store(reports: Iterable[FileReport], keep: bool) -> Iterator[str]:
    """Put the results into the manifests that list the files, to `keep` those of others there.

    Gives a note for each manifest where that cannot be.
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
    """Store the results on the files of one folder; the names of those that are not listed."""
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
