import numpy as np
import pytest
import torch

from lossexport import ops
from lossexport.families.matching.cases import SAMPLERS, scores
from lossexport.names import METRICS, Metric

ATTRIBUTES = {"eps": 1e-7}


def draw(family: str, n: int, m: int, metric: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    arrays = SAMPLERS[family](
        np.random.default_rng(seed), {"N": n, "M": m}, ATTRIBUTES | {"metric": metric}
    )
    return arrays["pred"], arrays["target"]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("family", ["ordinary", "structured", "apart"])
def test_partners_are_the_first_of_the_best_on_both_sides(family: str, metric: Metric) -> None:
    for seed in range(20):
        pred, target = draw(family, 37, 23, metric, seed)
        matrix = getattr(ops, f"pairwise_{metric}")(torch.tensor(pred), torch.tensor(target))
        expected = (*first_of_rows(matrix.numpy()), *first_of_rows(matrix.numpy().T))
        for dtype in (torch.float64, torch.float32):
            found = ops.best_match(
                torch.tensor(pred, dtype=dtype), torch.tensor(target, dtype=dtype), metric
            )
            for name, actual, wanted in zip("pPtT", found, expected, strict=True):
                np.testing.assert_allclose(actual.numpy(), wanted, atol=5e-6, err_msg=name)


def first_of_rows(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    places = [max(range(len(row)), key=lambda j: (row[j], -j)) for row in matrix]
    return matrix[np.arange(len(matrix)), places], np.array(places)


@pytest.mark.parametrize("metric", METRICS)
def test_samples_have_no_rival_within_rounding(metric: str) -> None:
    matrix = scores(metric, *draw("ordinary", 200, 40, metric), 1e-7)
    for rows in (matrix, matrix.T):
        top = rows.max(1, keepdims=True)
        gap = np.where(rows < top, top - rows, np.inf).min(1)
        assert gap.min() > 5e-5


@pytest.mark.parametrize("metric", METRICS)
def test_the_samples_metric_is_the_op(metric: str) -> None:
    pred, target = draw("structured", 50, 60, metric)
    op = getattr(ops, f"pairwise_{metric}")(torch.tensor(pred), torch.tensor(target))
    np.testing.assert_allclose(scores(metric, pred, target, 1e-7), op.numpy(), atol=1e-12)


def test_nobody_to_match_with() -> None:
    pred, empty = torch.tensor([[0.0, 0, 1, 1], [0, 0, torch.nan, 1]]), torch.zeros(0, 4)
    score, index, *other = ops.best_match(pred, empty)
    assert index.tolist() == [-1, -1]
    assert score[0] == 0
    assert score[1].isnan()
    assert [x.shape[0] for x in other] == [0, 0]
    assert [x.shape[0] for x in ops.best_match(empty, empty)] == [0, 0, 0, 0]


def test_a_box_that_is_not_finite_is_nobodys_partner() -> None:
    pred = torch.tensor([[0.0, 0, 1, 1], [0, 0, torch.inf, 1]])
    target = torch.tensor([[0.0, 0, torch.nan, 1], [5, 5, 6, 6]])
    pred_score, pred_index, target_score, target_index = ops.best_match(pred, target)
    assert pred_index.tolist() == [1, -1]
    assert target_index.tolist() == [-1, 0]
    assert pred_score[0] == 0
    assert pred_score[1].isnan()
    assert target_score[0].isnan()
    assert target_score[1] == 0


def test_the_only_partner_may_be_broken() -> None:
    score, index, *_ = ops.best_match(
        torch.tensor([[0.0, 0, 1, 1]]), torch.full((1, 4), torch.nan), "ciou"
    )
    assert (score.item(), index.item()) == (0.0, -1)
