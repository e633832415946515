"""Bad input is refused in one line that names the column and the row, and changes nothing."""

import math
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from lossexport import Evaluator
from lossexport.errors import LossexportError
from lossexport.evaluator import state
from tests.boxes.helpers import Json

BOXES = np.array([[0.0, 0, 10, 10], [20, 20, 40, 50]])
MASKED = np.ma.array([0.5, 0.5], mask=[False, True])
PRED: dict[str, Any] = {
    "image_id": [1, 2],
    "category_id": [1, 2],
    "box": BOXES,
    "score": np.array([0.5, 0.25]),
}
REF: dict[str, Any] = {"image_id": [1, 2], "category_id": [1, 2], "box": BOXES}
ROW = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}


def used() -> Evaluator:
    """An evaluator with an image that waits and one that is matched."""
    evaluator = Evaluator(categories=[1, 2])
    evaluator.update_image(8, BOXES, [0.5, 0.5], [1, 2], BOXES, [1, 1])
    evaluator.compute()
    evaluator.update_image(9, BOXES, [0.5, 0.5], [1, 2], BOXES, [1, 1])
    return evaluator


def refused(evaluator: Evaluator, call: Any) -> str:
    """The message of a call that leaves the evaluator as it was."""
    before = evaluator.to_bytes()
    with pytest.raises(LossexportError) as caught:
        call()
    assert evaluator.to_bytes() == before
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


def changed(array: np.ndarray, at: Any, value: float) -> np.ndarray:
    copy = array.copy()
    copy[at] = value
    return copy


