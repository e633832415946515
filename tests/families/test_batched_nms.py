"""Batched NMS against a plain loop, onnxruntime's own node and the ops of one class."""

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from lossexport import nn, ops
from lossexport.catalog import CATALOG
from lossexport.catalog.variant import Range, Variant
from lossexport.exporter.onnx_file import onnx_bytes
from lossexport.families.suppression.batched import batched_nms
from lossexport.files import write_bytes
from lossexport.runtime import load
from tests.conftest import golden_arrays, golden_entries
from tests.families.plain_suppression import Box, plain_batched, plain_metric, whole
from tests.families.test_suppression import CELLS, TIED

NAN, INF = math.nan, math.inf
Kept = list[tuple[int, int]]


def kept(results: tuple[Any, ...], boxes: Any, scores: Any) -> list[Kept]:
    """Index and class of the detections of each image, after checking all other numbers."""
    detections, indices, counts = (np.asarray(result) for result in results)
    boxes, scores = np.asarray(boxes), np.asarray(scores)
    assert indices.dtype == counts.dtype == np.int64
    assert detections.shape == (*indices.shape, 6)
    found = []
    for image, n in enumerate(counts):
        assert (indices[image, n:] == -1).all()
        assert not detections[image, n:].any()
        which, label = indices[image, :n], detections[image, :n, 5].astype(int)
        assert (detections[image, :n, 5] == label).all()
        np.testing.assert_array_equal(detections[image, :n, :4], boxes[image, which])
        np.testing.assert_array_equal(detections[image, :n, 4], scores[image, which, label])
        found.append(list(zip(which.tolist(), label.tolist(), strict=True)))
    return found


