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


def load(path: Path) -> tuple[bytes, int, ir.Model]:
    """The file's bytes, its opset, and its graph with types and shapes at opset 20 or newer.

    The nodes are sorted, and weights are no longer listed as inputs. Raises LossexportError on a
    file that the guard or the ONNX checker refuses, and an opset that cannot be converted.
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
    # Both names stand for the standard domain; a model of other domains alone imports neither.
    model.opset_imports.setdefault("", model.opset_imports.pop("ai.onnx", OPSET))
    metadata, opset = dict(model.metadata_props), model.opset_imports[""]
    model = to_opset(path, model, OPSET)
    model.metadata_props.update(metadata)
    return data, opset, model
