"""Run a session against the float64 oracle and measure every output."""

import math
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from lossexport.catalog.spec import Arrays
from lossexport.catalog.variant import Variant
from lossexport.errors import CheckFailedError, LossexportError
from lossexport.manifest import BackendParity, WorstRecord
from lossexport.parity.cases import Case
from lossexport.parity.error import Errors
from lossexport.parity.oracle import Judge
from lossexport.parity.tolerance import tolerance
from lossexport.runtime import Session


def feed(variant: Variant, inputs: Arrays) -> Arrays:
    """The inputs in the artifact's own types."""
    return {
        tensor.name: inputs[tensor.name].astype(_numpy(variant.numpy_dtype(tensor)))
        for tensor in variant.op.inputs
    }


def _numpy(name: str) -> np.dtype:
    if name != "bfloat16":
        return np.dtype(name)
    import ml_dtypes

    dtype: np.dtype = np.dtype(ml_dtypes.bfloat16)
    return dtype


class _Info(Protocol):
    """A tensor as a file or a manifest has it."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> Sequence[str | int]: ...


def difference(variant: Variant, inputs: Iterable[_Info], outputs: Iterable[_Info]) -> str:
    """How names, types or shapes differ from the catalogue's, in words; nothing where equal."""
    for kind, tensors, found in (
        ("input", variant.op.inputs, inputs),
        ("output", variant.outputs, outputs),
    ):
        wanted = [(t.name, variant.numpy_dtype(t), list(variant.shape(t))) for t in tensors]
        actual = [(info.name, info.dtype, list(info.shape)) for info in found]
        if wanted != actual:
            return f"{kind}s are {actual}, the catalogue's are {wanted}"
    return ""


def check_interface(variant: Variant, session: Session) -> None:
    """Raise CheckFailedError where names, types or shapes are not those of the catalogue."""
    if found := difference(variant, session.inputs, session.outputs):
        raise CheckFailedError(f"{session.path}: {found}")


def measure(
    variant: Variant, session: Session, cases: Iterable[Case], judge: Judge | None = None
) -> dict[str, Errors]:
    """Errors of every output over the cases.

    Raises LossexportError where an output had no element to compare: that would prove nothing.
    """
    judge = judge or Judge(variant)
    errors = {
        tensor.name: Errors(
            tolerance(variant, tensor),
            variant.numpy_dtype(tensor),
        )
        for tensor in variant.outputs
    }
    for case in cases:
        inputs, expected, roundings = judge(case)
        actual = session(**feed(variant, inputs))
        for name, error in errors.items():
            error.add(str(case), actual[name], expected[name], roundings[name])
    for name, error in errors.items():
        if not error.elements:
            raise LossexportError(f"{session.path}: {name}: no case has an element of it")
    return errors


def outcome(backend: str, version: str, cases: int, errors: dict[str, Errors]) -> BackendParity:
    """What a manifest says of the errors that `measure` found over so many cases."""
    name, worst = max(
        ((name, error.worst) for name, error in errors.items() if error.worst is not None),
        key=lambda item: item[1].used,
    )
    failed = sorted(name for name, error in errors.items() if error.breaches)
    return BackendParity(
        backend=backend,
        backend_version=version,
        status="failed" if failed else "passed",
        reason=f"{', '.join(failed)} beyond tolerance" if failed else None,
        cases=cases,
        outputs={
            name: {
                "elements": error.elements,
                "breaches": error.breaches,
                "max_abs": _finite(error.max_abs),
                "max_rel": _finite(error.max_rel),
                "max_ulp": _finite(error.max_ulp),
                "p999_ulp": _finite(error.p999_ulp),
                "tolerance_used": _finite(error.worst.used) if error.worst else 0.0,
                "worst_expected": _finite(error.worst.expected) if error.worst else None,
                "worst_actual": _finite(error.worst.actual) if error.worst else None,
            }
            for name, error in errors.items()
        },
        worst=WorstRecord(
            seed=int(worst.case.rsplit(":", 1)[1]),
            case=worst.case,
            output=name,
            index=list(worst.index),
        ),
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
