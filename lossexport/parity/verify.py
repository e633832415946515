"""`verify`: every artifact against eager PyTorch in float64, on every backend of this machine."""

from collections.abc import Callable, Sequence
from pathlib import Path

from lossexport import arguments
from lossexport.catalog.variant import Variant
from lossexport.errors import CheckFailedError, LossexportError
from lossexport.manifest import BackendParity
from lossexport.parity.artifact import Target, check_names, files, identify, targets
from lossexport.parity.cases import Case, Selection
from lossexport.parity.measure import Computes, check_interface, measure, outcome
from lossexport.parity.oracle import Judge
from lossexport.parity.record import FileReport, Report
from lossexport.parity.store import store_results
from lossexport.parity.trial import trial
from lossexport.progress import Step
from lossexport.runtime import Session, available, load


def verify(
    paths: str | Path | Sequence[str | Path],
    *,
    backends: Sequence[str] | None = None,
    replay: str | None = None,
    store: bool = False,
    progress: Step | None = None,
) -> Report:
    """Verify `.onnx` and `.engine` files, or all files that the manifest of a folder lists.

    Each runs on every backend that this machine has, or on those of `backends` alone (`ort-cpu`,
    `ort-cuda` and `ort-rtx` are those of `ort`); what cannot run is reported "not run here". With
    `replay` only that case ("FAMILY:N=SIZE:SEED") runs. With `store` the results are written into
    the manifest beside each file, which is left as it is otherwise; where they cannot be written,
    as in a folder that is read-only, the report has a note. Raises LossexportError on a file that
    cannot be used, where none is for `backends`, and where the result of a `replay` is to be
    stored.
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
    notes = store_results(reports, keep=backends is not None) if store else ()
    return Report(tuple(reports), tuple(notes))


def verify_file(path: Path, backends: Sequence[str] | None, selection: Selection) -> FileReport:
    """Check one file on all that it is for, or on what of that is among `backends`.

    Raises LossexportError on a file that cannot be used.
    """
    variant, entry = identify(path)
    trial(variant)
    check = Check(variant, selection(variant))
    wanted = targets(
        variant.op.name, variant.gradient, None if entry is None else entry.builder, backends
    )
    return FileReport(
        path,
        variant,
        tuple(check.file(path, target) for target in wanted),
        None if entry is None else entry.sha256,
    )


class Check:
    """The cases of a variant, and the oracle's answers to them, which all backends share."""

    def __init__(self, variant: Variant, cases: Sequence[Case]) -> None:
        self._variant = variant
        self._cases = cases
        self._judge = Judge(variant)

    def file(
        self, path: Path, target: Target, adapt: Callable[[Session], Computes] | None = None
    ) -> BackendParity:
        """How a file fares on a backend; the session must be as declared, or is what `adapt` gives.

        Raises LossexportError on a file that is broken.
        """

        def opened() -> Computes:
            session = load(path, target.backend, provider=target.provider)
            if adapt is not None:
                return adapt(session)
            check_interface(self._variant, session)
            return session

        version = available()[target.backend].version or "unknown"
        if (absence := target.absence(self._variant)) is not None:
            return BackendParity(target.label, version, "not run here", absence)
        return self.run(target.label, version, opened)

    def run(self, label: str, version: str, opened: Callable[[], Computes]) -> BackendParity:
        """How that which is `opened` fares, under the name and the version of a backend."""
        try:
            errors = measure(self._variant, opened(), self._cases, self._judge)
        except CheckFailedError as error:
            return BackendParity(label, version, "failed", str(error))
        except LossexportError as error:
            # A broken file is the user's input; a backend that cannot hold a sound file has failed.
            if label == "ort-cpu":
                raise
            return BackendParity(label, version, "failed", str(error))
        return outcome(label, version, len(self._cases), errors)
