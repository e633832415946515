"""Compare the outputs of a session with the float64 oracle."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from lossexport.catalog.spec import Arrays
from lossexport.catalog.variant import Variant
from lossexport.errors import CheckFailedError, LossexportError
from lossexport.manifest import BackendParity, WorstRecord
from lossexport.parity.artifact import difference
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


def check_interface(variant: Variant, session: Session) -> None:
    """Raise CheckFailedError if names, types or shapes differ from the catalogue's."""
    if found := difference(variant, session.inputs, session.outputs):
        raise CheckFailedError(found)


class Computes(Protocol):
    """A session, or anything else that computes the outputs of a variant from its inputs."""

    path: Any
    """Its name in messages."""

    def __call__(self, /, **arrays: Any) -> Mapping[str, np.ndarray]:
        """The outputs by name; inputs and outputs have the types of the variant."""


def measure(
    variant: Variant, session: Computes, cases: Iterable[Case], judge: Judge | None = None
) -> dict[str, Errors]:
    """The errors of every output in all of the cases.

    Raises CheckFailedError on an output of another shape, and LossexportError if an output is
    empty in every case, since nothing has been compared then.
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
        try:
            actual = session(**feed(variant, inputs))
        except Exception as raised:
            raised.add_note(f"in case {case}")
            raise
        for name, error in errors.items():
            if actual[name].shape != expected[name].shape:
                raise CheckFailedError(
                    f"{name} has shape {list(actual[name].shape)} instead of "
                    f"{list(expected[name].shape)} in case {case}"
                )
            error.add(str(case), actual[name], expected[name], roundings[name])
    for name, error in errors.items():
        if not error.elements:
            raise LossexportError(f"{session.path}: {name}: no case has an element of it")
    return errors


def outcome(backend: str, version: str, cases: int, errors: dict[str, Errors]) -> BackendParity:
    """The manifest's record of a backend, from the `errors` that `measure` found.

    `cases` is the number of cases.
    """
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
