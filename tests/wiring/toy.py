"""A detector of two nodes, and `attach` with its arguments filled in."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from lossexport.exporter import rtx

IMAGES = np.random.default_rng(0).random((1, 3, 4, 4)).astype(np.float32)
# What the detector below gives for IMAGES: 6 candidates of 8 numbers.
OUTPUT = np.sqrt(IMAGES.reshape(1, 6, 8))
TEXT = """
<ir_version: {ir}, opset_import: ["" : {opset}], metadata_props: ["author": "somebody"]>
detector ({type}[{batch},3,4,4] images{more}) => ({type}[1,6,8] output)
<int64[3] shape = {{1, 6, 8}}>
{{
    f0 = Sqrt (images)
    output = Reshape (f0, shape)
}}
"""


@pytest.fixture(autouse=True)
def traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        rtx, "parse", lambda model: rtx.Parsed("accepted")
    )  # tests/exporter/test_rtx


def toy(
    folder: Path,
    ir: int = 8,
    opset: int = 17,
    type: str = "float",
    batch: object = 1,
    more: str = "",
) -> Path:
    """Write the detector; `more` declares inputs that it does not use."""
    text = TEXT.format(ir=ir, opset=opset, type=type, batch=batch, more=more)
    model = onnx.parser.parse_model(text)
    for node in model.graph.node:  # a name that is no identifier
        for names in (node.input, node.output):
            names[:] = ["features/0" if name == "f0" else name for name in names]
    path = folder / "toy.onnx"
    onnx.save(model, path)
    return path


def arguments(path: Path, **more: Any) -> dict[str, Any]:
    given = {
        "model": path,
        "op": "pairwise_giou",
        "inputs": {"pred": "output[0,:,:4]", "target": "output[0,:,4:]"},
        "out": path.with_name("out.onnx"),
    }
    return given | more
