"""Reading a detector's ONNX file and bringing it to an opset that our ops can stand in."""

from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import onnx.version_converter
import onnx_ir as ir
from onnx_ir.passes.common import RemoveInitializersFromInputsPass

from lossexport.errors import LossexportError
from lossexport.exporter.onnx_file import IR_VERSION
from lossexport.exporter.trace import OPSET
from lossexport.files import read_bytes
from lossexport.runtime.backends import Source, one_line
from lossexport.runtime.onnx_guard import check_model
from lossexport.runtime.ort import open_session
from lossexport.runtime.session import Session

MAX_DETECTOR_BYTES = 2**30
MAX_OPSET = 23  # the newest that the exporter writes
_IMAGE_RANK = 4
# What an element may change by, as a part of the largest, and how many elements may change more: an
# NMS inside of a detector can fall the other way.
_CHANGE = {"float32": 1e-3, "float16": 2e-2}
_CHANGED = 0.01


def load(path: Path) -> tuple[bytes, ir.Model]:
    """The file's bytes, and its graph with types and shapes, at opset 20 or newer.

    Weights are no longer listed as inputs. Raises LossexportError on a file that the guard or the
    ONNX checker refuses, a batch that is not 1, and an opset from which there is no way.
    """
    data = read_bytes(path, MAX_DETECTOR_BYTES)
    check_model(data, str(path))
    try:
        proto = onnx.load_from_string(data)
        onnx.checker.check_model(proto)
        model = ir.from_proto(proto)
    except Exception as error:  # protobuf, the checker and onnx-ir have no base class in common
        raise LossexportError(f"{path}: not a valid ONNX model: {one_line(error)}") from error
    RemoveInitializersFromInputsPass()(model)
    _check_batch(path, model)
    # Both names stand for the standard domain; a model of other domains alone imports neither.
    model.opset_imports.setdefault("", model.opset_imports.pop("ai.onnx", OPSET))
    metadata = dict(model.metadata_props)
    model = _at_least(path, model, OPSET)
    model.metadata_props.update(metadata)
    model.ir_version = max(model.ir_version, IR_VERSION)
    return data, model


def _check_batch(path: Path, model: ir.Model) -> None:
    """Refuse images of a batch that is not 1, and other inputs [B,...] beside them of another."""
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


def _at_least(path: Path, model: ir.Model, opset: int) -> ir.Model:
    present = model.opset_imports[""]
    if present > MAX_OPSET:
        raise LossexportError(f"{path}: opset {present}: must be at most {MAX_OPSET}")
    proto = ir.to_proto(model)
    try:
        if present < opset:
            if proto.functions:
                proto = onnx.inliner.inline_local_functions(proto, convert_version=True)
            # The converter takes initializers that are no inputs from IR version 4 on.
            proto.ir_version = max(proto.ir_version, 4)
            proto = onnx.version_converter.convert_version(proto, opset)
        return ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True))
    except Exception as error:  # the converter raises RuntimeError, onnx-ir its own
        raise LossexportError(
            f"{path}: cannot be brought from opset {present} to {opset}: {one_line(error)}"
        ) from error


def check_runs(path: Path, data: bytes) -> Session:
    """Load a model that stands, or is to stand, at `path`. Raises LossexportError."""
    return open_session(Source(path, data, None), "ort", "cpu")


def check_same(path: Path, before: bytes, after: Session) -> None:
    """Run both on random images: the outputs of the detector `before` must not have changed.

    Nothing is compared where the size of an input is open or its type is no float. Raises
    LossexportError.
    """
    session = check_runs(path, before)
    rng = np.random.default_rng(0)
    feeds = {}
    for info in session.inputs:
        if info.dtype not in _CHANGE or not all(isinstance(size, int) for size in info.shape):
            return
        feeds[info.name] = rng.random([int(size) for size in info.shape]).astype(info.dtype)
    expected, actual = session(**feeds), after(**feeds)
    for info in session.outputs:
        if info.dtype not in _CHANGE:
            continue
        old, new = (found[info.name].astype(np.float64) for found in (expected, actual))
        largest = np.abs(old[np.isfinite(old)]).max(initial=0)
        with np.errstate(invalid="ignore"):  # infinity less infinity
            same = old.shape == new.shape and (
                np.mean(np.abs(new - old) > _CHANGE[info.dtype] * largest) <= _CHANGED
            )
        if not same:
            raise LossexportError(
                f"{path}: output {info.name} changes on conversion to opset {OPSET}; "
                f"export the detector with opset {OPSET}"
            )
