"""`suppression_reliability` and `contrastive_confidence`: by hand and against plain loops."""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from lossexport import attach, ops
from lossexport.catalog import CATALOG
from lossexport.errors import LossexportError
from lossexport.runtime import load

KEPT, INSIDE, SHIFTED, ALONE = [0, 0, 8, 8], [1, 1, 7, 8], [1, 0, 9, 8], [20, 20, 22, 22]


def weight(score: float) -> float:
    return 0.1 + 0.9 / (1 + math.exp(-20 * (score - 0.4)))


def fade(score: float) -> float:
    return 1 / (1 + math.exp(10 * (score - 0.4)))


def iou(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area = sum((x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)) - width * height
    return width * height / area if area > 0 else 0.0


def plain(boxes: np.ndarray, scores: np.ndarray, kept: np.ndarray) -> tuple[float, float]:
    """Both numbers as the publication's code has them, box by box."""
    live = [i for i in range(len(boxes)) if scores[i] > 0.05 and np.isfinite(boxes[i]).all()]
    picks = [i for i in kept.tolist() if i >= 0 and i in live]
    sure = total = 0.0
    removed: set[int] = set()
    for i in picks:
        own = boxes[i].tolist()
        group = [j for j in live if j not in picks and iou(own, boxes[j].tolist()) > 0.5]
        removed |= set(group)
        if scores[i] > 0.4:
            sure += sum(weight(scores[j]) for j in group)
        if not group:
            continue
        low, high = boxes[group, :2].min(0), boxes[group, 2:].max(0)
        hull = [*low, *high]
        shift = math.dist((low + high) / 2, (boxes[i, :2] + boxes[i, 2:]) / 2)
        quarter = math.dist(boxes[i, :2], boxes[i, 2:]) / 4
        total += (0.5 * iou(own, hull) + 0.5 * (1 - shift / quarter)) * fade(scores[i])
    below = sum(weight(scores[j]) for j in removed)
    return (sure / below if below else 0.0), (total / len(picks) if picks else 0.0)


def test_one_group_by_hand() -> None:
    boxes = torch.tensor([KEPT, INSIDE, SHIFTED, ALONE], dtype=torch.float64)
    scores = torch.tensor([0.9, 0.5, 0.3, 0.2], dtype=torch.float64)
    reliability, consistency = ops.suppression_reliability(boxes, scores, torch.tensor([0, 3, -1]))
    assert reliability.item() == pytest.approx(1)
    # The hull is 1, 0 to 9, 8: IoU 56 / 72, centre 1 away, a quarter of the diagonal is 2 sqrt 2.
    own = 0.5 * 56 / 72 + 0.5 * (1 - 1 / (2 * math.sqrt(2)))
    assert consistency.item() == pytest.approx(own * fade(0.9) / 2)


@pytest.mark.parametrize("family", ["clusters", "apart", "equal", "nonfinite"])
def test_the_published_loops(family: str) -> None:
    op = CATALOG["suppression_reliability"]
    for seed in range(6):
        rng = np.random.default_rng(seed)
        drawn = op.samplers[family](rng, {"N": 40, "K": 30}, op.resolve({}))
        boxes, scores, kept = (
            torch.from_numpy(drawn[name]) for name in ("boxes", "scores", "indices")
        )
        found = ops.suppression_reliability(boxes, scores, kept)
        finite = {**drawn, "scores": np.where(np.isfinite(drawn["scores"]), drawn["scores"], -1)}
        expected = plain(finite["boxes"], finite["scores"], drawn["indices"])
        assert [x.item() for x in found] == pytest.approx(expected, abs=1e-12)


def test_sure_and_unsure_groups_share_the_weight() -> None:
    far = torch.tensor([100.0, 0, 100, 0])
    boxes = torch.tensor([KEPT, INSIDE], dtype=torch.float32)
    scores = torch.tensor([0.9, 0.5, 0.375, 0.25])
    given = torch.cat((boxes, boxes + far)), scores, torch.tensor([0, 2])
    reliability, _ = ops.suppression_reliability(*given)
    assert reliability.item() == pytest.approx(weight(0.5) / (weight(0.5) + weight(0.25)), rel=1e-5)


def test_nothing_to_measure_is_zero() -> None:
    nothing = ops.suppression_reliability(torch.zeros(0, 4), torch.zeros(0), torch.tensor([-1, -1]))
    assert [x.item() for x in nothing] == [0, 0]
    alone = ops.suppression_reliability(
        torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([0.5]), torch.tensor([0])
    )
    assert [x.item() for x in alone] == [0, 0]


def test_contrastive_confidence_by_hand() -> None:
    scores = torch.tensor(
        [[0.9, 0.7, 0.1, 0.3], [0.5, 0, 0, 0], [0.1, 0.2, 0, 0], [0, 0, 0, 0]], dtype=torch.float64
    )
    found = ops.contrastive_confidence(scores)
    assert found.tolist() == pytest.approx([0.8 - 5 * 0.2, 0.5, -5 * 0.15, 0])
    assert ops.contrastive_confidence(scores, weight=0.0)[0].item() == pytest.approx(0.8)
    assert ops.contrastive_confidence(scores, score_threshold=0.8)[0].item() == pytest.approx(
        0.9 - 5 * 1.1 / 3
    )
    assert ops.contrastive_confidence(scores[0]).item() == pytest.approx(-0.2)
    spoiled = scores.clone()
    spoiled[1, 3] = math.nan
    kept = ops.contrastive_confidence(spoiled)
    assert torch.isnan(kept).tolist() == [False, True, False, False]


def detector(path: Path) -> Path:
    """A graph that gives boxes [1,12,4] and scores [1,12,1] back."""
    shapes = {"boxes": [1, 12, 4], "scores": [1, 12, 1]}
    given = [
        helper.make_tensor_value_info(f"in_{n}", TensorProto.FLOAT, s) for n, s in shapes.items()
    ]
    found = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    nodes = [helper.make_node("Identity", [f"in_{n}"], [n]) for n in shapes]
    graph = helper.make_graph(nodes, "detector", given, found)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, path)
    return path


