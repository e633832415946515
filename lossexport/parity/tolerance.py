"""The tolerance of an output, as it is judged and as a manifest states it."""

from dataclasses import replace

from lossexport.catalog import BUILTIN
from lossexport.catalog.spec import EXACT, Tensor, Tolerance
from lossexport.catalog.variant import Variant
from lossexport.manifest import ToleranceRecord


def tolerance(variant: Variant, output: Tensor) -> Tolerance:
    """One rule for all: what the analysis counts. It says which operators are measured for it."""
    base = variant.op.output_tolerance(output.name, variant.precision)
    if base == EXACT or variant.op.name in BUILTIN:  # whose operators have rules
        return base
    # torch is imported for an op of one's own alone: to state tolerances needs none.
    from lossexport.parity.rounding_measured import UNITS
    from lossexport.parity.trial import trial

    if not (measured := trial(variant)):
        return base
    return replace(
        base,
        why=f"{base.why}; of {', '.join(measured)}, without a rule, the largest change measured "
        f"under inputs off by their errors and by {UNITS:g} + sqrt(t) roundings, t terms in an "
        "element",
    )


def tolerances(variant: Variant) -> dict[str, ToleranceRecord]:
    """By output."""
    found = {tensor.name: tolerance(variant, tensor) for tensor in variant.outputs}
    return {name: ToleranceRecord(t.ulp, t.abs, t.why) for name, t in found.items()}
