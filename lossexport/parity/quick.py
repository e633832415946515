"""The check that every graph passes before it is written."""

from pathlib import Path

from lossexport.catalog.variant import Variant
from lossexport.errors import CheckFailedError
from lossexport.manifest import BackendParity
from lossexport.parity.cases import Case, cases
from lossexport.parity.measure import check_interface, measure, outcome
from lossexport.runtime import available
from lossexport.runtime.ort import open_session
from lossexport.runtime.session import Source

_NONFINITE = (
    "NaN and infinity have to come out as NaN, as lossexport.ops.common.poison makes them, or the "
    'op leaves such cases out: samplers=samplers(INPUTS, without=["nonfinite"])'
)


def check(variant: Variant, model: bytes) -> BackendParity:
    """Compare `model` in onnxruntime with float64 PyTorch on small cases of every family.

    Returns the measurements. Raises CheckFailedError, naming the worst element, if the tolerance is
    exceeded.
    """
    hint = ""
    try:
        session = open_session(Source(Path(f"{variant.stem}.onnx"), model, None), "ort", "cpu")
        check_interface(variant, session)
        chosen = _chosen(variant)
        found = measure(variant, session, chosen)
        for name, errors in found.items():
            if errors.breaches and errors.worst is not None:
                worst = errors.worst
                hint = f"; {_NONFINITE}" if worst.case.startswith("nonfinite:") else ""
                raise CheckFailedError(
                    f"{name}{list(worst.index)} is {worst.actual!r} instead of {worst.expected!r} "
                    f"in case {worst.case}"
                )
        return outcome("ort-cpu", available()["ort"].version or "unknown", len(chosen), found)
    except CheckFailedError as error:
        raise CheckFailedError(f"{variant.stem}: {error}: nothing was written{hint}") from None


def _chosen(variant: Variant) -> list[Case]:
    """A case of every family and size.

    If boxes are picked one by one up to `max_output`, only the largest size is used: every size
    takes the same number of steps, and the error analysis follows each of them.
    """
    chosen = list(cases(variant, seeds=1, elements=2**14))
    picks = variant.attributes.get("max_output")
    if not isinstance(picks, int) or all(tensor.dtype == "int64" for tensor in variant.outputs):
        return chosen
    sizes = [max(dict(case.sizes).values(), default=0) for case in chosen]
    largest = max(sizes)
    return [
        case for case, size in zip(chosen, sizes, strict=True) if size <= picks or size == largest
    ]
