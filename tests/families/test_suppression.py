"""Suppression against the original code's lists and against plain loops."""

import functools
import math
import random
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lossexport import ops
from lossexport.catalog import CATALOG
from tests.conftest import golden_arrays, golden_entries
from tests.families.plain_suppression import (
    Box,
    plain_greedy,
    plain_metric,
    plain_soft,
    plain_voting,
)

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
GREEDY = ("nms", "diou_nms", "cluster_nms")
FAMILY = (*GREEDY, "soft_nms", "variance_voting")


def tensors(*lists: Any, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """Of boxes, scores, variances: empty ones of the right shape too."""
    shapes = ((-1, 4), (-1,), (-1, 4))
    return [
        torch.tensor(values, dtype=dtype).reshape(shape)
        for values, shape in zip(lists, shapes, strict=False)
    ]


def listed(indices: torch.Tensor, count: torch.Tensor) -> list[int]:
    """The chosen ones, after checking what stands behind them."""
    n = int(count)
    assert count.dtype == indices.dtype == torch.int64
    assert (indices[n:] == -1).all()
    return [int(i) for i in indices[:n]]


def greedy_ops(beta: float | None) -> list[Callable[..., Any]]:
    if beta is None:
        return [ops.nms, ops.cluster_nms]
    return [
        functools.partial(ops.diou_nms, beta=beta),
        functools.partial(ops.cluster_nms, beta=beta, metric="diou"),
    ]


# Against the original public code.


@DTYPES
@pytest.mark.parametrize("entry", golden_entries("nms_greedy", "nms_diou"))
def test_lists_of_the_original(entry: dict[str, Any], dtype: torch.dtype) -> None:
    data = golden_arrays(entry)
    names = ("keep", "keep_canonical", "keep_stable_descending")
    keep = next(data[name] for name in names if name in data)
    boxes, scores = tensors(data["boxes"], data["scores"], dtype=dtype)
    if "classes" in data:
        boxes = boxes + (torch.tensor(data["classes"]) * (boxes.max() + 1)).unsqueeze(1)
    given = entry["parameters"]
    threshold = given.get("iou_threshold", given.get("threshold"))
    for op in greedy_ops(given.get("beta1")):
        assert listed(*op(boxes, scores, threshold)) == keep.tolist()


@pytest.mark.parametrize("entry", golden_entries("variance_voting"))
def test_voting_of_the_original(entry: dict[str, Any]) -> None:
    data, given = golden_arrays(entry), entry["parameters"]
    for dtype, rtol, atol in ((torch.float64, 1e-9, 1e-8), (torch.float32, 1e-4, 1e-2)):
        boxes, scores, sigma = tensors(data["boxes"], data["scores"], data["sigma"], dtype=dtype)
        indices, new_boxes, new_scores, count = ops.variance_voting(
            boxes,
            scores,
            2 * sigma.log(),
            method=given["mode"],
            sigma_t=given["sigma_t"],
            soft_sigma=given["soft_nms_sigma"],
            iou_threshold=given["hard_nms_iou"],
            vote_threshold=given["voter_iou_threshold"],
            score_threshold=given["score_floor"],
            offset=1.0,
        )
        n = int(count)
        assert listed(indices, count) == data["index_out"].tolist()
        np.testing.assert_allclose(new_boxes[:n], data["boxes_out"], rtol, atol)
        np.testing.assert_allclose(new_scores[:n], data["scores_out"], rtol, atol)
        assert not new_boxes[n:].any()
        assert not new_scores[n:].any()


# Against the plain versions.

GRID = st.integers(0, 4)
CELLS = st.tuples(GRID, GRID, GRID, GRID).map(
    lambda c: (
        float(min(c[0], c[2])),
        float(min(c[1], c[3])),
        *map(float, (max(c[0], c[2]), max(c[1], c[3]))),
    )
)
TIED = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
SCENES = st.lists(st.tuples(CELLS, TIED), max_size=14)


@settings(max_examples=400, deadline=None)
@given(
    scene=SCENES,
    threshold=st.sampled_from([0.0, 0.2, 0.25, 1 / 3, 0.5, 0.6, 1.0]),
    floor=st.sampled_from([0.0, 0.5, 0.6]),
    limit=st.integers(1, 16),
    beta=st.sampled_from([None, 1.0, 0.6]),
)
def test_greedy_is_the_plain_loop_on_ties(
    scene: list[tuple[Box, float]], threshold: float, floor: float, limit: int, beta: float | None
) -> None:
    boxes, scores = [box for box, _ in scene], [score for _, score in scene]
    wanted = plain_greedy(boxes, scores, threshold, floor, limit, beta)
    if beta is not None:
        near = [plain_metric(a, b, beta) - threshold for a in boxes for b in boxes]
        assume(all(gap == 0 or abs(gap) > 1e-9 for gap in near))
    for op in greedy_ops(beta):
        result = op(*tensors(boxes, scores), threshold, floor, limit)
        assert result[0].shape == (limit,)
        assert listed(*result) == wanted


def scene(seed: int) -> tuple[list[Box], list[float]]:
    """Up to 40 boxes about a few places, sides from 0, now and then a copy or a tied score."""
    rng = random.Random(seed)
    n = rng.choice([0, 1, 2, 5, 12, 40])
    places = [(rng.uniform(0, 100), rng.uniform(0, 100)) for _ in range(rng.randint(1, 4))]
    boxes: list[Box] = []
    scores: list[float] = []
    for _ in range(n):
        if boxes and rng.random() < 0.1:
            boxes.append(rng.choice(boxes))
        else:
            x, y = (c + rng.gauss(0, 5) for c in rng.choice(places))
            w, h = (max(0.0, rng.gauss(30, 15)) for _ in range(2))
            boxes.append((x, y, x + w, y + h))
        scores.append(rng.choice(scores) if scores and rng.random() < 0.1 else rng.random())
    return boxes, scores


def test_greedy_is_the_plain_loop_on_many_scenes() -> None:
    kept = 0
    for seed in range(1200):
        boxes, scores = scene(seed)
        beta = (None, 1.0, 0.6)[seed % 3]
        threshold = (0.3, 0.5, 0.7)[seed // 3 % 3]
        wanted = plain_greedy(boxes, scores, threshold, 0.1, 20, beta)
        kept += len(wanted)
        for op in greedy_ops(beta):
            assert listed(*op(*tensors(boxes, scores), threshold, 0.1, 20)) == wanted, seed
    assert kept > 5000


def test_soft_nms_is_the_plain_loop_on_many_scenes() -> None:
    for seed in range(500):
        boxes, scores = scene(seed)
        sigma, floor = (0.5, 0.1)[seed % 2], (0.001, 0.2, 0.0)[seed % 3]
        wanted, final = plain_soft(boxes, scores, sigma, floor, 25)
        b, s = tensors(boxes, scores)
        indices, new_scores, count = ops.soft_nms(b, s, sigma, floor, 25)
        assert listed(indices, count) == wanted, seed
        np.testing.assert_allclose(new_scores[: len(final)], final, rtol=1e-12)
        assert (new_scores[:-1] >= new_scores[1:]).all()


@pytest.mark.parametrize("method", ["soft", "hard"])
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_voting_is_the_plain_loop_on_many_scenes(
    method: Literal["soft", "hard"], offset: float
) -> None:
    for seed in range(150):
        boxes, scores = scene(seed)
        rng = random.Random(seed)
        log_variance: list[Box] = [tuple(rng.gauss(0, 2) for _ in range(4)) for _ in boxes]  # type: ignore[misc]
        wanted, moved, final = plain_voting(
            boxes, scores, log_variance, method, 0.02, 0.05, offset, 25
        )
        b, s, v = tensors(boxes, scores, log_variance)
        indices, new_boxes, new_scores, count = ops.variance_voting(
            b, s, v, method, score_threshold=0.05, offset=offset, max_output=25
        )
        assert listed(indices, count) == wanted, seed
        n = len(wanted)
        np.testing.assert_allclose(new_boxes[:n], np.reshape(moved, (n, 4)), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(new_scores[:n], final, rtol=1e-12)


# What the contract says in words.


def chain(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Each box removes the next one and no other: every second stays, whatever n."""
    left = torch.arange(n, dtype=torch.float64) * 4
    boxes = torch.stack((left, torch.zeros(n), left + 12, torch.ones(n)), dim=1)
    return boxes, torch.linspace(1, 0.5, n, dtype=torch.float64)


def test_the_longest_chain_of_suppressions() -> None:
    # IoU of neighbours 1/2, of their neighbours 1/5: n steps for the fixed point.
    boxes, scores = chain(301)
    for op in (ops.nms, ops.cluster_nms):
        indices, count = op(boxes, scores, iou_threshold=0.4, max_output=400)
        assert listed(indices, count) == list(range(0, 301, 2))


@pytest.mark.parametrize("family", ["ordinary", "structured", "adversarial"])
def test_cluster_nms_is_nms_at_thousands_of_boxes(family: str) -> None:
    op = CATALOG["cluster_nms"]
    drawn = op.samplers[family](np.random.default_rng(3), {"N": 1500}, op.resolve({}))
    boxes, scores = tensors(*drawn.values())
    for beta in (None, 1.0):
        greedy, fixed = (op(boxes, scores, max_output=1500) for op in greedy_ops(beta))
        assert listed(*fixed) == listed(*greedy)


def test_the_threshold_is_strict_and_the_score_threshold_is_not() -> None:
    boxes, scores = tensors([(0, 0, 2, 1), (0, 0, 1, 1), (9, 9, 9, 9), (9, 9, 9, 9)], [4, 3, 2, 1])
    for name in ("nms", "cluster_nms"):
        op = getattr(ops, name)
        assert listed(*op(boxes, scores, 0.5)) == [0, 1, 2, 3]  # IoU exactly 0.5, equal points
        assert listed(*op(boxes, scores, 0.4999)) == [0, 2, 3]
        assert listed(*op(boxes, scores, 0.5, 2.0)) == [0, 1, 2]
    # 3/10 is not a number of either precision, and is decided alike.
    for dtype in (torch.float32, torch.float64):
        boxes, scores = tensors([(0, 0, 10, 1), (0, 0, 3, 1)], [1, 0.5], dtype=dtype)
        assert listed(*ops.nms(boxes, scores, 0.3)) == [0, 1]
        assert listed(*ops.nms(boxes, scores, 0.29)) == [0]


def test_far_centres_are_spared_by_diou_at_every_scale() -> None:
    for scale in (1e-4, 1.0, 1e4):
        boxes, scores = tensors([(0, 0, 4, 4), (0, 1, 4, 5), (0.0, 0.1, 4, 4.1)], [3, 2, 1])
        boxes = boxes * scale
        # IoU 0.6; distance term (1/41) ^ beta: 0.024, and 0.11 for 0.6.
        assert listed(*ops.nms(boxes, scores, 0.55)) == [0]
        assert listed(*ops.diou_nms(boxes, scores, 0.55)) == [0]
        assert listed(*ops.diou_nms(boxes, scores, 0.55, beta=0.6)) == [0, 1]


def test_point_boxes_and_untouched_low_scores_stay() -> None:
    boxes, scores = tensors([(0, 0, 4, 4), (2, 2, 2, 2), (8, 8, 9, 9)], [0.9, 0.5, 1e-5])
    flat = torch.zeros(3, 4, dtype=torch.float64)
    indices, new_boxes, _, count = ops.variance_voting(boxes, scores, flat)
    assert listed(indices, count) == [
        0,
        1,
        2,
    ]  # the last below the threshold, but overlapped by none
    assert torch.equal(new_boxes[:3], boxes)
    indices, _, count = ops.soft_nms(boxes, scores)
    assert listed(indices, count) == [0, 1]


def test_votes_do_not_overflow() -> None:
    boxes, scores = tensors([(0, 0, 4, 4), (0, 0, 4, 5)], [0.9, 0.5], dtype=torch.float32)
    for level in (-300.0, 300.0):
        log_variance = torch.full((2, 4), level)
        log_variance[1, 3] -= 200
        moved = ops.variance_voting(boxes, scores, log_variance)[1][0]
        assert moved.tolist() == [0, 0, 4, 5]


def test_scores_fade_to_zero_alike_in_every_precision() -> None:
    boxes = [(0, 0, 10, 10)] * 60
    scores = [0.5 + i / 128 for i in range(60)]
    for dtype in (torch.float32, torch.float64):
        b, s = tensors(boxes, scores, dtype=dtype)
        indices, faded, count = ops.soft_nms(b, s, 0.5, 0.0, 60)
        # By exp(-2) each time: beyond the range of float32 all that is left is a tie at 0.
        zeros = int((faded == 0).sum())
        assert zeros == 16
        assert (faded[:-zeros] >= torch.finfo(torch.float32).tiny).all()
        assert listed(indices, count) == [*range(59, 15, -1), *range(16)]


@pytest.mark.parametrize("name", FAMILY)
def test_no_boxes(name: str) -> None:
    empty = tensors([], [], [], dtype=torch.float32)[: len(CATALOG[name].inputs)]
    results = getattr(ops, name)(*empty, max_output=3)
    assert results[0].tolist() == [-1, -1, -1]
    assert int(results[-1]) == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", FAMILY)
def test_a_number_that_is_none_takes_its_box_out(name: str, value: float) -> None:
    boxes, scores, log_variance = tensors(
        [(0, 0, 4, 4), (0, 0, 4, 4), (5, 5, 6, 6), (0, 0, 4, 3.9)],
        [0.5, 0.9, 0.7, 0.4],
        [(0, 0, 0, 0)] * 4,
    )
    inputs = [boxes, scores, log_variance][: len(CATALOG[name].inputs)]
    rest = [0, 2, 3]
    wanted = getattr(ops, name)(*(x[rest] for x in inputs))
    for which, column in ((0, 0), (0, 3), (1, None), (2, 1))[: len(inputs) + 1]:
        spoiled = [x.clone() for x in inputs]
        row = spoiled[which][1:2] if column is None else spoiled[which][1, column : column + 1]
        row.fill_(value)
        results = getattr(ops, name)(*spoiled)
        assert [rest[i] for i in listed(wanted[0], wanted[-1])] == listed(results[0], results[-1])
        for got, clean in zip(results[1:], wanted[1:], strict=True):
            assert torch.equal(got, clean)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_narrow_types_are_computed_in_float32(dtype: torch.dtype) -> None:
    # Areas of 1e9 are far beyond float16.
    boxes, scores = tensors([(0, 0, 32768, 32768), (0, 0, 32768, 30720)], [0.5, 0.25], dtype=dtype)
    assert listed(*ops.nms(boxes, scores)) == [0]
    indices, new_scores, count = ops.soft_nms(boxes, scores)
    assert new_scores.dtype == dtype
    assert listed(indices, count) == [0, 1]
    assert float(new_scores[1]) == pytest.approx(0.25 * math.exp(-2 * 0.9375**2), rel=4e-3)
