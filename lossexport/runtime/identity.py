"""What an exported graph computes, as its own metadata states."""

import json
from typing import Any

from lossexport.catalog import find
from lossexport.catalog.variant import Range, Variant
from lossexport.errors import LossexportError, within
from lossexport.names import PRECISIONS
from lossexport.runtime.onnx_guard import ModelSummary


def identify(model: ModelSummary, source: str) -> Variant:
    """The variant that `model` is an export of; `source` names the file in messages.

    Raises LossexportError on a model that was not written by us or whose metadata is impossible.
    """
    metadata = model.metadata
    try:
        name, kind = metadata["lossexport.op"], metadata["lossexport.kind"]
        precision = metadata["lossexport.precision"]
        attributes: Any = json.loads(metadata["lossexport.attributes"])
    except KeyError as error:
        raise LossexportError(f"{source}: metadata has no {error}: not written by us") from error
    except (ValueError, RecursionError) as error:
        raise LossexportError(f"{source}: metadata lossexport.attributes: {error}") from error
    if kind not in ("value", "gradient"):
        raise LossexportError(f"{source}: metadata lossexport.kind={kind!r} is unknown")
    if precision not in PRECISIONS:
        raise LossexportError(f"{source}: metadata lossexport.precision={precision!r} is unknown")
    if not isinstance(attributes, dict):
        raise LossexportError(f"{source}: metadata lossexport.attributes: not an object")
    with within(f"{source}: metadata"):
        op = find(name, in_file=True)
        fixed = {
            dim: Range(size, size, size)
            for tensor in op.inputs
            for dim, size in zip(tensor.shape, model.sizes.get(tensor.name, ()), strict=False)
            if isinstance(dim, str) and size is not None and dim in op.dims
        }
        return Variant.make(op, attributes, precision, kind == "gradient", fixed)
