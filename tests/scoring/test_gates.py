"""What passes `--fail-below` and what does not."""

import json
from pathlib import Path
from typing import Any

import pytest

from lossexport.errors import LossexportError
from lossexport.scoring import check_gates, score
from lossexport.scoring.gates import GATE_NAMES, value_of
from tests.scoring.helpers import coco, found, truth


@pytest.fixture
def summary(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "pred.json").write_text(json.dumps([found(1, 1, 0.9, 0, 0, 10, 8)]))
    (tmp_path / "ref.json").write_text(json.dumps(coco([truth(1, 1, 0, 0, 10, 10)])))
    return score(
        tmp_path / "pred.json", tmp_path / "ref.json", fail_below={"AP50": 1.0, "iou_mean": 0.9}
    )


def test_a_number_at_the_bound_passes(summary: dict[str, Any]) -> None:
    assert check_gates(summary, {"AP50": 1.0, "matched": 1, "recall": 1.0, "AP": 0.7 - 1e-9}) == []
    assert check_gates(summary, {"AP50": 1.0001}) == ["AP50 is 1, at least 1.0001 is required"]


def test_the_summary_holds_gates_and_failures(summary: dict[str, Any]) -> None:
    assert summary["gates"] == {"AP50": 1.0, "iou_mean": 0.9}
    assert summary["gate_failures"] == ["iou_mean is 0.8, at least 0.9 is required"]


def test_what_is_undefined_fails(summary: dict[str, Any]) -> None:
    assert summary["APl"] == -1
    assert check_gates(summary, {"APl": -2}) == ["APl is undefined, at least -2 is required"]
    nothing = {**summary, "ciou": dict.fromkeys(summary["ciou"]), "recall": None}
    assert len(check_gates(nothing, {"ciou_p5": -9, "recall": 0})) == 2
    assert check_gates({**summary, "AP": float("nan")}, {"AP": 0}) != []


def test_every_name_has_a_number(summary: dict[str, Any]) -> None:
    for name in GATE_NAMES:
        value = value_of(summary, name)
        assert value is None or isinstance(value, int | float)
    assert {"AP", "APs", "AR1", "iou_mean", "ciou_p5", "giou_median", "f1"} < set(GATE_NAMES)


def test_an_unknown_name_lists_those_that_exist(summary: dict[str, Any]) -> None:
    with pytest.raises(
        LossexportError, match=r"gate 'map': no such metric; there are AP, .*ciou_p95"
    ):
        check_gates(summary, {"map": 0.5})
