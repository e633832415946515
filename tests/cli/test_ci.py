"""What CI systems read: exit codes, JUnit XML, gates against an earlier summary."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import onnx
import pytest

from lossexport import bench
from lossexport.checks import SUMMARY
from lossexport.cli import cli
from tests.boxes.helpers import coco, found, truth
from tests.cli.conftest import Run
from tests.conftest import ROOT

GRAPHS = ROOT / "lossexport" / "graphs"
IOU = GRAPHS / "box_iou.onnx"


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.delenv(SUMMARY, raising=False)
    (tmp_path / "pred.json").write_text(json.dumps([found(1, 1, 0.9, 0, 0, 10, 8)]))
    (tmp_path / "ref.json").write_text(json.dumps(coco([truth(1, 1, 0, 0, 10, 10)])))
    return ["score", "--pred", str(tmp_path / "pred.json"), "--ref", str(tmp_path / "ref.json")]


def cases(file: Path) -> dict[str, str]:
    root = ElementTree.parse(file).getroot()
    return {
        str(case.get("name")): case[0].tag if len(case) else "passed"
        for case in root.iter("testcase")
    }


def test_a_drop_below_an_earlier_summary(
    run: Run,
    inputs: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, xml, step = tmp_path / "before.json", tmp_path / "score.xml", tmp_path / "step.md"
    assert run(*inputs, "--json", before)[0] == 0
    summary = json.loads(before.read_text())
    assert summary["AP"] == pytest.approx(0.7)
    summary["AP"] += 0.01
    before.write_text(json.dumps(summary))
    drop = [*inputs, "--baseline", before, "--max-drop"]
    assert run(*drop, "AP=0.0101", "iou_mean=0")[0] == 0
    monkeypatch.setenv(SUMMARY, str(step))
    code, _, err = run(*drop, "AP=0.009", "--fail-below", "AP50=0.5", "--junit", xml)
    assert (code, err) == (1, "error: AP is 0.7, at least 0.701 is required\n")
    assert cases(xml) == {"AP50 at least 0.5": "passed", "AP at least 0.701": "failure"}
    assert "| AP | 0.7000 | at least 0.701: FAILED |" in step.read_text()


@pytest.mark.parametrize(
    ("options", "text", "message"),
    [
        (("AP=1",), None, "max_drop: is given without baseline"),
        ((), "{}", "baseline: is given without max_drop"),
        (("AP=0.1",), "{", "before.json: not JSON: "),
        (
            ("AP=0.1",),
            "[]",
            "before.json: has no number AP: it is no summary.json of the same",
        ),
        (("AP=0.1",), '{"counts": {}, "AP": "x"}', "before.json: has no number AP: "),
        (("AP=0.1",), '{"counts": {}, "AP": -1}', "before.json: AP is undefined there"),
        (("AP=-1",), '{"counts": {}, "AP": 1}', "max_drop AP: is -1.0: expected 0 or more"),
        (("AP5=1",), '{"counts": {}}', "max_drop 'AP5': no such number; "),
        (("AP",), "{}", "--max-drop 'AP': expected NAME=VALUE"),
    ],
)
def test_bad_baselines(
    run: Run, inputs: list[str], tmp_path: Path, options: tuple[str, ...],
    text: str | None, message: str,
) -> None:  # fmt: skip
    given = [argument for option in options for argument in ("--max-drop", option)]
    if text is not None:
        (tmp_path / "before.json").write_text(text)
        given += ["--baseline", str(tmp_path / "before.json")]
    code, out, err = run(*inputs, *given)
    assert (code, out) == (2, "")
    assert message in err


def test_backends_that_have_to_run(run: Run, tmp_path: Path) -> None:
    xml = tmp_path / "parity.xml"
    verify = ("verify", IOU, "--replay", "ordinary:N=17:0", "--junit", xml)
    assert run(*verify, "--require", "ort,native")[0] == 0
    assert cases(xml)["box_iou.onnx on ort-cpu"] == "passed"
    assert cases(xml)["box_iou.onnx on ort-cuda"] == "skipped"
    code, _, err = run(*verify, "--require", "ort-cuda")
    assert code == 1
    assert err.startswith(f"error: {IOU}: ort-cuda is required: not run here: ")
    assert cases(xml)["box_iou.onnx on ort-cuda"] == "failure"
    code, _, err = run(*verify, "--require", "rtx")
    assert (code, err) == (2, f"error: {IOU}: no file is for rtx\n")


def test_hashes_alone(run: Run, tmp_path: Path) -> None:
    report = tmp_path / "hashes.json"
    assert run("verify", GRAPHS, "--hash-only", "--json", report)[0] == 0
    assert json.loads(report.read_text())["passed"] is True
    code, _, err = run("verify", IOU, "--hash-only", "--require", "ort")
    assert (code, err) == (2, "error: --require: is not for --hash-only, which runs nothing\n")


def test_hashes_need_only_the_base_install() -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'onnx_ir', 'onnxruntime', 'jinja2', 'PIL', 'pyarrow'):\n"
        "    sys.modules[name] = None\n"
        "from lossexport.cli import cli\n"
        f"cli(['verify', {str(GRAPHS)!r}, '--hash-only'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("passed") == len(list(GRAPHS.glob("*.onnx")))


def test_differences(run: Run) -> None:
    code, out, _ = run("diff", GRAPHS, GRAPHS / "manifest.json", "--exit-code")
    assert (code, out) == (0, "no difference\n")


def test_json_of_the_verbs_that_make_files(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The JSON of every verb has the version of its form, and agrees with the files."""
    detector, out = tmp_path / "detector.onnx", tmp_path / "out"
    box = onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, [3, 4])
    copy = onnx.helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, [3, 4])
    node = onnx.helper.make_node("Identity", ["a"], ["b"])
    graph = onnx.helper.make_graph([node], "detector", [box], [copy])
    opset = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), detector)
    attached = ("--op", "box_iou", "--map", "pred=a", "--map", "target=b")
    calls: dict[str, tuple[Any, ...]] = {
        "export": ("box_iou", "--out", out),
        "attach": (detector, *attached, "--out", tmp_path / "attached.onnx"),
        "doctor": (),
        "bench": ("--sizes", "8"),
        "diff": (GRAPHS, GRAPHS),
        "verify": (IOU, "--backend", "native"),
    }
    timed = bench.Row(8, {"eager": 2.0, "exported": 1.0})
    monkeypatch.setattr(bench, "run", lambda sizes, step: [timed])
    found = {}
    for verb, arguments in calls.items():
        assert run(verb, *arguments, "--json", tmp_path / "found.json")[0] == 0, verb
        found[verb] = json.loads((tmp_path / "found.json").read_text())
        assert found[verb]["schema_version"] == 1
    assert found["export"] == json.loads((out / "manifest.json").read_text())
    assert found["attach"]["file"] == str(tmp_path / "attached.onnx")
    assert found["attach"]["outputs"] == ["score float32[3]"]
    assert {entry["component"] for entry in found["doctor"]["components"]} >= {"python", "torch"}
    assert found["bench"]["rows"] == [asdict(timed)]


