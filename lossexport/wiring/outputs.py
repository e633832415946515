"""Makes expressions over a detector's tensors outputs of its graph."""

from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir

from lossexport.errors import LossexportError
from lossexport.wiring import detector
from lossexport.wiring.expression import Compiler
from lossexport.wiring.graph import Wiring, WiringError

_STEM = "lossexport.outputs"


def with_outputs(path: Path, texts: Sequence[str]) -> bytes:
    """The detector of the file `path` with an output for each expression, whose name is its text.

    The graph is converted to opset 17 if it is older. Raises LossexportError, naming the file and
    the expression, on one that cannot be compiled, and on a detector that `attach` refuses.
    """
    model = detector.load(path, of_batches=False).model
    wiring = Wiring(model.graph, _STEM)
    compiler = Compiler(wiring)
    for text in texts:
        try:
            term = compiler.compile(text)
            value = wiring.materialise(term)
        except WiringError as error:
            raise LossexportError(f"{path}: {text}: {error}") from None
        sizes = [
            f"{_STEM}.{text}.{axis}" if size is None else size
            for axis, size in enumerate(term.shape)
        ]
        out = ir.Value(name=text, shape=ir.Shape(sizes), type=ir.TensorType(term.dtype))
        model.graph.append(ir.node("Identity", [value], outputs=[out], name=f"{_STEM}.{text}"))
        model.graph.outputs.append(out)
    data: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    return data
