"""The check that every graph passes before it is written."""

from pathlib import Path

from lossexport.catalog.variant import Variant
from lossexport.errors import CheckFailedError
from lossexport.files import write_bytes
from lossexport.parity.cases import cases
from lossexport.parity.measure import check_interface, measure
from lossexport.runtime import load


def check(variant: Variant, model: bytes, folder: Path) -> None:
    """Compare `model` in onnxruntime with float64 PyTorch on small cases of every family.

    `folder` takes a temporary file. Raises CheckFailedError, naming the worst element, on a breach.
    """
    path = folder / f"{variant.stem}.unchecked.onnx"
    write_bytes(path, model)
    try:
        session = load(path, "ort")
        check_interface(variant, session)
        for name, errors in measure(
            variant, session, cases(variant, seeds=1, elements=2**14)
        ).items():
            if errors.breaches and errors.worst is not None:
                worst = errors.worst
                raise CheckFailedError(
                    f"{variant.stem}: {name}{list(worst.index)} is {worst.actual!r} instead of "
                    f"{worst.expected!r} in case {worst.case}: nothing was written"
                )
    finally:
        path.unlink(missing_ok=True)