VERBS = {
    "export": ["iou"], "attach": ["a.onnx", "iou"], "bench": [], "doctor": [], "diff": ["a", "b"],
    "verify": ["out"], "score": ["--pred", "a", "--ref", "b"], "compare": ["a", "b"],
    "watch": ["a", "--pred", "b"],
}  # fmt: skip
"""Verbs that write files for programs, and arguments that would fail later."""


@pytest.mark.parametrize("verb", VERBS)
def test_files_are_checked_before_any_work(verb: str, run: Run, tmp_path: Path) -> None:
    """A folder for a file, a file for a folder, and one file for two results: nothing is done."""
    (tmp_path / "file").write_text("")
    command = cli.get_command(click.Context(cli), verb)
    assert command
    options = [
        name
        for option in command.params
        for name in option.opts
        if name in ("--json", "--junit", "--html")
    ]
    assert "--json" in options
    for option in options:
        for place, words in ((tmp_path, "is not a regular file"), ("file/x.json", "not a folder")):
            code, out, err = run(verb, *VERBS[verb], option, tmp_path / place)
            assert (code, out) == (2, "")
            assert words in err
            assert err.count("\n") == 1
    for option in options[1:]:
        same = ["--json", tmp_path / "x", option, f"{tmp_path}/./x"]
        code, _, err = run(verb, *VERBS[verb], *same)
        assert code == 2
        assert err == f"error: {option} {tmp_path}/./x: --json writes the same file\n"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_every_verb_that_does_something_has_json() -> None:
    context = click.Context(cli)
    without = []
    for name in cli.list_commands(context):
        verb = cli.get_command(context, name)
        assert verb is not None
        if not any("--json" in parameter.opts for parameter in verb.params):
            without.append(name)
    # What `calibrate` writes is JSON already.
    assert without == ["calibrate", "config"]