@pytest.mark.parametrize(
    ("side", "change", "message"),
    [
        ("pred", {"score": [0.5]}, "predictions: score has 1 rows, the boxes have 2"),
        ("pred", {"score": None}, "predictions: column score is missing, there are image_id,"),
        ("pred", {"score": [0.5, math.nan]}, "predictions: score[1] is nan: must be a finite"),
        ("pred", {"score": [0.5, "x"]}, "predictions: score[1] is 'x': a number is expected"),
        ("pred", {"score": [[0.5, 0.5]]}, "predictions: score[0] is [0.5, 0.5]: a number"),
        ("pred", {"score": torch.zeros(2, 1)}, "predictions: score is float32 [2,1]: [n] of"),
        ("pred", {"score": torch.zeros(2, dtype=torch.bfloat16)}, "predictions: score is no array"),
        ("pred", {"score": torch.zeros(2, device="meta")}, "predictions: score is no array: "),
        ("pred", {"score": pa.array([0.5, None])}, "predictions: score[1] is null: a value is"),
        ("pred", {"score": MASKED}, "predictions: score has masked values: fill them, or leave"),
        ("pred", {"image_id": MASKED}, "predictions: image_id has masked values: fill them"),
        ("pred", {"box": changed(BOXES, (1, 2), math.inf)}, "predictions: box[1][2] is inf: must"),
        ("pred", {"box": BOXES[:, :3]}, "predictions: box is float64 [2,3]: [n,4] of numbers is"),
        ("pred", {"box": BOXES[:1]}, "predictions: image_id has 2 rows, the boxes have 1"),
        ("pred", {"bbox": BOXES}, "predictions: both of the columns bbox (x, y, width, height)"),
        ("pred", {"box": None}, "predictions: neither of the columns bbox"),
        ("pred", {"image_id": [1, 2.5]}, "predictions: image_id[1] is 2.5: an id is a string or"),
        ("pred", {"image_id": [1, 2**64]}, "predictions: image_id[1] is 18446744073709551616: an"),
        ("pred", {"image_id": [1, 8]}, "image 8 was added before: all boxes of an image belong"),
        ("pred", {"image_id": [9, 8]}, "image 8 was added before (2 such images): all boxes of"),
        ("pred", {"category_id": [1, 3]}, "predictions: category_id[1] is 3: is not one of the"),
        ("pred", {"category_id": ["x", 1]}, "predictions: category_id[0] is 'x': is not one of"),
        ("pred", {"log_variance": np.full((2, 4), 300.0)}, "predictions: log_variance[0][0] is"),
        ("pred", {"scores": [1, 2]}, "predictions: column 'scores' is not one of image_id"),
        ("pred", {"categories": {1: "a"}}, "predictions: categories are those of the evaluator"),
        ("pred", {"annotations": []}, "predictions: is a COCO dictionary: give the list of its"),
        ("ref", {"box": changed(BOXES, (1, 2), 3)}, "references: box[1]: x2 - x1 is -17.0: a ref"),
        ("ref", {"area": [1, -1]}, "references: area[1] is -1.0: must not be negative"),
        ("ref", {"iscrowd": [0, 2]}, "references: iscrowd[1] is 2.0: must be 0 or 1"),
        ("ref", {"id": [1]}, "references: id is [1]: [2] of ids is expected"),
        ("ref", {"id": torch.zeros(2, device="meta")}, "references: id is no array: can't convert"),
        ("ref", {"images": {8: None}}, "image 8 was added before"),
        ("ref", {"images": [8]}, "references: images is [8]: a mapping of ids to names is"),
        ("ref", {"category_id": [1, 7]}, "references: category_id[1] is 7: is not one of the"),
    ],
)
def test_columns(side: str, change: Json, message: str) -> None:
    evaluator = used()
    pred = {**PRED, **change} if side == "pred" else PRED
    ref = {**REF, **change} if side == "ref" else REF
    assert refused(evaluator, lambda: evaluator.update(pred, ref)).startswith(message)
    evaluator.update(PRED, REF)
    assert len(evaluator) == 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([{**ROW, "score": None}], "predictions: score[0] is None: a number is expected"),
        ([ROW, {"image_id": 1}], "predictions: [1].category_id is missing"),
        ([ROW, {**ROW, "bbox": [1, 2, 3]}], "predictions: bbox[1] is [1, 2, 3]: four numbers are"),
        ([ROW, 3], "predictions: [1] is 3: a row of COCO, a dict, is expected"),
        ([{**ROW, "image_id": None}], "predictions: image_id[0] is None: an id is a string or"),
        ([{**ROW, "image_id": True}], "predictions: image_id[0] is True: an id is a string or a"),
        (3, "predictions is 3: a mapping of columns, an Arrow table or a list of COCO rows is"),
        ("dets.json", "predictions is 'dets.json': a mapping of columns, an Arrow table or a list"),
        (
            pa.table({"image_id": [1], "category_id": [1], "bbox": [[1, 2, 3]], "score": [0.5]}),
            "predictions: bbox[0] is [1, 2, 3]: four numbers are expected",
        ),
        (
            pa.table({"image_id": [1], "category_id": [1], "bbox": [[1, 2, None, 3]]}),
            "predictions: bbox[0] is [1, 2, None, 3]: four numbers are expected",
        ),
        (pa.table({"image_id": [1, None]}), "predictions: image_id[1] is null: a value is"),
    ],
)
def test_rows_and_tables(given: Any, message: str) -> None:
    evaluator = used()
    assert refused(evaluator, lambda: evaluator.update(given, [])).startswith(message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 8}, "image 8 was added before: all boxes of an image belong into one"),
        ({"image_id": "9"}, "image 9 was added before"),
        ({"image_id": None}, "image_id is None: an id is a string or a whole number"),
        ({"image_id": True}, "image_id is True: an id is a string or a whole number"),
        ({"image_id": np.arange(3)}, "image_id is array([0, 1, 2]): an id is a string or a whole"),
        ({"image_id": torch.zeros(2)}, "image_id is tensor([0., 0.]): an id is a string or a"),
        ({"image_id": 1.5}, "image_id is 1.5: an id is a string or a whole number"),
        ({"image_id": "\ud800"}, "image_id is '\\ud800': an id is a string or a whole number"),
        ({"boxes": BOXES[0]}, "image 1: boxes is float64 [4]: [n,4] or [n,5] of numbers is"),
        ({"boxes": changed(BOXES, (1, 0), math.nan)}, "image 1: boxes[1][0] is nan: must be a"),
        ({"boxes": changed(BOXES, (1, 2), 2e9)}, "image 1: boxes[1][2] is 2000000000.0: must be"),
        ({"boxes": [[1, 2, 3, 4], [1, 2]]}, "image 1: boxes is no array: setting an array"),
        ({"boxes": [["1", "2", "3", "4"]] * 2}, "image 1: boxes is <U1 [2,4]: [n,4] or [n,5] of n"),
        ({"scores": [0.5]}, "image 1: scores has 1 rows, boxes have 2"),
        ({"scores": [0.5, math.inf]}, "image 1: scores[1] is inf: must be a finite number"),
        ({"scores": MASKED}, "image 1: scores has masked values: fill them, or leave their rows"),
        (
            {"boxes": changed(BOXES, slice(None), -math.inf)},
            "image 1: boxes[0][0] is -inf",
        ),
        ({"labels": [1]}, "image 1: labels has 1 rows, boxes have 2"),
        ({"labels": [1, 3]}, "image 1: labels[1] is 3: is not one of the categories of this"),
        ({"labels": np.array([1, 3])}, "image 1: labels[1] is 3: is not one of the categories"),
        ({"labels": [1, 1.5]}, "image 1: labels[1] is 1.5: an id is a string or a whole number"),
        ({"labels": [1, None]}, "image 1: labels[1] is None: an id is a string or a whole"),
        ({"labels": [1, True]}, "image 1: labels[1] is True: an id is a string or a whole"),
        ({"labels": [1, [1]]}, "image 1: labels[1] is [1]: an id is a string or a whole"),
        ({"labels": torch.zeros(2, dtype=torch.bool)}, "image 1: labels is bool [2]: [n] of ids"),
        ({"ref_boxes": changed(BOXES, (0, 2), -1)}, "image 1: ref_boxes[0]: x2 - x1 is -1.0: a"),
        ({"ref_labels": [1]}, "image 1: ref_labels has 1 rows, ref_boxes have 2"),
        ({"ref_iscrowd": [0, 3]}, "image 1: ref_iscrowd[1] is 3.0: must be 0 or 1"),
        ({"ref_area": [-1, 3]}, "image 1: ref_area[0] is -1.0: must not be negative"),
        ({"log_variance": [[0.0] * 4]}, "image 1: log_variance has 1 rows, boxes have 2"),
        ({"log_variance": [[0, 0, 0, 201.0]] * 2}, "image 1: log_variance[0][3] is 201.0: must be"),
    ],
)
def test_frames(change: Json, message: str) -> None:
    evaluator = used()
    frame: dict[str, Any] = {
        "image_id": 1,
        "boxes": BOXES,
        "scores": [0.5, 0.5],
        "labels": [1, 2],
        "ref_boxes": BOXES,
        "ref_labels": [1, 1],
    }
    call = {**frame, **change}
    assert refused(evaluator, lambda: evaluator.update_image(**call)).startswith(message)
    evaluator.update_image(**frame)
    assert len(evaluator) == 3


