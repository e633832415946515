"""`verify`: compares artifacts with eager PyTorch in float64 on every backend of this machine."""

from collections.abc import Callable, Sequence
from pathlib import Path

from lossexport import arguments
from lossexport.catalog.variant import Variant
from lossexport.errors import CheckFailedError, LossexportError, NotRunHereError
from lossexport.files import read_bytes
from lossexport.manifest import Artifact, BackendParity, ProofRecord
from lossexport.names import KERNEL_BACKENDS
from lossexport.parity.artifact import (
    Target,
    check_names,
    edited,
    files,
    identify,
    required,
    targets,
)
from lossexport.parity.cases import Case, Selection
from lossexport.parity.measure import Computes, check_interface, measure, outcome
from lossexport.parity.oracle import Judge
from lossexport.parity.record import FileReport, Report
from lossexport.parity.store import store_results
from lossexport.parity.trial import trial
from lossexport.progress import Step
from lossexport.ranges.record import sentence
from lossexport.runtime import Session, available, load
from lossexport.runtime.backends import MAX_BYTES


def verify(
    paths: str | Path | Sequence[str | Path],
    *,
    backends: Sequence[str] | None = None,
    require: Sequence[str] = (),
    replay: str | None = None,
    store: bool = False,
    progress: Step | None = None,
) -> Report:
    """Verify `.onnx` and `.engine` files, or all files that the manifest of a folder lists.

    Each file runs on every backend of this machine, or only on those in `backends` (`ort` means
    `ort-cpu`, `ort-cuda` and `ort-rtx`). A file that cannot run is reported as "not run here". Each
    name in `require` has to be a backend that one of the files is for (`ort` means `ort-cpu`). With
    `replay`, only that case ("FAMILY:N=SIZE:SEED") runs. With `store`, the results are written into
    the manifest beside each file, and nothing else in it changes; the report has a note if that is
    impossible, for example in a read-only folder. Raises LossexportError on a file that cannot be
    used, if none of the files is for `backends`, and if `store` is combined with `replay`.
    """
    replay = None if replay is None else arguments.text("replay", replay)
    arguments.check_function("progress", progress)
    backends = None if backends is None else check_names("backends", backends)
    if store and replay is not None:
        raise LossexportError(f"replay of {replay}: the result of one case is not stored")
    given = [arguments.path("path", path) for path in arguments.several("paths", paths)]
    selection = Selection(replay)
    found = [file for path in given for file, _ in files(path)]
    reports = []
    for index, path in enumerate(found):
        if progress:
            progress(index, len(found), path.name)
        report = verify_file(path, backends, selection)
        if report.results:
            reports.append(report)
    if progress:
        progress(len(found), len(found), "done")
    if not reports:
        names = ", ".join(backends or ())
        raise LossexportError(f"{', '.join(map(str, given))}: no file that is for {names}")
    for name in check_names("require", require) if require else ():
        if not any(required(r.backend, [name]) for file in reports for r in file.results):
            raise LossexportError(f"{', '.join(map(str, given))}: no file is for {name}")
    notes = [
        f"{report.path}: edited after export: its graph is not the one that its metadata claim; "
        "it was measured all the same"
        for report in reports
        if report.edited
    ]
    notes += [
        f"{report.path}: ranges {sentence(report.proof)}"
        for report in reports
        if report.proof is not None and report.proof.status == "not proved"
    ]
    if store:
        notes += store_results(reports, keep=backends is not None)
    return Report(tuple(reports), tuple(notes))


def verify_file(path: Path, backends: Sequence[str] | None, selection: Selection) -> FileReport:
    """Check one file on all backends that it is for, or on those of them in `backends`.

    Raises LossexportError on a file that cannot be used.
    """
    variant, entry = identify(path)
    trial(variant)
    check = Check(variant, selection(variant))
    wanted = targets(
        variant.op.name, variant.gradient, None if entry is None else entry.builder, backends
    )
    changed = edited(path)
    return FileReport(
        path,
        variant,
        tuple(
            _replaced(target)
            if changed and target.backend in KERNEL_BACKENDS
            else check.file(path, target)
            for target in wanted
        ),
        None if entry is None else entry.sha256,
        changed,
        _proof(path, variant, entry),
    )


def _proof(path: Path, variant: Variant, entry: Artifact | None) -> ProofRecord | None:
    """The proof of ranges of an fp16 or bf16 graph, made from the file as it is.

    The image is that of the proof in the manifest, if there is one.
    """
    if variant.precision == "fp32" or path.suffix != ".onnx":
        return None
    from lossexport.ranges import Image, prove

    known = None if entry is None else entry.proof
    image = None if known is None else Image(known.width, known.height)
    return prove(read_bytes(path, MAX_BYTES), variant, image)


def _replaced(target: Target) -> BackendParity:
    """The result of a backend whose kernel is not what an edited file computes."""
    version = available()[target.backend].version or "unknown"
    reason = "edited after export: the kernel computes the op, not this graph"
    return BackendParity(target.label, version, "not run here", reason)


class Check:
    """The cases of a variant, and the oracle's answers to them, which all backends share."""

    def __init__(self, variant: Variant, cases: Sequence[Case]) -> None:
        self.variant = variant
        self._cases = cases
        self._judge = Judge(variant)

    def file(
        self, path: Path, target: Target, adapt: Callable[[Session], Computes] | None = None
    ) -> BackendParity:
        """The result of a file on a backend. `adapt` may wrap its session.

        Without `adapt`, the session must have the declared names, types and shapes. Raises
        LossexportError on a broken file.
        """

        def opened() -> Computes:
            session = load(path, target.backend, provider=target.provider)
            if adapt is not None:
                return adapt(session)
            check_interface(self.variant, session)
            return session

        version = available()[target.backend].version or "unknown"
        if (absence := target.absence(self.variant)) is not None:
            return BackendParity(target.label, version, "not run here", absence)
        return self.run(target.label, version, opened)

    def run(self, label: str, version: str, opened: Callable[[], Computes]) -> BackendParity:
        """The result of the session or function that `opened` returns.

        `label` and `version` name the backend in it.
        """
        try:
            errors = measure(self.variant, opened(), self._cases, self._judge)
        except CheckFailedError as error:
            return BackendParity(label, version, "failed", str(error))
        except NotRunHereError as error:
            return BackendParity(label, version, "not run here", str(error))
        except LossexportError as error:
            # onnxruntime on the CPU fails only on a broken file, which is bad input. Any other
            # backend has failed itself.
            if label == "ort-cpu":
                raise
            return BackendParity(label, version, "failed", str(error))
        return outcome(label, version, len(self._cases), errors)
