"""Arguments from Python of the wrong kind are one line, never a TypeError from somewhere inside."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lossexport
from lossexport import arguments
from lossexport.errors import LossexportError
from lossexport.runtime import load
from tests.boxes.helpers import coco, found, truth

NOTHING_LIKE_IT: tuple[Any, ...] = (5, 1.5, b"x", True, {"x": 1}, {5: 1}, ["x"], object())
WRONG: dict[str, tuple[Any, ...]] = {
    "path": (5, 1.5, b"x", True, {"x": 1}, ["x"], object(), "", "a\0b", np.zeros(3)),
    "word": (*NOTHING_LIKE_IT, "no such word", "", np.zeros(3)),
    "number": (None, "0.5", b"1", True, np.True_, [0.5], {}, object(), float("nan"), np.zeros(3)),
    "bounds": (5, "AP", ["AP"], {"AP": "0.5"}, {"AP": None}, {"AP": True}, {5: 0.5}, {"AP": [1]}),
    "progress": (5, "yes", b"x", [], {}, None),
}
SCORE = {
    **dict.fromkeys(("format", "pred_format", "ref_format", "match_by"), "word"),
    **dict.fromkeys(("extra_categories", "backend"), "word"),
    **dict.fromkeys(("out", "images"), "path"),
    **dict.fromkeys(("fail_below", "fail_above"), "bounds"),
    "iou_threshold": "number",
    "progress": "progress",
}
COMPARE = {
    **dict.fromkeys(("match_by", "backend"), "word"),
    **dict.fromkeys(("out", "images", "names", "detector", "child_detector"), "path"),
    **dict.fromkeys(("fail_below", "fail_above"), "bounds"),
    **dict.fromkeys(("iou_threshold", "score_threshold"), "number"),
    "progress": "progress",
}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.chdir(tmp_path)
    Path("pred.json").write_text(json.dumps([found(1, 1, 0.9, 0, 0, 10, 8)]))
    Path("ref.json").write_text(json.dumps(coco([truth(1, 1, 0, 0, 10, 10)])))
    return "pred.json", "ref.json"


def refused(call: Callable[..., object], *values: Any, **named: Any) -> None:
    before = sorted(Path().iterdir())
    with pytest.raises(LossexportError) as caught:
        call(*values, **named)
    assert "\n" not in str(caught.value), named
    assert sorted(Path().iterdir()) == before, named


def wrong(options: dict[str, str]) -> Iterator[tuple[str, Any]]:
    for name, kind in options.items():
        for value in WRONG[kind]:
            yield name, value


def test_score_and_compare(files: tuple[str, str]) -> None:
    pred, ref = files
    for name, value in wrong(SCORE):
        refused(lossexport.score, pred, ref, **{name: value})
    for name, value in wrong(COMPARE):
        refused(lossexport.compare, pred, pred, **{name: value})
    for value in (None, *WRONG["path"]):
        refused(lossexport.score, value, ref)
        refused(lossexport.score, pred, value)
        refused(lossexport.compare, value, pred)
        refused(lossexport.compare, pred, value)


def test_numbers_of_other_kinds_are_numbers(files: tuple[str, str]) -> None:
    for value in (np.float32(0.5), np.float64(0.5), np.array(0.5), 1, np.int64(1)):
        settings: dict[str, Any] = {"iou_threshold": value, "fail_below": {"AP": value}}
        summary = lossexport.score(*files, **settings)
        assert summary["settings"]["iou_threshold"] == float(value)


def test_load() -> None:
    for value in (None, *WRONG["path"]):
        refused(load, value)
    for value in WRONG["word"]:
        refused(load, "x.onnx", value)
        refused(load, "x.onnx", provider=value)
    for value in (None, "5", b"5", [], -1):
        refused(load, "x.onnx", max_bytes=value)


def test_export_verify_and_attach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    Path("x.onnx").write_bytes(b"no model")
    for value in (5, 1.5, b"x", object(), [5], [b"x"], {"x": 1}):
        refused(lossexport.export, value, "out")
        refused(lossexport.verify, value)
    for value in (None, *WRONG["path"]):
        refused(lossexport.export, "box_iou", value)
        refused(lossexport.attach, value, "nms", {"boxes": "b", "scores": "s"}, "y.onnx")
        refused(lossexport.attach, "x.onnx", "nms", {"boxes": "b", "scores": "s"}, value)
    for name in ("recipe_file", "formats", "precision", "attributes", "shapes", "progress"):
        for value in (5, b"x", object()):
            refused(lossexport.export, "box_iou", "out", **{name: value})
    for value in (5, b"x", object()):
        refused(lossexport.verify, "x.onnx", backends=value)
        refused(lossexport.verify, "x.onnx", replay=value)
        refused(lossexport.verify, "x.onnx", progress=value)
        refused(lossexport.attach, "x.onnx", value, {}, "y.onnx")
        refused(lossexport.attach, "x.onnx", "nms", value, "y.onnx")
        for name in ("attributes", "image_size", "prefix", "box_format"):
            boxes = {"boxes": "b", "scores": "s"}
            refused(lossexport.attach, "x.onnx", "nms", boxes, "y.onnx", **{name: value})


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("ap50", ("AP", "AP50", "AP75"), "; did you mean AP50?"),
        ("cocoo", ("coco", "yolo"), "; did you mean coco?"),
        ("names", ("id", "name"), "; did you mean name?"),
        ("zebra", ("id", "name"), ""),
        (5, ("id", "name"), ""),
    ],
)
def test_did_you_mean(word: object, known: tuple[str, ...], meant: str) -> None:
    assert arguments.did_you_mean(word, known) == meant