def test_half_of_a_surrogate_pair_in_a_label() -> None:
    evaluator = Evaluator()
    with pytest.raises(LossexportError, match=r"labels\[0\] is '.*': has half of a surrogate pair"):
        evaluator.update_image(1, BOXES[:1], [0.5], ["\ud800"], [], [])
    assert len(evaluator.compute()["categories"]) == 0


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, what in (
        ("MAX_IMAGES", "images"),
        ("MAX_CATEGORIES", "categories"),
        ("MAX_PREDICTIONS", "predictions"),
        ("MAX_REFERENCES", "references"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(state, name, 1)
            evaluator = Evaluator()
            evaluator.update_image(1, BOXES[:1], [0.5], [1], BOXES[:1], [1])
            message = refused(
                evaluator,
                partial(evaluator.update_image, 2, BOXES[:1], [0.5], [2], BOXES[:1], [2]),
            )
        assert message == f"more than 1 {what}, the most that are evaluated"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"iou_threshold": 0}, "IoU threshold is 0.0: above 0 and at most 1 is expected"),
        ({"iou_threshold": "x"}, "iou_threshold is 'x': a number is expected"),
        ({"backend": "gpu"}, "backend"),
        ({"categories": 3}, "categories is 3: a mapping of ids to names or a list of ids is"),
        (
            {"categories": np.array(1)},
            "categories is 1: a mapping of ids to names or a list of",
        ),
        ({"backend": np.zeros((2, 2))}, "backend array([[0., 0.],\\n       [0., 0.]]): not one of"),
        ({"categories": "abc"}, "categories is 'abc': a mapping of ids to names or a list of ids"),
        ({"categories": [1, "1"]}, "categories: the id '1' appears twice"),
        ({"categories": [None]}, "categories: an id is None: an id is a string or a whole"),
        ({"categories": [True]}, "categories: an id is True: an id is a string or a whole"),
        ({"categories": {1: 5}}, "categories: the name of 1 is 5: no text"),
        ({"categories": {1: "\ud800"}}, "categories: the name of 1 is '\\ud800': no text"),
        ({"categories": [{"name": "a"}]}, "categories: an id is None: an id is a string or a"),
    ],
)
def test_settings(given: Json, message: str) -> None:
    with pytest.raises(LossexportError) as caught:
        Evaluator(**given)
    assert str(caught.value).startswith(message)


def test_categories_in_every_form() -> None:
    for given in ({1: "a", "2": "b"}, [{"id": 1, "name": "a"}, {"id": np.int64(2), "name": "b"}]):
        rows = Evaluator(categories=given).compute()["categories"]
        assert [(row["id"], row["name"]) for row in rows] == [(1, "a"), (2, "b")]
    rows = Evaluator(categories=range(2)).compute()["categories"]
    assert [(row["id"], row["name"]) for row in rows] == [(0, "0"), (1, "1")]


def test_merging_what_does_not_belong_together() -> None:
    evaluator = used()
    other = Evaluator(0.75, categories=[1, 2])
    message = "iou_threshold is 0.5 here and 0.75 in the other evaluator: merged ones need the same"
    assert refused(evaluator, lambda: evaluator.merge(other)).startswith(message)
    message = "categories is {1: '1', 2: '2'} here and None in the other evaluator"
    assert refused(evaluator, lambda: evaluator.merge(Evaluator())).startswith(message)
    message = "image 8 was added before (2 such images)"
    assert refused(evaluator, lambda: evaluator.merge(evaluator)).startswith(message)
    wrong: Any = b""
    message = "other is b'': an Evaluator is expected"
    assert refused(evaluator, lambda: evaluator.merge(wrong)) == message
