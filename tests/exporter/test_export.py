"""Files that `export` writes, and what it refuses to write."""

import inspect
import json
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  registers bfloat16 with numpy
import numpy as np
import onnx
import pytest

import lossexport
from lossexport.catalog import CATALOG, Op, Tensor
from lossexport.errors import CheckFailedError, LossexportError
from lossexport.exporter import engine, onnx_file
from lossexport.names import Precision
from lossexport.runtime import load
from tests.conftest import slow

# One worker exports what most of these look at.
pytestmark = pytest.mark.xdist_group("export")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export")
    lossexport.export("ciou_loss", out, formats=["onnx", "engine"], gradient=True)
    return out


def test_files_and_names(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        *("ciou_loss.engine", "ciou_loss.grad.engine"),
        *("ciou_loss.grad.onnx", "ciou_loss.onnx", "manifest.json"),
    ]
    session = load(folder / "ciou_loss.grad.onnx")
    assert [(i.name, i.shape) for i in session.inputs] == [("pred", ("N", 4)), ("target", ("N", 4))]
    assert [(o.name, o.shape) for o in session.outputs] == [
        ("loss", ("N",)),
        ("grad_pred", ("N", 4)),
    ]


def test_one_node_with_its_body_and_the_plugin_attributes(folder: Path) -> None:
    model = onnx.load(folder / "ciou_loss.grad.onnx", load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    (node,) = model.graph.node
    (function,) = model.functions
    assert (node.domain, node.op_type) == ("lossexport", "CIoULossWithGrad")
    assert (function.domain, function.name) == (node.domain, node.op_type)
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    assert attributes["plugin_namespace"] == b"lossexport"
    assert attributes["plugin_version"] == b"1"
    assert attributes["aot"] == 1
    assert attributes["eps"] == pytest.approx(1e-7)
    assert set(attributes) <= set(function.attribute)
    names = [inner.name for inner in function.node]
    assert len(set(names)) == len(names)
    standard = {inner.domain for inner in function.node}
    assert standard == {""}
    assert not {"NonZero", "ScatterND", "ScatterElements", "Sigmoid"} & {
        inner.op_type for inner in function.node
    }


@pytest.mark.parametrize(
    ("op", "attributes", "shapes"),
    [
        # Ranges without the sizes of tracing in them, attributes that are such a size.
        ("smooth_l1_loss", {}, {"N": "16:64:256"}),
        ("sce_loss", {}, {"N": "1:2:3", "C": "1:2:2"}),
        slow("ghm_r_loss", {"bins": 5}, {}),
        slow("ap_loss", {"max_positives": 5}, {"K": "100:200:300"}),
        slow("ciou_loss", {}, {"N": "16:64:256"}),
        ("softmax_focal_loss", {"alpha": [0.1, 0.2, 0.3, 0.4, 0.5]}, {}),
        # Numbers that are nearly neutral.
        ("ciou_loss", {"eps": 1e-9}, {}),
        slow("ghm_r_loss", {"mu": 1e-4}, {}),
        slow("smooth_l1_loss", {"beta": 1.000001}, {}),
        ("smooth_l1_loss", {"beta": 0.0}, {}),
    ],
)
def test_what_tracing_must_not_mind(
    op: str, attributes: dict[str, object], shapes: dict[str, str], tmp_path: Path
) -> None:
    """Each graph is compared with PyTorch before it is written."""
    written = lossexport.export(op, tmp_path, gradient=True, attributes=attributes, shapes=shapes)
    assert {entry.op for entry in written.artifacts} == {op}


def test_metadata_and_no_traces_of_this_machine(folder: Path) -> None:
    data = (folder / "ciou_loss.onnx").read_bytes()
    model = onnx.load_from_string(data)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["lossexport.op"] == "ciou_loss"
    assert json.loads(metadata["lossexport.attributes"]) == {"eps": 1e-7, "reduction": "none"}
    assert str(Path.cwd()).encode() not in data
    assert b"site-packages" not in data
    assert len(data) < 16_384


def test_same_arguments_give_the_same_bytes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "onnx_bytes", inspect.unwrap(onnx_file.onnx_bytes))
    lossexport.export("ciou_loss", tmp_path, gradient=True)
    for name in ("ciou_loss.onnx", "ciou_loss.grad.onnx"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_engine_entry_of_the_manifest(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    entries = {entry["file"]: entry for entry in manifest["artifacts"]}
    engine = entries["ciou_loss.engine"]
    data = (folder / "ciou_loss.engine").read_bytes()
    assert data[:4] == b"vtrt"
    assert engine["builder"] == "rtx"
    assert engine["builder_version"].startswith("1.")
    assert engine["size_bytes"] == len(data)
    assert engine["source"] == entries["ciou_loss.onnx"]["sha256"]
    assert engine["profile"] == {"N": {"min": 1, "opt": 256, "max": 65536}}
    assert (engine["opset"], entries["ciou_loss.onnx"]["opset"]) == (20, 20)
    assert [(p["backend"], p["status"]) for p in engine["parity"]] == [("rtx", "not run here")]
    (checked,) = entries["ciou_loss.grad.onnx"]["parity"]
    assert (checked["backend"], checked["status"]) == ("ort-cpu", "passed")
    assert checked["cases"] > 3
    assert set(checked["outputs"]) == {"loss", "grad_pred"}
    assert entries["ciou_loss.grad.onnx"]["tolerance"]["grad_pred"]["why"]


def test_attributes_reach_the_graph(tmp_path: Path) -> None:
    lossexport.export(
        "smooth_l1_loss",
        tmp_path,
        attributes={"beta": 0.5, "reduction": "sum"},
        shapes={"D": 4, "N": "1:8:64"},
    )
    session = load(tmp_path / "smooth_l1_loss.onnx")
    assert session.inputs[0].shape == ("N", 4)
    assert session.outputs[0].shape == ()
    pred = np.array([[0.25, -1.0, 3.0, 0.0]], np.float32)
    loss = session(pred=pred, target=np.zeros_like(pred))["loss"]
    assert loss == pytest.approx(0.25**2 / 2 / 0.5 + 0.75 + 2.75)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_narrow_boundary_keeps_large_boxes(precision: Precision, tmp_path: Path) -> None:
    lossexport.export("box_ciou", tmp_path, precision=precision)
    path = tmp_path / f"box_ciou.{precision}.onnx"
    session = load(path)
    assert session.inputs[0].dtype == {"fp16": "float16", "bf16": "bfloat16"}[precision]
    box = np.array([[0, 0, 4000, 4000]]).astype(session.outputs[0].dtype)
    assert session(pred=box, target=box)["score"].astype(np.float64) == [1.0]


def test_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        'name = "mine"\nformats = ["onnx"]\n[[group]]\nops = ["box_iou", "encode_boxes"]\n'
        "shapes = { N = 8 }\nattributes = { weights = [10, 10, 5, 5] }\n"
    )
    manifest = lossexport.export(None, tmp_path / "out", recipe_file=recipe)
    assert [a.file for a in manifest.artifacts] == ["box_iou.onnx", "encode_boxes.onnx"]
    assert manifest.artifacts[1].attributes == {"weights": [10.0, 10.0, 5.0, 5.0]}
    assert manifest.artifacts[0].inputs[0].shape == [8, 4]


def test_shipped_recipes_name_known_ops() -> None:
    from lossexport.exporter.recipe import load as load_recipe
    from lossexport.files import shipped_files

    recipes = shipped_files("models")
    families = {"yolo11", "rt-detr", "d-fine", "rf-detr", "rtmdet", "retinanet"}
    assert {"box-quality", "box-regression", *families} <= set(recipes)
    for path in recipes.values():
        for name, settings in load_recipe(path).settings():
            assert CATALOG[name].resolve(settings.attributes).keys() >= settings.attributes.keys()
            assert set(settings.shapes) <= set(CATALOG[name].dims), path


BAD = [
    ({"op": "ciou_los"}, "unknown op 'ciou_los'; did you mean ciou_loss"),
    ({"attributes": {"gamma": 1}}, "ciou_loss: unknown attribute 'gamma'; it has: eps, reduction"),
    ({"attributes": {"eps": -1}}, r"eps=-1: must be in \[0, 1\]"),
    ({"attributes": {"eps": "x"}}, "eps='x': must be a number"),
    ({"shapes": {"K": 3}}, "ciou_loss: unknown dimension 'K'; it has: N"),
    ({"shapes": {"N": "4:2:8"}}, "N='4:2:8': needs 0 <= MIN <= OPT <= MAX"),
    ({"shapes": {"N": "a:b:c"}}, "N='a:b:c': expected SIZE or MIN:OPT:MAX"),
    ({"shapes": {"N": "99999999999999999999"}}, "MAX is at most 2147483647"),
    ({"shapes": {"N": "1:1:2147483647"}}, "pred would have 8589934588 elements"),
    ({"formats": ["tflite"]}, "format 'tflite': must be one of onnx, engine"),
    ({"precision": "int8"}, "precision 'int8'"),
    ({"op": "box_iou", "gradient": True}, "box_iou: has no gradient graph"),
    ({"formats": ["engine"], "compute_capabilities": ["9.0"]}, "capability '9.0': must be one of"),
    ({"formats": ["engine"], "backend": "tensorrt"}, "tensorrt is not installed: pip install"),
    ({"op": ["box_iou", "box_iou"]}, "^box_iou: is asked for twice$"),
    ({"recipe_file": "nowhere.toml"}, "nowhere.toml: cannot be read"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_requests_write_nothing(
    arguments: dict[str, object], message: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    call = {"op": "ciou_loss", "out": out / "deep", **arguments}
    with pytest.raises(LossexportError, match=message):
        lossexport.export(**call)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = 3", r"Expected `str`, got `int` - at `\$.name`"),
        ('name = "x"\n[[group]]\nops = []', "length >= 1"),
        ('name = "x"\nspeed = 1\n[[group]]\nops = ["box_iou"]', "unknown field `speed`"),
        ('name = "x"\n[[group]]\nops = ["nope"]', r"bad\.toml: unknown op 'nope'"),
        ('name = "x"\n[[group]]\nops = ["nms", "nms"]', r"bad\.toml: nms: is asked for twice"),
        (
            'name = "x"\n[[group]]\nops = ["box_iou"]\nattributes = { eps = "x" }',
            r"bad\.toml: box_iou: eps='x': must be a number",
        ),
        ("name = ", "Invalid value"),
    ],
)
def test_bad_recipes_are_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(LossexportError, match=message):
        lossexport.export(None, tmp_path / "out", recipe_file=path)
    assert not (tmp_path / "out").exists()


def test_a_wrong_graph_does_not_leave_the_building(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lossexport.export("box_giou", tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    true_bytes = onnx_file.onnx_bytes

    def wrong(variant: object, opset: int) -> bytes:
        model = onnx.load_from_string(true_bytes(variant, opset))  # type: ignore[arg-type]
        for node in model.functions[0].node:
            if node.op_type == "Min":
                node.op_type = "Max"
                break
        return model.SerializeToString()

    monkeypatch.setattr(onnx_file, "onnx_bytes", wrong)
    with pytest.raises(CheckFailedError, match="instead of"):
        lossexport.export(["box_iou", "box_giou"], tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_later_failure_takes_earlier_files_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> bytes:
        raise LossexportError("no engine")

    monkeypatch.setattr(engine, "build_tuned", fail)
    with pytest.raises(LossexportError, match="box_iou: no engine"):
        lossexport.export("box_iou", tmp_path / "out", formats=["onnx", "engine"])
    assert not (tmp_path / "out").exists()


def test_a_folder_in_the_way_leaves_everything_as_it_was(tmp_path: Path) -> None:
    lossexport.export("box_iou", tmp_path)
    (tmp_path / "box_giou.onnx").mkdir()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(LossexportError, match=r"box_giou\.onnx: is a folder"):
        lossexport.export(["box_giou", "box_iou"], tmp_path, shapes={"N": 8})
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert after == before


def test_exporting_again_keeps_the_other_entries(tmp_path: Path) -> None:
    lossexport.export("box_iou", tmp_path)
    manifest = lossexport.export("box_diou", tmp_path)
    assert [a.file for a in manifest.artifacts] == ["box_diou.onnx", "box_iou.onnx"]


@pytest.mark.parametrize(("least", "largest"), [(5, 4096), (100, 103)])
def test_a_function_may_rely_on_the_least_size(least: int, largest: int, tmp_path: Path) -> None:
    """Five of N numbers, where N is declared to start at 5 or later."""

    def top_mean(x: Any) -> Any:
        """Mean of the five largest numbers."""
        return x.topk(5).values.mean(-1)

    with CATALOG.scoped():
        sizes = {"N": (least, least + 1, largest)}
        tensors = (Tensor("x", ("N",), "real"),), (Tensor("score", ()),)
        lossexport.register(Op("top_mean", top_mean, *tensors, dims=sizes))
        lossexport.export("top_mean", tmp_path)
        assert lossexport.verify(tmp_path).passed
        session = load(tmp_path / "top_mean.onnx", "ort")
        for count in {least, largest}:
            x = np.arange(count, dtype=np.float32)
            assert session(x=x)["score"] == count - 3
