"""TensorRT-RTX's parser on what `attach` writes."""

import sys
from pathlib import Path

import onnx
import onnx.parser
import pytest

from lossexport.cli import main
from lossexport.exporter import rtx
from lossexport.wiring.attach import attach
from tests.wiring.toy import arguments, toy

HEAD = '<ir_version: 10, opset_import: ["": 20]> a (float[2,3] x) => (int64[2,N] y)'


def graph(body: str, name: str = "") -> bytes:
    model = onnx.parser.parse_model(f"{HEAD} {{ {body} }}")
    model.graph.node[-1].name = name
    data: bytes = model.SerializeToString()
    return data


def test_a_refused_node_is_named() -> None:
    found = rtx.parse(graph("a = Sqrt(x)\n y = NonZero(a)", name="pick"))
    assert found.status == "refused"
    assert found.notes[0].startswith("TensorRT-RTX refuses node 'pick' (NonZero): ")
    assert "plugin" in found.notes[0]
    unnamed = rtx.parse(graph("a = Sqrt(x)\n y = NonZero(a)"))
    assert unnamed.notes[0].startswith("TensorRT-RTX refuses the node of 'y' (NonZero): ")
    assert rtx.parse(b"junk").notes[0].startswith("TensorRT-RTX refuses the graph: ")


def test_it_is_said_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtx, "has_module", lambda name: False)
    found = rtx.parse(graph("y = NonZero(x)"))
    assert found.status == "not checked"
    assert found.notes[0].startswith("not checked: TensorRT-RTX is not installed: ")


@pytest.mark.parametrize(
    ("script", "status", "note"),
    [
        ("import os; os.abort()", "refused", "TensorRT-RTX's parser dies of signal 6"),
        ("import nowhere", "not checked", "ModuleNotFoundError: No module named 'nowhere'"),
        ("import time; time.sleep(60)", "not checked", "TensorRT-RTX took more than 2 s"),
        ("import trace; trace.Trace; print([])", "accepted", None),
    ],
    ids=["aborts", "does not load", "hangs", "shadows nothing"],
)
def test_a_parser_that_fails_ends_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, status: str, note: str | None
) -> None:
    (tmp_path / "trace.py").write_text("raise ImportError('not the standard one')")
    (tmp_path / "script.py").write_text(script)
    monkeypatch.setattr(rtx, "_SCRIPT", tmp_path / "script.py")
    monkeypatch.setattr(rtx, "_SECONDS", 2 if "sleep" in script else 60)
    found = rtx.parse(b"x" * 2**20)
    assert found.status == status
    assert found.notes == () if note is None else note in found.notes[0]


def test_attach_says_what_the_parser_refuses_and_writes_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = toy(tmp_path, opset=20)
    assert attach(**arguments(path)).rtx == rtx.Parsed("accepted")
    model = onnx.load(path)
    model.graph.node.add(op_type="NonZero", name="pick", input=["output"], output=["found"])
    model.graph.output.append(onnx.helper.make_tensor_value_info("found", 7, [3, None]))
    onnx.save(model, path)
    out = path.with_name("out.onnx")
    command = ["attach", str(path), "--op", "pairwise_giou", "--out", str(out)]
    command += ["--map", "pred=output[0,:,:4]", "--map", "target=output[0,:,4:]"]
    monkeypatch.setattr(sys, "argv", ["lossexport", *command])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{out}: pairwise_giou (fp32) gives score float32[6,6]"
    assert lines[1].startswith("note: TensorRT-RTX refuses node 'pick' (NonZero): ")
    assert out.exists()
