"""The check that every graph passes before it is written."""

from pathlib import Path

from lossexport.artifact import BackendParity
from lossexport.catalog.variant import Variant
from lossexport.errors import CheckFailedError
from lossexport.files import write_bytes
from lossexport.parity.cases import cases
from lossexport.parity.measure import check_interface, measure, outcome
from lossexport.runtime import available, load


def check(variant: Variant, model: bytes, folder: Path) -> BackendParity:
    """Compare `model` in onnxruntime with float64 PyTorch on small cases of every family.

    `folder` takes a temporary file. Returns what was measured. Raises CheckFailedError, naming the
    worst element, on a breach.
    """
    path = folder / f"{variant.stem}.unchecked.onnx"
    write_bytes(path, model)
    try:
        session = load(path, "ort")
        check_interface(variant, session)
        chosen = list(cases(variant, seeds=1, elements=2**14))
        found = measure(variant, session, chosen)
        for name, errors in found.items():
            if errors.breaches and errors.worst is not None:
                worst = errors.worst
                raise CheckFailedError(
                    f"{variant.stem}: {name}{list(worst.index)} is {worst.actual!r} instead of "
                    f"{worst.expected!r} in case {worst.case}: nothing was written"
                )
        return outcome("ort-cpu", available()["ort"].version or "unknown", len(chosen), found)
    finally:
        path.unlink(missing_ok=True)
