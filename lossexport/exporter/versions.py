"""Versions and the domain of exported ONNX files."""

from lossexport import arguments
from lossexport.names import OPSETS

DOMAIN = "lossexport"
OPSET = 20
OLDEST_OPSET, NEWEST_OPSET = OPSETS[0], OPSETS[-1]
"""Those that graphs are written for. Later ones only add types to operators."""
TRACED_OPSET = 18
"""The oldest in whose forms torch writes operators."""
FUNCTIONS_IR = 8
"""The oldest IR version whose files may define functions."""


def ir_version(opset: int) -> int:
    """The IR version of an exported file: 10, or for older opsets the one they appeared with."""
    return {17: 8, 18: 8, 19: 9}.get(opset, 10)


def check_opset(value: object) -> int:
    """`value` as an opset to write. Raises LossexportError unless it is one of `OPSETS`."""
    if (opset := arguments.number("opset", value)) not in OPSETS:
        raise arguments.refuse(
            "opset", value, f"a whole number from {OLDEST_OPSET} to {NEWEST_OPSET}"
        )
    return int(opset)
