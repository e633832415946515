"""The matching of boxes behind the C ABI: wrong arguments give a code and a message, no crash."""

import ctypes
from typing import Any

import numpy as np
import pytest

from lossexport.boxes.oriented import rows_of
from lossexport.errors import LossexportError
from lossexport.runtime import binding, native, pairs
from lossexport.runtime.pairs import Boxes, Rules
from tests.native.calls import BAD_ARGUMENT

pytestmark = pytest.mark.skipif(not pairs.available(), reason="no library of native kernels")

BOX = np.array([[0.0, 0, 10, 10], [0, 0, 10, 5], [50, 50, 1, 1]])


def boxes(box: Any = BOX, row: Any = (0, 1, 2), group: Any = (0, 0, 1)) -> Boxes:
    return Boxes(np.array(box, np.float64), np.array(row, np.int64), np.array(group, np.int64))


def rules(**changes: Any) -> Rules:
    given = {
        "crowd": np.zeros(3, np.bool_),
        "ignored": np.zeros((3, 2), np.bool_),
        "thresholds": np.array([0.4, 0.9]),
    }
    return Rules(**(given | changes))


def find(pred: Boxes, ref: Boxes, threshold: float = 0.5, at_once: int = 9) -> list[Any]:
    return list(pairs.find(pred, ref, np.zeros(len(ref), np.bool_), threshold, at_once))


def test_a_right_call() -> None:
    (piece,) = find(boxes(), boxes())
    assert piece.pred.tolist() == [0, 0, 1, 1, 2]
    assert piece.ref.tolist() == [0, 1, 0, 1, 2]
    assert piece.iou.tolist() == [1, 0.5, 0.5, 1, 1]
    assert piece.following == 3
    won = pairs.assign_boxes(boxes(), boxes(), rules(), 0.4)
    assert won.tolist() == [[0] * 4, [1] * 4, [2] * 4]
    listed = pairs.assign_pairs(piece.pred, piece.ref, piece.iou, 0, rules(), 3)
    assert listed.tolist() == [[0] * 4, [3] * 4, [4] * 4]


ORIENTED = rows_of(np.array([[5.0, 5, 10, 10, 0], [5, 2.5, 5, 10, np.pi / 2], [50, 50, 1, 1, 1]]))


def test_a_right_call_with_oriented_boxes() -> None:
    (piece,) = find(boxes(ORIENTED), boxes(ORIENTED))
    assert (piece.pred.tolist(), piece.ref.tolist()) == ([0, 0, 1, 1, 2], [0, 1, 0, 1, 2])
    assert np.abs(piece.iou - [1, 0.5, 0.5, 1, 1]).max() < 1e-15
    won = pairs.assign_boxes(boxes(ORIENTED), boxes(ORIENTED), rules(), 0.4)
    assert won.tolist() == [[0] * 4, [1] * 4, [2] * 4]
    (inside,) = pairs.find(boxes(ORIENTED), boxes(ORIENTED), np.ones(3, np.bool_), 0.9, 9)
    assert (inside.pred.tolist(), inside.ref.tolist()) == ([0, 1, 1, 2], [0, 0, 1, 2])
    with pytest.raises(LossexportError, match=r"^pairs: a reference that is not usable$"):
        find(boxes(ORIENTED), boxes(np.where(np.arange(11) == 10, np.nan, ORIENTED)))


def test_pieces_end_with_a_prediction() -> None:
    assert [p.following for p in find(boxes(), boxes(), at_once=2)] == [1, 2, 3]
    assert find(boxes(), boxes(), at_once=1) == []


def test_no_boxes() -> None:
    none = boxes(np.empty((0, 4)), (), ())
    assert find(none, boxes()) == []
    (piece,) = find(boxes(), none)
    assert (len(piece.pred), piece.following) == (0, 3)
    empty = rules(crowd=np.zeros(0, np.bool_), ignored=np.zeros((0, 2), np.bool_))
    assert pairs.assign_boxes(boxes(), none, empty, 0.5).tolist() == [[-1] * 4] * 3


@pytest.mark.parametrize("which", ["prediction", "reference"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"row": (0, 1, 3)},
        {"row": (-1, 1, 2)},
        {"box": BOX * [np.nan, 1, 1, 1]},
        {"box": np.where(BOX == 5, np.inf, BOX)},
    ],
)
def test_a_box_that_is_not_usable(which: str, wrong: dict[str, Any]) -> None:
    bad = boxes(**wrong)
    pred, ref = (bad, boxes()) if which == "prediction" else (boxes(), bad)
    with pytest.raises(LossexportError, match=f"^pairs: a {which} that is not usable$"):
        find(pred, ref)
    with pytest.raises(LossexportError, match=f"^pairs: a {which} that is not usable$"):
        pairs.assign_boxes(pred, ref, rules(), 0.5)


def test_groups_that_do_not_rise_are_no_crash() -> None:
    find(boxes(group=(1, 0, 1)), boxes(group=(7, -5, 0)))
    pairs.assign_boxes(boxes(group=(1, 0, 1)), boxes(group=(7, -5, 0)), rules(), 0.5)


@pytest.mark.parametrize("threshold", [0.0, -1.0, np.nan])
def test_a_threshold_that_is_not_positive(threshold: float) -> None:
    with pytest.raises(LossexportError, match="must be above 0"):
        find(boxes(), boxes(), threshold)
    with pytest.raises(LossexportError, match="must be above 0"):
        pairs.assign_boxes(boxes(), boxes(), rules(), threshold)


def test_pairs_out_of_range() -> None:
    pred, ref, iou = np.array([0, 1], np.int32), np.array([0, 2], np.int32), np.ones(2)
    for low, rows in ((-1, 2), (1, 2), (0, 1)):
        with pytest.raises(LossexportError, match=r"out of range|more predictions"):
            pairs.assign_pairs(pred, ref, iou, low, rules(), rows)


def test_rules_without_areas_or_thresholds() -> None:
    for wrong in ({"ignored": np.zeros((3, 0), np.bool_)}, {"thresholds": np.empty(0)}):
        with pytest.raises(LossexportError, match="rules are missing"):
            pairs.assign_boxes(boxes(), boxes(), rules(**wrong), 0.5)


@pytest.mark.parametrize(
    ("name", "count", "threshold"),
    [
        ("lossexport_find_pairs", 10, 3),
        ("lossexport_assign_pairs", 9, None),
        ("lossexport_assign_boxes", 5, 3),
        ("lossexport_find_oriented_pairs", 10, 3),
        ("lossexport_assign_oriented_boxes", 5, 3),
    ],
)
def test_null_pointers(name: str, count: int, threshold: int | None) -> None:
    library = native.library()
    nulls: list[Any] = [ctypes.c_void_p(None)] * count
    if threshold is not None:
        nulls[threshold] = ctypes.c_double(0.5)
    assert getattr(library, name)(*nulls) == BAD_ARGUMENT
    assert library.lossexport_message().decode() in (
        "pairs: boxes are missing",
        "pairs: boxes or rules are missing",
        "pairs: rules are missing",
    )


def test_a_library_without_these_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        pass

    monkeypatch.setattr(binding, "library", Old)
    assert not pairs.available.__wrapped__()
