"""`attach --build`: the graph and its engine appear together, or a refusal names the node."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from lossexport.catalog.variant import Range
from lossexport.cli import main
from lossexport.errors import LossexportError
from lossexport.exporter import engine, refused
from lossexport.exporter.refused import Refused
from lossexport.runtime import load
from lossexport.wiring.attach import attach
from tests.wiring.toy import IMAGES, arguments, toy

OPEN = """
<ir_version: 10, opset_import: ["": 20]> a (float[1,3,4,W] images) => (float[1,A,8] output)
<int64[3] s = {1, -1, 8}> { output = Reshape (images, s) }
"""


def wide(folder: Path) -> Path:
    path = folder / "wide.onnx"
    onnx.save(onnx.parser.parse_model(OPEN), path)
    return path


def with_node(path: Path, *nodes: onnx.NodeProto) -> Path:
    """The detector with nodes behind `output`, the last of which gives another output."""
    model = onnx.load(path)
    model.graph.node.extend(nodes)
    name = nodes[-1].output[0]
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, 7, ["K", 3]))
    onnx.save(model, path)
    return path


def test_the_engine_appears_beside_the_graph(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def build(*given: Any) -> bytes:
        asked.append(given)
        return b"vtrt and more"

    monkeypatch.setattr(engine, "build", build)
    path, out = wide(tmp_path), tmp_path / "new" / "out.onnx"
    command = ["lossexport", "attach", str(path), "--op", "pairwise_giou", "--out", str(out)]
    command += ["--map", "pred=output[0,:,:4]", "target=output[0,:,4:]", "--build"]
    command += ["--shape", "W=4:8:64", "--compute-capability", "8.6,9.0"]
    monkeypatch.setattr("sys.argv", command)
    main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"{out.with_suffix('.engine')}: built by TensorRT-RTX"
    assert sorted(file.name for file in out.parent.iterdir()) == ["out.engine", "out.onnx"]
    assert out.with_suffix(".engine").read_bytes() == b"vtrt and more"
    (given,) = asked
    assert given[0] == out.read_bytes()
    assert given[1:] == (
        {"images": (1, 3, 4, "W")}, {"W": Range(4, 8, 64)}, "rtx", ("8.6", "9.0"),
    )  # fmt: skip


def test_it_is_built_indeed(tmp_path: Path) -> None:
    path = wide(tmp_path)
    attach(**arguments(path, build=True, shapes={"W": "4:8:64"}))
    assert path.with_name("out.engine").read_bytes()[:4] == b"vtrt"
    found = load(path.with_name("out.onnx"))(images=IMAGES)
    np.testing.assert_array_equal(found["output"], IMAGES.reshape(1, 6, 8))


NODE = onnx.helper.make_node
REFUSED: dict[str, tuple[list[onnx.NodeProto], str]] = {
    "parser": (
        [NODE("NonZero", ["output"], ["found"], name="/head/NonZero")],
        r"out.onnx: no engine, nothing was written: TensorRT-RTX refuses node '/head/NonZero' "
        r"\(NonZero\): .*; how many elements it gives depends on values: export the detector with",
    ),
    "builder": (
        [
            NODE("Slice", ["output", "zero", "four", "two"], ["boxes"]),
            NODE("Transpose", ["output"], ["scores"], perm=[0, 2, 1]),
            NODE("NonMaxSuppression", ["boxes", "scores", "four"], ["found"], name="/post/NMS"),
        ],
        r"out.onnx: no engine, nothing was written: rtx builder: .*no runners.*; node '/post/NMS' "
        r"\(NonMaxSuppression\): export the detector without its NMS, and attach `batched_nms`",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_node_is_named_and_nothing_is_written(case: str, tmp_path: Path) -> None:
    nodes, message = REFUSED[case]
    path = toy(tmp_path, opset=20)
    model = onnx.load(path)
    for name, value in (("zero", 0), ("four", 4), ("two", 2)):
        model.graph.initializer.append(onnx.helper.make_tensor(name, 7, [1], [value]))
    onnx.save(model, path)
    with_node(path, *nodes)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(LossexportError, match=message):
        attach(**arguments(path, build=True))
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"build": True}, r"wide.onnx: input images\[1,3,4,W\] is open in W: an engine needs its"),
        ({"build": True, "shapes": {"W": 8, "H": 8}}, "no input is open in 'H'; open dime.*: W$"),
        ({"build": True, "shapes": {"W": "8:4:2"}}, "needs 0 <= MIN <= OPT <= MAX"),
        ({"build": True, "backend": "cuda"}, "backend 'cuda' builds no engine"),
        ({"shapes": {"W": 8}}, "shapes and compute capabilities are for an engine: --build"),
        ({"build": True, "out": "x.engine"}, "x.engine: is the name of the engine; --out names"),
    ],
)
def test_bad_usage(more: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(LossexportError, match=message):
        attach(**arguments(wide(tmp_path), **more))
    assert [file.name for file in tmp_path.iterdir()] == ["wide.onnx"]


def test_a_dimension_without_a_name_is_called_after_its_place(tmp_path: Path) -> None:
    path = wide(tmp_path)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[3].ClearField("dim_param")
    onnx.save(model, path)
    with pytest.raises(LossexportError, match=r"open in images.3: .* --shape images.3=MIN:OPT:MAX"):
        attach(**arguments(path, build=True))


def test_the_ways_round() -> None:
    model = onnx.parser.parse_model(OPEN).SerializeToString()
    for row, words in (
        (("", 0, "Reshape", "why"), "the node of 'output' (Reshape): why; another --opset may"),
        (("", 9, "Reshape", "why"), "a node (Reshape): why; "),
        (("", -1, "", "Unsupported reduction type"), "the graph: .*; a scatter without a reduct"),
        (("n", 0, "NonZero", "r", ("/f (Own)",)), "NonZero in node '/f' (Own): r; how many"),
        (("n", 0, "FusedConv", 'creator && "Plugin not found"'), "node 'n' .*; export the detector "
         "with standard operators"),
        (("n", 0, "Transpose", "first input has type UInt8"), "inputs of float32"),
    ):  # fmt: skip
        line = Refused(*row).line(model, "rtx")
        assert line.startswith("TensorRT-RTX refuses ")
        for part in words.split(".*"):
            assert part in line
    assert refused.of_builder(model, "out of memory") == "out of memory"
