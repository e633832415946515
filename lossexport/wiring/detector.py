"""Reading a detector's ONNX file."""

from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveInitializersFromInputsPass

from lossexport.errors import LossexportError, one_line
from lossexport.exporter.versions import IR_VERSION, OPSET
from lossexport.runtime.guard.external import read_model
from lossexport.runtime.onnx_guard import check_model
from lossexport.wiring.conversion import to_opset

MAX_DETECTOR_BYTES = 2**30
_IMAGE_RANK = 4


def load(path: Path, of_batches: bool) -> tuple[bytes, int, ir.Model]:
    """The file's bytes, its opset, and its graph with types and shapes at opset 20 or newer.

    The nodes are sorted, and weights are no longer listed as inputs. Raises LossexportError on a
    file that the guard or the ONNX checker refuses, a batch that is not 1, unless the op is one
    `of_batches`, and an opset that cannot be converted.
    """
    data = read_model(path, MAX_DETECTOR_BYTES)
    check_model(data, str(path))
    try:
        model = ir.from_proto(onnx.load_from_string(data))
        # onnxruntime accepts nodes in any order, and initializers that are not inputs.
        model.graph.sort()
        for function in model.functions.values():
            function.sort()
        model.ir_version = max(model.ir_version, IR_VERSION)
        onnx.checker.check_model(ir.to_proto(model))
    except Exception as error:  # protobuf, the checker and onnx-ir have no base class in common
        raise LossexportError(f"{path}: not a valid ONNX model: {one_line(error)}") from error
    RemoveInitializersFromInputsPass()(model)
    if not of_batches:
        _check_batch(path, model)
    # Both names stand for the standard domain; a model of other domains alone imports neither.
    model.opset_imports.setdefault("", model.opset_imports.pop("ai.onnx", OPSET))
    metadata, opset = dict(model.metadata_props), model.opset_imports[""]
    model = to_opset(path, model, OPSET)
    model.metadata_props.update(metadata)
    return data, opset, model


def _check_batch(path: Path, model: ir.Model) -> None:
    """Refuse images with a batch other than 1, and other inputs [B,...] with a different batch."""
    ranked = [(value, value.shape) for value in model.graph.inputs if value.shape is not None]
    images = [pair for pair in ranked if pair[1].rank() == _IMAGE_RANK]
    for value, shape in images:
        if shape[0] != 1:
            raise LossexportError(
                f"{path}: input {_shown(value)}: batch {shape[0]}; "
                "attach needs a detector of batch 1: export it again with that size fixed"
            )
    for value, shape in ranked:
        if images and shape.rank() > 1 and shape[0] != 1:
            raise LossexportError(
                f"{path}: input {_shown(value)}: batch {shape[0]}, where {_shown(images[0][0])} "
                "has 1: all inputs of a detector need the same batch"
            )


def _shown(value: ir.Value) -> str:
    return f"{value.name}[{','.join(map(str, value.shape or ()))}]"
