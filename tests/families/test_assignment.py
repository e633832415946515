"""The assignments against vectors of the original public code, and their rules at ties."""

from typing import Any

import numpy as np
import pytest
import torch

from lossexport import ops
from lossexport.errors import LossexportError
from lossexport.runtime import assign
from tests.conftest import ROOT, close

VECTORS = ROOT / "tests" / "golden2"
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
FORMS: dict[str, dict[str, Any]] = {
    "dfine_rtdetr_focal": {},
    "rfdetr_focal": {"eps": 0.0},
    "detr_softmax": {"kind": "softmax", "class_weight": 1.0},
}


def vector(name: str) -> dict[str, np.ndarray]:
    with np.load(VECTORS / f"{name}.npz", allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}


def floats(values: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    return torch.tensor(values).to(dtype)


@DTYPES
@pytest.mark.parametrize("case", ["0", "1", "more_targets"])
@pytest.mark.parametrize("form", FORMS)
def test_cost_is_that_of_the_original_matchers(form: str, case: str, dtype: torch.dtype) -> None:
    v = vector(f"detr_matching__{form}_{case}")
    found = np.empty(v["cost"].shape)
    for image in range(len(v["pred_logits"])):
        own = v["tgt_batch"] == image
        cost = ops.detr_cost(
            floats(v["pred_logits"][image], dtype),
            floats(v["pred_boxes"][image], dtype),
            torch.tensor(v["tgt_labels"][own]),
            floats(v["tgt_boxes"][own], dtype),
            **FORMS[form],
        )
        found[:, own] = cost.numpy()
    rtol, atol = (1e-9, 1e-12) if dtype is torch.float64 else (1e-5, 5e-6)
    close(found, v["cost"], rtol, atol)
    for image, price in enumerate(v["total_cost"]):
        own = found[:, v["tgt_batch"] == image]
        query = assign(own.T)
        matched = np.flatnonzero(query >= 0)
        assert own[query[matched], matched].sum() == pytest.approx(price, rel=rtol, abs=1e-5)


def test_cost_of_what_is_not_finite_is_nan_in_its_row_and_column_alone() -> None:
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.2]]).repeat(3, 1)
    boxes[1, 2] = torch.inf
    logits = torch.zeros(3, 2)
    logits[2, 0] = torch.nan
    cost = ops.detr_cost(logits, boxes, torch.tensor([0, 1]), boxes[:2])
    assert cost.isfinite().tolist() == [[True, False], [False, False], [False, False]]


@DTYPES
@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("base", {}),
        ("one_level_saturated", {"alpha": 1.0, "topk": 5, "small_side": 8.0}),
    ],
)
def test_assignment_is_that_of_the_original_code(
    name: str, given: dict[str, Any], dtype: torch.dtype
) -> None:
    v = vector(f"task_aligned_assign__{name}")
    for image, scores in enumerate(v["pd_scores"]):
        assigned, wanted = ops.task_aligned_assign(
            floats(scores, dtype),
            floats(v["pd_bboxes"][image], dtype),
            floats(v["anc_points"], dtype),
            torch.tensor(v["gt_labels"][image, :, 0]),
            floats(v["gt_bboxes"][image], dtype),
            torch.tensor(v["mask_gt"][image, :, 0] > 0),
            **given,
        )
        expected = np.where(v["fg_mask_stable"][image], v["target_gt_idx_stable"][image], -1)
        np.testing.assert_array_equal(assigned.numpy(), expected)
        rtol, atol = (1e-9, 1e-12) if dtype is torch.float64 else (1e-4, 1e-6)
        close(wanted.numpy(), v["target_scores_stable"][image], rtol, atol)


def align(
    points: list[list[float]], targets: list[list[float]], topk: int = 2, **changes: Any
) -> tuple[list[int], torch.Tensor]:
    """Points with a score of 1 and the box of the first target."""
    box = torch.tensor(targets[0])
    given: dict[str, Any] = {
        "scores": torch.ones(len(points), 1),
        "boxes": box.repeat(len(points), 1),
        "points": torch.tensor(points),
        "labels": torch.zeros(len(targets), dtype=torch.int64),
        "targets": torch.tensor(targets),
        "valid": torch.ones(len(targets), dtype=torch.bool),
    }
    assigned, scores = ops.task_aligned_assign(**(given | changes), topk=topk)
    return assigned.tolist(), scores


BOX = [0.0, 0.0, 64.0, 64.0]


def test_of_equal_points_the_first_are_taken() -> None:
    assigned, scores = align([[32.0, 32.0]] * 5, [BOX])
    assert assigned == [0, 0, -1, -1, -1]
    torch.testing.assert_close(scores[:, 0], torch.tensor([1.0, 1, 0, 0, 0]))


def test_a_point_of_equal_targets_is_that_of_the_first_valid_one() -> None:
    assert align([[32.0, 32.0]], [BOX, BOX])[0] == [0]
    assert align([[32.0, 32.0]], [BOX, BOX], valid=torch.tensor([False, True]))[0] == [1]


def test_labels_of_padding_may_be_any() -> None:
    valid = torch.tensor([True, False])
    assert align([[32.0, 32.0]], [BOX, BOX], valid=valid, labels=torch.tensor([0, -1]))[0] == [0]
    with pytest.raises(LossexportError, match="labels holds -1, expected class indices"):
        align([[32.0, 32.0]], [BOX, BOX], valid=valid, labels=torch.tensor([-1, 0]))


def test_points_on_an_edge_are_outside_and_small_targets_are_widened() -> None:
    small = [30.0, 30.0, 34.0, 34.0]
    assert align([[64.0, 32.0], [63.0, 32.0]], [BOX])[0] == [-1, 0]
    assert align([[38.0, 32.0], [39.0, 32.0], [40.0, 32.0]], [small], 3)[0] == [0, 0, -1]


def test_no_target_and_fewer_points_than_a_target_may_have() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    ground = torch.ones(2, 1), torch.zeros(2, 4), torch.zeros(2, 2)
    assigned, scores = ops.task_aligned_assign(*ground, none, torch.zeros(0, 4), none.bool())
    assert (assigned.tolist(), scores.tolist()) == ([-1, -1], [[0.0], [0.0]])
    assert align([[32.0, 32.0]], [BOX], topk=64)[0] == [0]


def test_what_is_not_finite_takes_no_part() -> None:
    points = [[32.0, 32.0], [torch.nan, 3.0], [33.0, 32.0]]
    scores = torch.tensor([[1.0], [1.0], [0.5]])
    assigned, wanted = align(points, [BOX, [0.0, 0.0, torch.inf, 9.0]], scores=scores)
    assert assigned == [0, -1, 0]
    assert wanted[:, 0].isnan().tolist() == [False, True, False]
