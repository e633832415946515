"""`lossexport calibrate` and `lossexport watch`: files, lines, gates, exit codes."""

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.cli.conftest import Run
from tests.cli.conftest import run as run
from tests.monitor.sets import KINDS, calibrated, frames, scenes


def coco(folder: Path, images: int, seed: int, **options: Any) -> tuple[Path, Path]:
    """Predictions and references as files."""
    pred, ref = scenes(images, seed, **options)

    def rows(columns: dict[str, Any]) -> list[dict[str, Any]]:
        names = [name for name in columns if isinstance(columns[name], np.ndarray)]
        return [
            dict(zip(names, values, strict=True))
            for values in zip(*(columns[name].tolist() for name in names), strict=True)
        ]

    files = folder / f"dets{seed}.json", folder / f"gt{seed}.json"
    files[0].write_text(json.dumps(rows(pred)))
    references = {
        "images": [{"id": i} for i in range(images)],
        "categories": [{"id": k, "name": name} for k, name in KINDS.items()],
        "annotations": [{"id": i + 1, **row} for i, row in enumerate(rows(ref))],
    }
    files[1].write_text(json.dumps(references))
    return files


def lines(images: int, seed: int) -> str:
    found = []
    for frame in frames(scenes(images, seed)[0], images):
        plain = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in frame.items()}
        found.append(json.dumps(plain))
    return "\n".join(found) + "\n"


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    calibrated(120, out=tmp_path / "c.json", detector="small")
    return tmp_path / "c.json"


def test_calibrate_and_watch(run: Run, tmp_path: Path) -> None:
    pred, ref = coco(tmp_path, 120, 0)
    code, out, _ = run("calibrate", "--pred", pred, "--ref", ref, "--out", tmp_path / "c.json")
    assert code == 0
    assert "│ images" in out
    other, _ = coco(tmp_path, 70, 1)
    code, out, err = run(
        "watch", tmp_path / "c.json", "--pred", other, "--window", 30,
        "--json", tmp_path / "w.json", "--junit", tmp_path / "w.xml",
        "--fail-below", "precision=0.5", "precision.lower=0.4", "--fail-on-drift",
    )  # fmt: skip
    assert (code, err) == (0, "")
    first, second, *notes = out.splitlines()
    assert first.startswith("window 0 (frames 0 to 29): estimate of precision 0.")
    assert second.startswith("window 1 (frames 30 to ")
    assert "no drift" in first
    assert any(note.endswith("frames after the last window are not in any.") for note in notes)
    summary = json.loads((tmp_path / "w.json").read_text())
    assert summary["counts"]["windows"] == 2
    values = [window["estimate"]["precision"]["value"] for window in summary["windows"]]
    assert summary["lowest"]["precision"] == min(values)
    assert [gate["name"] for gate in summary["gates"]] == [
        "precision", "precision.lower", "drifted_windows",
    ]  # fmt: skip
    cases = ElementTree.parse(tmp_path / "w.xml").findall(".//testcase")
    assert len(cases) == 3


def test_frames_of_standard_input_are_answered_as_they_come(
    run: Run, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = lines(40, 1)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    code, out, _ = run("watch", calibration, "--pred", "-", "--window", 20)
    assert code == 0
    (tmp_path / "frames.jsonl").write_text(text.replace("\n", "\n\n"))
    again, from_file, _ = run("watch", calibration, "--pred", tmp_path / "frames.jsonl",
        "--window", 20)  # fmt: skip
    assert again == 0
    assert from_file == out
    assert out.count("estimate of precision") == 2
    # The first window is answered before a later line is found to be wrong.
    broken = text + "{}\n"
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(broken.encode())))
    code, partly, err = run("watch", calibration, "--pred", "-", "--window", 20)
    assert (code, partly) == (2, out)
    assert "standard input: line 41: Object missing required field `boxes`" in err


def test_gates_fail(run: Run, calibration: Path, tmp_path: Path) -> None:
    pred, _ = coco(tmp_path, 40, 2, low=0.6)
    code, out, err = run(
        "watch", calibration, "--pred", pred, "--window", 30, "--fail-below", "precision=0.9",
        "--fail-below", "AP50=0.5", "--fail-on-drift",
    )  # fmt: skip
    assert code == 1
    assert "drift of score (" in out
    assert "precision is 0.7" in err or "precision is 0.8" in err
    assert "AP50 is undefined: a window has too few boxes for it" in err
    assert "drifted_windows is 1, at most 0 is required" in err


def test_an_empty_standard_input(
    run: Run, calibration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    code, _, err = run("watch", calibration, "--pred", "-")
    assert (code, err) == (2, "error: standard input: not enough frames: 0 of 200\n")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--window", "200"], "dets3.json: not enough frames: 20 of 200"),
        (["--window", "3"], "window is 3: a whole number, at least 10, is expected"),
        (["--detector", "other"], "detector is 'other': the calibration is of small"),
        (["--fail-below", "recall=1"], "gate 'recall': no such number; there are precision"),
        (["--fail-below", "precision=a"], "--fail-below precision='a': must be a number"),
    ],
)
def test_bad_usage(
    run: Run, calibration: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    pred, _ = coco(tmp_path, 20, 3)
    report = tmp_path / "w.json"
    code, out, err = run("watch", calibration, "--pred", pred, *options, "--json", report)
    assert code == 2
    assert out == ""
    assert words in err
    assert err.count("\n") == 1
    assert not report.exists()


def test_an_unknown_category_names_the_file(run: Run, calibration: Path, tmp_path: Path) -> None:
    row = {"image_id": 7, "category_id": 9, "bbox": [0, 0, 1, 1], "score": 0.5}
    (tmp_path / "d.json").write_text(json.dumps([row]))
    code, _, err = run("watch", calibration, "--pred", tmp_path / "d.json")
    assert code == 2
    assert "d.json: image 7: labels[0] is 9: is not a category of the calibration" in err
