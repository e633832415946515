"""Tensors in files beside a model are read into it, from its folder and within its bounds."""

import copy
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from lossexport.errors import LossexportError
from lossexport.runtime import load
from lossexport.runtime.guard.external import read_model

LIMIT = 2**20
WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4)
BYTES = WEIGHT.tobytes()


def plain() -> ModelProto:
    """A model with a weight as an initializer, and one in a branch within a function."""
    opset = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    value = helper.make_tensor_value_info
    held = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(WEIGHT, "held"))
    branch = helper.make_graph([held], "b", [], [value("w", TensorProto.FLOAT, [3, 4])])
    body = [
        helper.make_node("If", ["c"], ["w"], then_branch=branch, else_branch=branch),
        helper.make_node("Add", ["x", "w"], ["y"]),
    ]
    function = helper.make_function("own", "F", ["x", "c"], ["y"], body, opset)
    graph = helper.make_graph(
        [
            helper.make_node("F", ["x", "c"], ["t"], domain="own"),
            helper.make_node("Add", ["t", "weight"], ["y"]),
        ],
        "g",
        [value("x", TensorProto.FLOAT, [3, 4]), value("c", TensorProto.BOOL, [])],
        [value("y", TensorProto.FLOAT, [3, 4])],
        initializer=[numpy_helper.from_array(WEIGHT, "weight")],
    )
    return helper.make_model(graph, functions=[function], opset_imports=opset, ir_version=10)


def tensors(proto: ModelProto) -> Iterator[TensorProto]:
    """Every tensor that `plain` has."""
    yield from proto.graph.initializer
    for node in proto.functions[0].node[0].attribute:
        yield node.g.node[0].attribute[0].t


def outside(proto: ModelProto, **entries: object) -> ModelProto:
    """`proto` with its data in `w.bin`, as `entries` say."""
    proto = copy.deepcopy(proto)
    for tensor in tensors(proto):
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, text in {"location": "w.bin", **entries}.items():
            if text is not None:
                tensor.external_data.add(key=key, value=str(text))
    return proto


def write(folder: Path, proto: ModelProto, data: bytes = BYTES) -> Path:
    (folder / "w.bin").write_bytes(data)
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def refusal(path: Path, limit: int = LIMIT) -> str:
    with pytest.raises(LossexportError) as caught:
        read_model(path, limit)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: model.") or str(path.parent) in message
    return message.removeprefix(f"{path}: model.graph.initializer[0].")


@pytest.mark.parametrize(
    ("entries", "before"),
    [({}, 0), ({"offset": 0, "length": 48}, 0), ({"offset": 4096}, 4096), ({"checksum": "x"}, 0)],
)
def test_data_is_read_in_its_place(tmp_path: Path, entries: dict[str, object], before: int) -> None:
    path = write(tmp_path, outside(plain(), **entries), bytes(before) + BYTES + b"more")
    read = onnx.load_from_string(read_model(path, LIMIT))
    assert [t.raw_data for t in tensors(read)] == [BYTES] * 3
    for tensor in tensors(read):
        assert not tensor.external_data
        assert tensor.data_location == TensorProto.DEFAULT
    found = load(path, "ort")(x=WEIGHT, c=np.array(True))
    np.testing.assert_array_equal(found["y"], 3 * WEIGHT)


def test_what_onnx_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(plain(), path, save_as_external_data=True, size_threshold=0, location="all.bin")
    assert load(path, "ort")(x=WEIGHT, c=np.array(True))["y"][2, 3] == 33
    assert not [
        t for t in tensors(onnx.load_from_string(read_model(path, LIMIT))) if t.external_data
    ]


def test_a_model_without_external_data_is_not_changed(tmp_path: Path) -> None:
    proto = plain()
    proto.metadata_props.add(key="location", value="x")
    path = write(tmp_path, proto)
    assert read_model(path, LIMIT) == path.read_bytes()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"location": "../w.bin"}, "must be a path within the folder of the model"),
        ({"location": "/etc/passwd"}, "must be a path within the folder of the model"),
        ({"location": "a/../../w.bin"}, "must be a path within the folder of the model"),
        ({"location": ""}, "must be a path within the folder of the model"),
        ({"location": None}, "is unknown, or given twice"),
        ({"location": "w.bin\0"}, "must be a path within the folder of the model"),
        ({"location": "none.bin"}, "location 'none.bin': cannot be read: No such file"),
        ({"location": "folder"}, "not a regular file"),
        ({"location": "pipe"}, "not a regular file"),
        ({"location": "out.bin"}, "location 'out.bin': a link leads out of the folder"),
        ({"location": "up/secret.bin"}, "a link leads out of the folder of the model"),
        ({"location": "circle"}, "cannot be read: "),
        ({"offset": -1}, "offset '-1' is not a whole number"),
        ({"offset": "9" * 19}, "is not a whole number"),
        ({"offset": "0x10"}, "is not a whole number"),
        ({"offset": 1}, "48 bytes, the tensor ends at 49"),
        ({"offset": "9" * 18}, "48 bytes, the tensor ends at 1000000000000000047"),
        ({"length": 44}, "length 44, dims [3, 4] need 48 bytes"),
        ({"length": 2**40}, "length 1099511627776, dims [3, 4] need 48 bytes"),
        ({"size": 3}, "key 'size' is unknown, or given twice"),
    ],
)
def test_data_that_is_refused(tmp_path: Path, entries: dict[str, object], message: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(BYTES)
    (folder / "folder").mkdir()
    (folder / "up").symlink_to(tmp_path)
    (folder / "out.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "circle").symlink_to("circle")
    os.mkfifo(folder / "pipe")
    proto = outside(plain(), **entries)
    if entries.get("location", "") is None:
        for tensor in tensors(proto):
            for _ in range(2):
                tensor.external_data.add(key="location", value="w.bin")
    assert message in refusal(write(folder, proto))


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    path = write(tmp_path, outside(plain(), location="link.bin"))
    (tmp_path / "link.bin").symlink_to("w.bin")
    assert len(read_model(path, LIMIT)) > len(BYTES) * 3


def test_model_and_data_share_one_limit(tmp_path: Path) -> None:
    """The same bytes for every tensor are counted for every tensor, before they are read."""
    path = write(tmp_path, outside(plain()))
    size = path.stat().st_size + 3 * WEIGHT.nbytes
    read_model(path, size)
    assert refusal(path, size - 1).endswith(
        f"model and data have {size} bytes up to here, more than the limit of {size - 1}"
    )
    with pytest.raises(LossexportError, match="more than the limit of"):
        load(path, "ort", max_bytes=size - 1)


def test_strings_and_dimensions_without_end(tmp_path: Path) -> None:
    proto = outside(plain())
    proto.graph.initializer[0].data_type = TensorProto.STRING
    assert "strings cannot be in a file of their own" in refusal(write(tmp_path, proto))
    proto = outside(plain())
    proto.graph.initializer[0].dims[:] = [2**40, 2**20]
    assert "more than the limit of 1048576" in refusal(write(tmp_path, proto))
