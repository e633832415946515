"""Reading a detector's ONNX file."""

from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveInitializersFromInputsPass

from lossexport.errors import LossexportError, one_line
from lossexport.exporter.versions import FUNCTIONS_IR, OLDEST_OPSET, OPSET
from lossexport.runtime.guard.external import read_model
from lossexport.runtime.onnx_guard import check_model
from lossexport.wiring.conversion import to_opset

MAX_DETECTOR_BYTES = 2**30
_IMAGE_RANK = 4


@dataclass(frozen=True, slots=True)
class Loaded:
    """A detector: the bytes of its file, and its graph with types and shapes.

    `converted` is the opset that the graph was brought to, None if it has its own. `notes` say
    which of its versions were raised, and why.
    """

    data: bytes
    model: ir.Model
    converted: int | None
    notes: tuple[str, ...]


def load(path: Path, of_batches: bool, opset: int | None = None) -> Loaded:
    """Read a detector, at `opset` if one is given, and otherwise at its own, but 17 or newer.

    The nodes are sorted, and weights are no longer listed as inputs. Raises LossexportError on a
    file that the guard or the ONNX checker refuses, a batch that is not 1, unless the op is one
    `of_batches`, and an opset that cannot be converted, or is newer than `opset`.
    """
    data = read_model(path, MAX_DETECTOR_BYTES)
    check_model(data, str(path))
    notes = []
    try:
        model = ir.from_proto(onnx.load_from_string(data))
        # onnxruntime accepts nodes in any order, and initializers that are not inputs.
        model.graph.sort()
        for function in model.functions.values():
            function.sort()
        if (stated := model.ir_version) < FUNCTIONS_IR:
            model.ir_version = FUNCTIONS_IR
            notes.append(
                f"its IR version is raised from {stated} to {FUNCTIONS_IR}, the oldest in which "
                "files have functions"
            )
        onnx.checker.check_model(ir.to_proto(model))
    except Exception as error:  # protobuf, the checker and onnx-ir have no base class in common
        raise LossexportError(f"{path}: not a valid ONNX model: {one_line(error)}") from error
    RemoveInitializersFromInputsPass()(model)
    if not of_batches:
        _check_batch(path, model)
    # Both names stand for the standard domain; a model of other domains alone imports neither.
    model.opset_imports.setdefault("", model.opset_imports.pop("ai.onnx", opset or OPSET))
    metadata, own = dict(model.metadata_props), model.opset_imports[""]
    wanted = max(own, OLDEST_OPSET) if opset is None else opset
    if wanted < own:
        raise LossexportError(
            f"{path}: is of opset {own}, which cannot be lowered to {wanted}; leave the opset out, "
            f"or export the detector with opset {wanted}"
        )
    if wanted > own:
        why = "as asked for" if opset is not None else "the oldest that ops are written for"
        notes.append(f"its opset is raised from {own} to {wanted}, {why}")
    model = to_opset(path, model, wanted)
    model.metadata_props.update(metadata)
    return Loaded(data, model, wanted if wanted > own else None, tuple(notes))


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
