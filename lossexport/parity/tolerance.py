"""The tolerance of an output, for comparisons and for manifests."""

from dataclasses import replace

from lossexport.catalog import BUILTIN
from lossexport.catalog.spec import EXACT, Tensor, Tolerance
from lossexport.catalog.variant import Variant
from lossexport.manifest import ToleranceRecord


def tolerance(variant: Variant, output: Tensor) -> Tolerance:
    """The tolerance of an output, which also states the operators whose error is measured."""
    base = variant.op.output_tolerance(output.name, variant.precision)
    if base == EXACT or variant.op.name in BUILTIN:  # all of their operators have rules
        return base
    # Only ops of one's own need torch here; stating the tolerance of the others does not.
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
    """The manifest's record of the tolerance of each output, by name."""
    found = {tensor.name: tolerance(variant, tensor) for tensor in variant.outputs}
    return {name: ToleranceRecord(t.ulp, t.abs, t.why) for name, t in found.items()}