def test_attached_behind_an_nms(tmp_path: Path) -> None:
    out = tmp_path / "watched.onnx"
    head = {"boxes": "boxes[0]", "scores": "scores[0,:,0]"}
    attach(detector(tmp_path / "detector.onnx"), "nms", head, out, attributes={"max_output": 8})
    attach(out, "suppression_reliability", {**head, "indices": "indices"}, out)
    attach(out, "contrastive_confidence", {"scores": "scores[:,:,0]"}, out)
    op = CATALOG["suppression_reliability"]
    drawn = op.samplers["clusters"](np.random.default_rng(1), {"N": 12, "K": 8}, op.resolve({}))
    boxes, scores = (drawn[name].astype(np.float32) for name in ("boxes", "scores"))
    found = load(out)(in_boxes=boxes[None], in_scores=scores[None, :, None])
    expected = plain(drawn["boxes"], drawn["scores"], drawn["indices"])
    assert found["reliability"] == pytest.approx(expected[0], abs=1e-5)
    assert found["consistency"] == pytest.approx(expected[1], abs=1e-5)
    confidence = ops.contrastive_confidence(torch.from_numpy(scores))
    assert found["confidence"] == pytest.approx(confidence.item(), abs=1e-5)


@pytest.mark.parametrize("index", [-2, 4])
def test_an_index_of_no_box_is_named(index: int) -> None:
    boxes = torch.tensor([KEPT, INSIDE, SHIFTED, ALONE]).float()
    indices = torch.tensor([0, -1, index])
    with pytest.raises(LossexportError, match=f"indices holds {index}, expected those that NMS"):
        ops.suppression_reliability(boxes, torch.ones(4), indices)
