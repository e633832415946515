"""Small models and export folders for the runtime's tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from lossexport.files import sha256
from lossexport.manifest import Artifact, RangeRecord, TensorRecord, merge, save_manifest


def _add_model(dtype: int = TensorProto.FLOAT) -> bytes:
    """z[N,4] = x[N,4] + y[N,4] in float32, whatever `dtype` the three have."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Cast", ["x"], ["x32"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["y"], ["y32"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x32", "y32"], ["z32"]),
        helper.make_node("Cast", ["z32"], ["z"], to=dtype),
    ]
    graph = helper.make_graph(
        nodes,
        "add",
        [value("x", dtype, ["N", 4]), value("y", dtype, ["N", 4])],
        [value("z", dtype, ["N", 4])],
    )
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    helper.set_model_props(model, {"lossexport.op": "add"})
    onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.fixture(scope="session")
def add_model() -> bytes:
    return _add_model()


@pytest.fixture
def add_file(tmp_path: Path, add_model: bytes) -> Path:
    path = tmp_path / "add.onnx"
    path.write_bytes(add_model)
    return path


@pytest.fixture
def bf16_file(tmp_path: Path) -> Path:
    path = tmp_path / "add.bf16.onnx"
    path.write_bytes(_add_model(TensorProto.BFLOAT16))
    return path


@pytest.fixture
def listed() -> Callable[..., Path]:
    """Write data to a folder with a manifest that lists it, N from 1 to 64; give the path."""

    def write(folder: Path, name: str, data: bytes, **changes: object) -> Path:
        tensors = {
            key: TensorRecord(name=key, dtype="float32", shape=["N", 4], domain="any")
            for key in "xyz"
        }
        fields: dict[str, Any] = {
            "file": name,
            "sha256": sha256(data),
            "size_bytes": len(data),
            "op": "add",
            "kind": "value",
            "precision": "fp32",
            "attributes": {},
            "inputs": [tensors["x"], tensors["y"]],
            "outputs": [tensors["z"]],
            "tolerance": {},
            "profile": {"N": RangeRecord(min=1, opt=16, max=64)},
        }
        save_manifest(folder, merge(None, [Artifact(**fields | changes)], {"lossexport": "0"}))
        path = folder / name
        path.write_bytes(data)
        return path

    return write