def clustered(
    n: int, classes: int, batch: int = 1, objects: int = 0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes about some objects, and scores of which no two are equal, in float32."""
    rng = np.random.default_rng([seed, n, classes])
    count = objects or max(n // 10, 1)
    side = np.exp(rng.uniform(np.log(16), np.log(320), (batch, count, 2)))
    low = rng.uniform(0, 1280 - side)
    which = rng.integers(0, count, n)
    corners = np.concatenate((low, low + side), 2)[:, which]
    corners += rng.normal(0, 0.06, (batch, n, 4)) * np.tile(side, 2)[:, which]
    corners = np.concatenate(
        (np.minimum(corners[..., :2], corners[..., 2:]), np.maximum(*np.split(corners, 2, 2))), 2
    )
    ranks = [rng.permutation(n * classes) + 1 for _ in range(batch)]
    scores = np.reshape(ranks, (batch, n, classes)) / (n * classes + 1)
    return corners.astype(np.float32), scores.astype(np.float32)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("entry", golden_entries("batched_nms_fixed"))
def test_vectors_of_a_reference(entry: dict[str, Any], dtype: torch.dtype) -> None:
    data, given = golden_arrays(entry), entry["parameters"]
    boxes = torch.tensor(data["boxes"], dtype=dtype)
    labels = torch.tensor(data["classes"]).unsqueeze(2)
    scores = torch.zeros(*labels.shape[:2], int(labels.max()) + 1, dtype=dtype)
    scores = scores.scatter(2, labels, torch.tensor(data["scores"], dtype=dtype).unsqueeze(2))
    # There, a score has to be above the threshold, which is one of float32.
    floor = float(np.nextafter(np.float32(given["score_threshold"]), np.float32(1)))
    for function in (ops.batched_nms, batched_nms):
        detections, indices, count = function(
            boxes,
            scores,
            given["iou_threshold"],
            floor,
            given["max_det"],
            class_aware=not given["class_agnostic"],
        )
        assert indices.tolist() == data["keep"].tolist()
        assert count.tolist() == data["num"].tolist()
        np.testing.assert_array_equal(detections, data["detections"])


BROKEN = st.tuples(CELLS, st.integers(0, 3), st.sampled_from([NAN, INF, -INF])).map(
    lambda drawn: (*drawn[0][: drawn[1]], drawn[2], *drawn[0][drawn[1] + 1 :])
)
SCORES = TIED | st.sampled_from([NAN, INF, -INF, -1.0])
ROWS = st.tuples(TIED, TIED, TIED) | st.tuples(SCORES, SCORES, SCORES)
SCENES = st.lists(st.tuples(CELLS | CELLS | BROKEN, ROWS), max_size=12)


@settings(max_examples=300, deadline=None)
@given(
    scenes=st.tuples(SCENES, SCENES),
    threshold=st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0]),
    floor=st.sampled_from([0.0, 0.5, 0.6]),
    limit=st.integers(1, 16),
    beta=st.sampled_from([None, 1.0]),
    class_aware=st.booleans(),
    multi_label=st.booleans(),
    most=st.sampled_from([1, 3, 7, 100]),
)
def test_the_plain_loop_on_ties_and_broken_numbers(
    scenes: tuple[list[tuple[Box, tuple[float, ...]]], ...],
    threshold: float,
    floor: float,
    limit: int,
    beta: float | None,
    class_aware: bool,
    multi_label: bool,
    most: int,
) -> None:
    n = min(map(len, scenes))
    boxes = [[box for box, _ in scene[:n]] for scene in scenes]
    scores = [[list(row) for _, row in scene[:n]] for scene in scenes]
    if beta is not None:
        sound = [[box for box in one if whole(box)] for one in boxes]
        near = [plain_metric(a, b, beta) - threshold for one in sound for a in one for b in one]
        assume(all(gap == 0 or abs(gap) > 1e-6 for gap in near))
    wanted = [
        plain_batched(b, s, threshold, floor, limit, beta, class_aware, multi_label, most)
        for b, s in zip(boxes, scores, strict=True)
    ]
    for dtype in (torch.float64, torch.float32):
        given_boxes = torch.tensor(boxes, dtype=dtype).reshape(2, n, 4)
        given_scores = torch.tensor(scores, dtype=dtype).reshape(2, n, 3)
        results = ops.batched_nms(
            given_boxes,
            given_scores,
            iou_threshold=threshold,
            score_threshold=floor,
            max_output=limit,
            metric="iou" if beta is None else "diou",
            class_aware=class_aware,
            multi_label=multi_label,
            max_candidates=most,
        )
        assert kept(results, given_boxes, given_scores) == wanted


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("class_aware", [False, True])
def test_the_plain_loop_beyond_a_block(class_aware: bool, multi_label: bool) -> None:
    boxes, scores = clustered(900, 3, batch=2, objects=30)
    scores = np.round(scores * 8) / 8  # nine scores: ties across the ends of blocks
    for most, limit in ((30000, 300), (700, 300), (300, 40)):
        wanted = [
            plain_batched(
                [tuple(box) for box in b.astype(float)],
                s.tolist(),
                limit=limit,
                class_aware=class_aware,
                multi_label=multi_label,
                most=most,
            )
            for b, s in zip(boxes, scores, strict=True)
        ]
        results = ops.batched_nms(
            torch.tensor(boxes).double(),
            torch.tensor(scores).double(),
            max_output=limit,
            class_aware=class_aware,
            multi_label=multi_label,
            max_candidates=most,
        )
        assert kept(results, boxes, scores) == wanted
        assert sum(map(len, wanted)) > 30


def node(path: Path, most: int, iou: float, floor: float) -> onnxruntime.InferenceSession:
    """onnxruntime's own operator and nothing else; it keeps the best `most` of every class."""
    constants: dict[str, np.ndarray] = {
        "most": np.array([most], np.int64),
        "iou": np.array([iou], np.float32),
        "floor": np.array([floor], np.float32),
    }
    graph = helper.make_graph(
        [helper.make_node("NonMaxSuppression", ["boxes", "scores", *constants], ["selected"])],
        "nms",
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["B", "N", 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["B", "C", "N"]),
        ],
        [helper.make_tensor_value_info("selected", TensorProto.INT64, ["K", 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    write_bytes(path, model.SerializeToString())
    return onnxruntime.InferenceSession(path)


@pytest.mark.parametrize("multi_label", [False, True])
def test_what_onnxruntime_keeps_of_every_class(multi_label: bool, tmp_path: Path) -> None:
    boxes, scores = clustered(600, 7, batch=2, objects=25)
    known = scores
    if not multi_label:  # the other classes have no score
        known = np.where(scores == scores.max(2, keepdims=True), scores, 0)
    limit, iou, floor = 80, 0.55, 0.4
    feeds = {"boxes": boxes, "scores": known.transpose(0, 2, 1)}
    selected = node(tmp_path / "node.onnx", limit, iou, floor).run(None, feeds)[0]
    wanted = []
    for image in range(2):
        rows = [(int(n), int(c)) for i, c, n in selected if i == image]
        wanted.append(sorted(rows, key=lambda row: -scores[image, row[0], row[1]])[:limit])
    assert [len(rows) for rows in wanted] == [limit, limit]
    attributes: dict[str, Any] = {
        "iou_threshold": iou,
        "score_threshold": floor,
        "max_output": limit,
        "multi_label": multi_label,
    }
    variant = Variant.make(CATALOG["batched_nms"], attributes)
    write_bytes(tmp_path / "batched.onnx", onnx_bytes(variant))
    found = load(tmp_path / "batched.onnx", "ort")(boxes=boxes, scores=scores)
    assert kept((*found.values(),), boxes, scores) == wanted
    tensors = torch.tensor(boxes), torch.tensor(scores)
    for function in (ops.batched_nms, batched_nms):  # a kernel, if it is installed, and torch
        assert kept(function(*tensors, **attributes), boxes, scores) == wanted


@pytest.mark.parametrize("metric", ["iou", "diou"])
@pytest.mark.parametrize("n", [0, 1, 40, 700])
def test_one_class_is_the_op_of_one_class(metric: Literal["iou", "diou"], n: int) -> None:
    single = {"iou": ops.nms, "diou": ops.diou_nms}[metric]
    for seed in range(6):
        boxes, scores = map(torch.tensor, clustered(n, 1, objects=12, seed=seed))
        scores = (scores * 40).round() / 40
        for threshold in (0.3, 0.7):
            indices, count = single(boxes[0], scores[0, :, 0], threshold, 0.25, 120)
            for function in (ops.batched_nms, batched_nms):
                results = function(boxes, scores, threshold, 0.25, 120, metric=metric)
                assert torch.equal(results[1][0], indices)
                assert torch.equal(results[2][0], count)
                assert not results[0][..., 5].any()


@pytest.mark.parametrize("metric", ["iou", "diou"])
def test_each_class_by_itself(metric: Literal["iou", "diou"]) -> None:
    single = {"iou": ops.nms, "diou": ops.diou_nms}[metric]
    boxes, scores = map(torch.tensor, clustered(300, 4, objects=9))
    results = ops.batched_nms(boxes, scores, 0.5, 0.3, 2000, metric=metric, multi_label=True)
    found = kept(results, boxes, scores)[0]
    for label in range(4):
        indices, count = single(boxes[0], scores[0, :, label], 0.5, 0.3, 2000)
        assert [n for n, c in found if c == label] == indices[:count].tolist()
    values = [float(scores[0, n, c]) for n, c in found]
    assert values == sorted(values, reverse=True)


def test_images_do_not_know_of_each_other() -> None:
    boxes, scores = map(torch.tensor, clustered(500, 5, batch=4, objects=20))
    scores[1] *= 0.1  # no candidates at all
    scores[2, :, 1:] = 0
    together = ops.batched_nms(boxes, scores)
    assert together[2].tolist()[1] == 0
    for image in range(4):
        alone = ops.batched_nms(boxes[image : image + 1], scores[image : image + 1])
        for one, all_ in zip(alone, together, strict=True):
            assert torch.equal(one[0], all_[image])
    mapped = torch.func.vmap(lambda b, s: ops.batched_nms(b[None], s[None]))(boxes, scores)
    for one, all_ in zip(mapped, together, strict=True):
        assert torch.equal(one[:, 0], all_)


def test_thousands_of_equal_scores_in_order() -> None:
    corner = torch.arange(3000.0)[:, None] * 10
    boxes = torch.cat((corner, corner, corner + 5, corner + 5), 1)[None]
    scores = torch.full((1, 3000, 2), 0.5)
    for function in (ops.batched_nms, batched_nms):
        results = function(boxes, scores, max_output=2000, multi_label=True, max_candidates=1999)
        assert kept(results, boxes, scores) == [[divmod(i, 2) for i in range(1999)]]
        results = function(boxes, scores, max_output=700)
        assert kept(results, boxes, scores) == [[(i, 0) for i in range(700)]]


def test_the_longest_chain_of_suppressions() -> None:
    # IoU of neighbours 1/2, of their neighbours 1/5: every second stays, one after another.
    left = torch.arange(801.0) * 4
    boxes = torch.stack((left, torch.zeros(801), left + 12, torch.ones(801)), 1)[None]
    scores = torch.linspace(1, 0.5, 801)[None, :, None]
    for function in (ops.batched_nms, batched_nms):
        results = function(boxes, scores, iou_threshold=0.4, max_output=500)
        assert kept(results, boxes, scores) == [[(i, 0) for i in range(0, 801, 2)]]


def test_the_thresholds() -> None:
    boxes = torch.tensor([[(0, 0, 2, 1), (0, 0, 1, 1), (9, 9, 9, 9), (9, 9, 9, 9.0)]])
    scores = torch.tensor([[[0.9, 0.5], [0.8, 0.8], [0.1, 0.25], [0.2, 0.24]]])
    op = ops.batched_nms
    # An IoU of exactly 0.5 stays, as do equal points and a score of exactly the threshold; of the
    # equal classes of the second box it is the first.
    assert kept(op(boxes, scores, 0.5), boxes, scores) == [[(0, 0), (1, 0), (2, 1)]]
    assert kept(op(boxes, scores, 0.49), boxes, scores) == [[(0, 0), (2, 1)]]
    pairs = kept(op(boxes, scores, 0.49, multi_label=True), boxes, scores)
    assert pairs == [[(0, 0), (1, 1), (2, 1)]]
    anew = kept(op(boxes, scores, 0.49, multi_label=True, class_aware=False), boxes, scores)
    assert anew == [[(0, 0), (2, 1)]]
    assert kept(op(boxes, scores, 0.5, max_candidates=2), boxes, scores) == [[(0, 0), (1, 0)]]


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_numbers_that_are_not_finite(bad: float) -> None:
    boxes = torch.tensor([[(0, 0, 2, 1), (0, 0, 2, 1), (0, bad, 1, 1), (5, 5, 6, 6.0)]])
    scores = torch.tensor([[[bad, 0.9], [0.3, 0.7], [0.8, 0.8], [0.6, 0.5]]])
    for function in (ops.batched_nms, batched_nms):
        assert kept(function(boxes, scores), boxes, scores) == [[(1, 1), (3, 0)]]
        pairs = kept(function(boxes, scores, multi_label=True), boxes, scores)
        assert pairs == [[(0, 1), (3, 0), (3, 1), (1, 0)]]


def test_nothing_to_choose_from() -> None:
    for boxes, scores in (
        (torch.zeros(2, 0, 4), torch.zeros(2, 0, 3)),
        (torch.zeros(2, 5, 4), torch.full((2, 5, 3), 0.2)),
        (torch.zeros(2, 5, 4), torch.full((2, 5, 3), -1.0)),
        (torch.zeros(0, 5, 4), torch.zeros(0, 5, 3)),
    ):
        for function in (ops.batched_nms, batched_nms):
            for floor in (0.0, 0.25):
                if floor == 0 and scores.numel() and scores.max() > 0:
                    continue
                results = function(boxes, scores, score_threshold=floor, max_output=4)
                assert kept(results, boxes, scores) == [[] for _ in boxes]
    assert nn.BatchedNMS(max_output=7)(boxes, scores)[0].shape == (0, 7, 6)


def test_one_loop_of_fixed_shapes() -> None:
    sizes = {"B": Range(1, 1, 1), "N": Range(8400, 8400, 8400), "C": Range(80, 80, 80)}
    model = onnx.load_from_string(onnx_bytes(Variant.make(CATALOG["batched_nms"], ranges=sizes)))
    nodes = [item for function in model.functions for item in function.node]
    inner = [item for outer in nodes for attribute in outer.attribute for item in attribute.g.node]
    assert [item.op_type for item in nodes].count("Loop") == 1
    kinds = {item.op_type for item in (*nodes, *inner)}
    assert not kinds & {"NonMaxSuppression", "NonZero", "Compress", "Unique"}
    shapes = [[d.dim_value for d in o.type.tensor_type.shape.dim] for o in model.graph.output]
    assert shapes == [[1, 300, 6], [1, 300], [1]]
