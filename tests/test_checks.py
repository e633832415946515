"""JUnit XML, the summary of a CI step, hashes and differences of exports."""

import json
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest

from lossexport.checks import SUMMARY, Check, gate_checks, junit, step_summary
from lossexport.difference import Change, data, difference, in_words
from lossexport.errors import LossexportError
from lossexport.hashes import check_hashes
from lossexport.manifest import BackendParity, load_manifest, save_manifest
from tests.conftest import ROOT

GRAPHS = ROOT / "lossexport" / "graphs"
CHECKS = [
    Check("a.b", "one", "passed"),
    Check("a.b", "two & <three>", "failed", "is 0.4,\nat \x00least 0.5"),
    Check("a.b", "four", "skipped", "no GPU"),
]


def test_junit() -> None:
    root = ElementTree.fromstring(junit("s", CHECKS))
    suite = root[0]
    common = {"name": "s", "tests": "3", "errors": "0", "failures": "1"}
    # What the schema of Jenkins (junit-10.xsd) knows, which has no `skipped` of all suites.
    assert (root.tag, root.attrib) == ("testsuites", common)
    assert (suite.tag, suite.attrib) == ("testsuite", common | {"skipped": "1"})
    assert {name for case in suite for name in case.attrib} == {"classname", "name", "time"}
    assert [case.get("name") for case in suite] == ["one", "two & <three>", "four"]
    assert [[part.tag for part in case] for case in suite] == [[], ["failure"], ["skipped"]]
    assert suite[1][0].attrib == {"message": "is 0.4,"}
    assert suite[1][0].text == "is 0.4,\nat \N{REPLACEMENT CHARACTER}least 0.5"


def test_gates_as_checks() -> None:
    gates = [
        {"name": "AP", "kind": "at least", "bound": 0.5, "passed": False},
        {"name": "AP", "kind": "at most", "bound": 0.6, "passed": True},
        {"name": "new", "kind": "at most", "bound": 2.0, "passed": False},
    ]
    summary = {"gates": gates, "gate_failures": ["AP is low", "new is high"]}
    assert gate_checks("score", summary) == [
        Check("lossexport.score", "AP at least 0.5", "failed", "AP is low"),
        Check("lossexport.score", "AP at most 0.6", "passed"),
        Check("lossexport.score", "new at most 2", "failed", "new is high"),
    ]
    (only,) = gate_checks("score", {"gates": [], "gate_failures": []})
    assert only.status == "passed"


def test_the_summary_of_a_step_is_appended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(SUMMARY, raising=False)
    assert step_summary("t", ["x"], [["1"]]) == ""
    file = tmp_path / "step.md"
    file.write_text("before\n")
    monkeypatch.setenv(SUMMARY, str(file))
    assert step_summary("t", ["x", "y"], [["a|b", "c\nd"]] * 42) == ""
    text = file.read_text()
    assert text.startswith("before\n### t\n\n| x | y |\n| --- | --- |\n| a\\|b | c d |\n")
    assert text.count("a\\|b") == 40
    assert text.endswith("\n\n2 more rows\n\n")
    monkeypatch.setenv(SUMMARY, str(tmp_path))
    assert (
        step_summary("t", ["x"], []) == f"{SUMMARY}={tmp_path}: cannot be written: Is a directory"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GRAPHS, tmp_path / "out"))


def test_hashes(folder: Path) -> None:
    names = sorted(path.name for path in folder.glob("*.onnx"))
    found = {Path(check.name).name: check for check in check_hashes(folder)}
    assert sorted(found) == names
    assert {check.status for check in found.values()} == {"passed"}

    changed, gone, new = folder / names[0], folder / names[1], folder / "new.onnx"
    changed.write_bytes(changed.read_bytes() + b"\0")
    new.write_bytes(gone.read_bytes())
    gone.unlink()
    failed = {Path(c.name).name: c.message for c in check_hashes(folder) if c.status == "failed"}
    assert set(failed) == {changed.name, gone.name, new.name}
    size = changed.stat().st_size
    assert f"({size} bytes)" in failed[changed.name]
    assert f"({size - 1} bytes)" in failed[changed.name]
    assert "No such file" in failed[gone.name]
    assert failed[new.name] == "manifest.json does not list it"
    assert [check.status for check in check_hashes([folder / names[2], changed])] == [
        "passed",
        "failed",
    ]
    with pytest.raises(LossexportError, match=r"new\.onnx: .*manifest\.json does not list it"):
        check_hashes(new)
    with pytest.raises(LossexportError, match=r"has no manifest\.json"):
        check_hashes(folder.parent)
    with pytest.raises(LossexportError, match=r"^/nowhere/a\.onnx: does not exist$"):
        check_hashes("/nowhere/a.onnx")


def rewritten(folder: Path, **fields: Any) -> None:
    """Change the first artifact of a manifest."""
    manifest = load_manifest(folder)
    assert manifest is not None
    first = msgspec.structs.replace(manifest.artifacts[0], **fields)
    entries = [first, *manifest.artifacts[1:-1]]
    save_manifest(folder, msgspec.structs.replace(manifest, artifacts=entries))


def test_differences_of_exports(folder: Path) -> None:
    assert difference(GRAPHS, folder) == []
    manifest = load_manifest(folder)
    assert manifest is not None
    first, last = manifest.artifacts[0], manifest.artifacts[-1]
    parity = [BackendParity("ort-cpu", "1", "failed", "beyond")]
    attributes = first.attributes | {"extra": 1}
    rewritten(folder, sha256="0" * 64, parity=parity, attributes=attributes)
    changes = difference(GRAPHS, folder / "manifest.json")
    assert {change.file for change in changes} == {first.file, last.file}
    found = {change.what: change for change in changes if change.file == first.file}
    assert found["sha256"] == Change(first.file, "sha256", first.sha256, "0" * 64)
    assert found["attributes.extra"].after == 1
    assert found["parity.ort-cpu"].after == "failed"
    assert str(found["parity.ort-cpu"].before).startswith("passed, ")
    assert changes[-1] == Change(last.file, "file", last.op, None)
    assert json.loads(json.dumps(data(changes)))["same"] is False
    assert data([]) == {"schema_version": 1, "same": True, "changes": []}
    with pytest.raises(LossexportError, match=r"no manifest\.json is there"):
        difference(GRAPHS, folder.parent)


def test_values_in_words() -> None:
    assert [in_words(value) for value in (None, 2.5, ["a", 1], "x" * 61)] == [
        "-",
        "2.5",
        '["a",1]',
        "x" * 57 + "...",
    ]
