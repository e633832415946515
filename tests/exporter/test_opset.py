"""Graphs for every opset that can be asked for."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

import lossexport
from lossexport.catalog import CATALOG
from lossexport.catalog.variant import Variant
from lossexport.cli import main
from lossexport.errors import LossexportError
from lossexport.exporter import onnx_file, rtx
from lossexport.exporter.lowering import lower
from lossexport.manifest import Artifact, load_manifest
from lossexport.names import OPSETS
from lossexport.parity import quick
from tests.conftest import slow

IR = dict(zip(OPSETS, (8, 8, 9, 10, 10, 10, 10), strict=True))


def check_forms(model: onnx.ModelProto, opset: int) -> None:
    """Every import is `opset`, and every node has the attributes and inputs of that opset."""
    onnx.checker.check_model(model, full_check=True)
    imports = [model.opset_import, *(function.opset_import for function in model.functions)]
    assert {e.version for each in imports for e in each if e.domain == ""} == {opset}
    pending = [node for function in model.functions for node in function.node]
    while pending:
        node = pending.pop()
        if node.domain == "":
            schema = onnx.defs.get_schema(node.op_type, opset, "")
            assert {a.name for a in node.attribute} <= {*schema.attributes}, node.op_type
            assert len(node.input) <= schema.max_input, node.op_type
        pending += [inner for a in node.attribute for inner in a.g.node]


@pytest.mark.parametrize("opset", [17, *map(slow, (18, 19, 21, 22, 23))])
def test_graph_engine_and_manifest_are_of_the_opset(opset: int, tmp_path: Path) -> None:
    """softmax_focal_loss has ReduceMax and, in its gradient, Where and Expand."""
    lossexport.export(
        "softmax_focal_loss", tmp_path, gradient=True, opset=opset, formats=["onnx", "engine"]
    )
    manifest = load_manifest(tmp_path)
    assert manifest is not None
    assert {(a.opset, a.ir_version) for a in manifest.artifacts} == {(opset, IR[opset])}
    assert len(manifest.artifacts) == 4
    for file in tmp_path.glob("*.onnx"):
        model = onnx.load(file)
        assert model.ir_version == IR[opset]
        check_forms(model, opset)


# The oldest has other forms of many operators, the newest of none that is traced.
SWEPT = [(name, opset) for name in CATALOG for opset in (17, 23)]


@pytest.mark.parametrize(
    ("name", "opset"),
    [
        pytest.param(*given, marks=pytest.mark.exhaustive if i % 13 else pytest.mark.slow)
        for i, given in enumerate(SWEPT)
    ],
)
def test_every_op(name: str, opset: int) -> None:
    op = CATALOG[name]
    variant = Variant.make(op, gradient=bool(op.gradient))
    model = onnx_file.onnx_bytes(variant, opset)
    check_forms(onnx.load_from_string(model), opset)
    quick.check(variant, model)
    assert rtx.parse(model).status == "accepted"


def newer(body: str) -> onnx.ModelProto:
    head = '<ir_version: 8, opset_import: ["": 18]> a (float[4,6] x) => (float[M,N] y)'
    return onnx.parser.parse_model(f"{head} {{ {body} }}")


def lowered(body: str) -> onnx.ModelProto:
    model = ir.from_proto(onnx.shape_inference.infer_shapes(newer(body)))
    lower(model.graph.all_nodes(), 17)
    model.opset_imports[""] = 17
    return ir.to_proto(model)


@pytest.mark.parametrize(
    "body",
    [
        "axes = Constant<value_ints=[1]>() y = ReduceMax<keepdims=1>(x, axes)",
        "axes = Constant<value_ints=[0, -1]>() y = ReduceMean<keepdims=1>(x, axes)",
        "y = ReduceMin<keepdims=1>(x)",
        "y = ReduceL2<keepdims=1, noop_with_empty_axes=1>(x)",
        "y, b, c = Split<axis=1, num_outputs=3>(x)",
    ],
)
def test_older_forms_compute_the_same(body: str) -> None:
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    older = lowered(body)
    onnx.checker.check_model(older, full_check=True)
    evaluators: Any = [ReferenceEvaluator(model) for model in (newer(body), older)]
    expected, found = (evaluator.run(None, {"x": x})[0] for evaluator in evaluators)
    if "noop" in body:  # the evaluator of onnx reduces all the same
        expected = x
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("body", "operator"),
    [
        ("y = Mish(x)", "Mish"),
        ("y, b, c, d = Split<axis=1, num_outputs=4>(x)", "Split"),
        ("s = Shape(x) a = Slice(s, s, s) y = ReduceMax(x, a)", "ReduceMax"),
        ('at = Shape(x) one = Unsqueeze(x, at) y = ScatterND<reduction="max">(x, at, one)',
         "ScatterND"),
    ],
)  # fmt: skip
def test_what_has_no_older_form_is_refused_by_name(body: str, operator: str) -> None:
    with pytest.raises(LossexportError, match=f"^{operator} cannot be written for opset 17, "):
        lowered(body)


@pytest.mark.parametrize("opset", [16, 24, 20.5, "20", True])
def test_other_opsets_are_refused(opset: Any, tmp_path: Path) -> None:
    with pytest.raises(LossexportError, match=r"opset is .*: a (whole )?number .*is expected"):
        lossexport.export("box_iou", tmp_path / "out", opset=opset)
    assert not (tmp_path / "out").exists()


def test_command_line_and_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "own.toml"
    recipe.write_text('name = "own"\nopset = 19\n[[group]]\nops = ["box_iou"]\n')

    def written(*words: str) -> Artifact:
        out = tmp_path / "out"
        command = ["lossexport", "export", *words, "--recipe", str(recipe), "--out", str(out)]
        monkeypatch.setattr(sys, "argv", command)
        main()
        manifest = load_manifest(out)
        assert manifest is not None
        return manifest.artifacts[0]

    assert written().opset == 19
    assert written("--opset", "22").opset == 22
    recipe.write_text(recipe.read_text().replace("19", "16"))
    for words, message in (([], "Expected `int` >= 17 - at `$.opset`"), (["--opset", "24"], "24")):
        with pytest.raises(SystemExit) as stop:
            written(*words)
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
