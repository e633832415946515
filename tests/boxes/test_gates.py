"""What passes `--fail-below` and `--fail-above`, and what does not."""

import json
from pathlib import Path
from typing import Any

import pytest

from lossexport.boxes.gates import Gates, value_of
from lossexport.errors import LossexportError
from lossexport.scoring import score
from lossexport.scoring.summary import GATE_NAMES
from tests.boxes.helpers import coco, found, truth


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "pred.json").write_text(json.dumps([found(1, 1, 0.9, 0, 0, 10, 8)]))
    (tmp_path / "ref.json").write_text(json.dumps(coco([truth(1, 1, 0, 0, 10, 10)])))
    return tmp_path / "pred.json", tmp_path / "ref.json"


@pytest.fixture
def summary(files: tuple[Path, Path]) -> dict[str, Any]:
    return score(*files)


def failures(summary: dict[str, Any], below: Any = None, above: Any = None) -> list[str]:
    copy = dict(summary)
    Gates(GATE_NAMES, below, above).apply(copy)
    return copy["gate_failures"]


def test_a_number_at_the_bound_passes(summary: dict[str, Any]) -> None:
    exact = {"AP50": 1.0, "matched": 1, "recall": 1.0, "best_f1": 1.0}
    assert failures(summary, exact, exact) == []
    assert failures(summary, {"AP": 0.7 - 1e-9}) == []
    assert failures(summary, {"AP50": 1.0001}) == ["AP50 is 1, at least 1.0001 is required"]
    assert failures(summary, None, {"AP50": 0.5}) == ["AP50 is 1, at most 0.5 is required"]


def test_the_summary_and_the_report_hold_them(files: tuple[Path, Path], tmp_path: Path) -> None:
    summary = score(
        *files,
        fail_below={"AP50": 1.0, "iou_mean": 0.9},
        fail_above={"iou_mean": 0.9},
        out=tmp_path / "out",
    )
    iou = {"name": "iou_mean", "value": summary["iou"]["mean"], "bound": 0.9}
    assert summary["gates"] == [
        {
            "name": "AP50",
            "value": summary["AP50"],
            "kind": "at least",
            "bound": 1.0,
            "passed": True,
        },
        {**iou, "kind": "at least", "passed": False},
        {**iou, "kind": "at most", "passed": True},
    ]
    assert summary["gate_failures"] == ["iou_mean is 0.8, at least 0.9 is required"]
    page = (tmp_path / "out/report.html").read_text()
    assert page.count('class="badge pass"') == 2
    assert page.count('class="badge fail"') == 1


def test_what_is_undefined_fails(summary: dict[str, Any]) -> None:
    assert summary["APl"] == -1
    why = "no reference counts in its range of areas, or areas in pixels are not known"
    for below, above, bound in ((-2, None, "at least -2"), (None, 2, "at most 2")):
        gates = [None if value is None else {"APl": value} for value in (below, above)]
        assert failures(summary, *gates) == [f"APl is undefined: {why}; {bound} is required"]
    empty = {**summary, "AP": -1, "iou": dict.fromkeys(summary["iou"])}
    assert failures(empty, {"AP": 0, "iou_p5": 0}) == [
        "AP is undefined: no reference counts; at least 0 is required",
        "iou_p5 is undefined: there is nothing to measure; at least 0 is required",
    ]
    nothing = {**summary, "ciou": dict.fromkeys(summary["ciou"]), "recall": None}
    assert len(failures(nothing, {"ciou_p5": -9, "recall": 0})) == 2
    assert failures({**summary, "AP": float("nan")}, {"AP": 0}) != []


def test_every_name_has_a_number(summary: dict[str, Any]) -> None:
    for name in GATE_NAMES:
        value = value_of(summary, name)
        assert value is None or isinstance(value, int | float)
    assert {"AP", "APs", "AR1", "iou_mean", "ciou_p5", "giou_median", "f1"} < set(GATE_NAMES)


def test_an_unknown_name_lists_those_that_exist() -> None:
    with pytest.raises(
        LossexportError, match=r"gate 'map': no such number; there are AP, .*ciou_p95"
    ):
        Gates(GATE_NAMES, None, {"map": 0.5})


@pytest.mark.parametrize(
    ("name", "meant"),
    [("ap50", "AP50"), ("AP_50", "AP50"), ("iou-mean", "iou_mean"), ("Recall", "recall")],
)
def test_the_name_that_was_meant(name: str, meant: str) -> None:
    with pytest.raises(LossexportError, match=rf"gate '{name}': .*; did you mean {meant}\?$"):
        Gates(GATE_NAMES, {name: 0.5}, None)
