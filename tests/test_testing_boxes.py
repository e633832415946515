"""The assertions on boxes: detections against those of a parent, and against references."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lossexport.errors import LossexportError
from lossexport.testing import assert_quality, assert_same_boxes


@pytest.fixture
def results(tmp_path: Path) -> Callable[[str, int, float], Path]:
    """Writes COCO results: ten cars and ten buses on an image, less some buses, all moved."""

    def write(name: str, buses: int, shift: float) -> Path:
        rows = [
            {
                "image_id": 1,
                "category_id": kind,
                "bbox": [100.0 * place + shift, 100.0 * kind, 40, 40],
                "score": 0.5 + place / 100 - shift / 100,
            }
            for kind, count in ((1, 10), (2, buses))
            for place in range(count)
        ]
        path = tmp_path / name
        path.write_text(json.dumps(rows))
        return path

    return write


@pytest.fixture
def references(tmp_path: Path) -> Path:
    boxes = [(kind, place) for kind in (1, 2) for place in range(10)]
    table = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 2000, "height": 1000}],
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "bus"}],
        "annotations": [
            {
                "id": number,
                "image_id": 1,
                "category_id": kind,
                "bbox": [100.0 * place, 100.0 * kind, 40, 40],
                "area": 1600,
                "iscrowd": 0,
            }
            for number, (kind, place) in enumerate(boxes, start=1)
        ],
    }
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(table))
    return path


def test_the_same_boxes(results: Callable[[str, int, float], Path], references: Path) -> None:
    parent, child = results("parent.json", 10, 0.0), results("child.json", 10, 2.0)
    assert_same_boxes(parent, parent, 1.0, iou_mean=1, drift_max_abs=0, lost=0)
    assert_same_boxes(parent, child, iou_mean=0.9, drift_mean=0.021, drift_max_abs=0.021)
    with pytest.raises(AssertionError, match=r"drift_mean is -0\.02, at least -0\.01 is required"):
        assert_same_boxes(parent, child, drift_mean=0.01)
    with pytest.raises(AssertionError, match=r"drift_mean is 0\.02, at most 0\.01 is required"):
        assert_same_boxes(child, parent, drift_mean=0.01)

    fewer = results("fewer.json", 6, 2.0)
    assert_same_boxes(parent, fewer, kept=0.8)
    with pytest.raises(AssertionError) as caught:
        assert_same_boxes(parent, fewer, lost=3, new=0, names=references)
    assert str(caught.value) == (
        "fewer.json has not the boxes of parent.json: kept is 0.8, at least 0.98 is required; "
        "lost is 4, at most 3 is required\n"
        "  20 boxes of the parent, 16 of the child: 16 matched, 4 lost, 0 new; "
        "mean IoU 0.9048, largest drift 0.02\n"
        "  bus: 4 of 10 lost, 0 new, mean IoU 0.9048"
    )
    with pytest.raises(AssertionError, match=r": kept is 0, at least 0\.8 is required\n"):
        assert_same_boxes(parent, fewer, 0.8, iou_threshold=0.95)


def test_the_quality(results: Callable[[str, int, float], Path], references: Path) -> None:
    pred = results("dets.json", 6, 2.0)
    assert_quality(pred, references, AP50=0.7, iou_mean=0.9, unmatched=4)
    with pytest.raises(AssertionError) as caught:
        assert_quality(pred, references, AP50=0.9, unmatched=3)
    lines = str(caught.value).split("\n  ")
    assert lines[0].startswith("dets.json is not good enough: AP50 is 0.8")
    assert lines[0].endswith(", at least 0.9 is required; unmatched is 4, at most 3 is required")
    assert re.fullmatch(
        r"AP 0\.\d+, AP50 0\.80\d+; 20 references, 16 predictions: 16 matched, mean IoU 0.9048",
        lines[1],
    )
    assert re.fullmatch(r"bus: AP 0\.\d+, 6 of 10 found, mean IoU 0.9048", lines[2])
    assert re.fullmatch(r"car: AP 0\.\d+, 10 of 10 found, mean IoU 0.9048", lines[3])


def test_gates_that_do_not_exist(results: Any, references: Path) -> None:
    one = results("one.json", 10, 0.0)
    with pytest.raises(LossexportError, match=r"^gate 'kepped': no such number; .* you mean kept"):
        assert_same_boxes(one, one, kepped=0.9)
    with pytest.raises(LossexportError, match=r"^no gate is given: nothing would be asserted$"):
        assert_same_boxes(one, one, kept=None)
    with pytest.raises(LossexportError, match=r"^no gate is given"):
        assert_quality(one, references, format="coco")
    with pytest.raises(LossexportError, match=r"^gate AP is 'high': a number is expected$"):
        assert_quality(one, references, AP="high")
