"""Code as users write it, which mypy takes as it is. Nothing runs it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import torch
from torch import Tensor

import lossexport
from lossexport import Evaluator, attach, compare, export, nn, ops, score, verify
from lossexport.errors import LossexportError
from lossexport.formats import Format
from lossexport.manifest import Manifest
from lossexport.nn import CIoULoss, GHMCLoss
from lossexport.parity import Report
from lossexport.runtime import Session, available, load


class Criterion(torch.nn.Module):
    """A sum of losses, as a training script has it."""

    def __init__(self, weights: list[float]) -> None:
        super().__init__()
        self.boxes = CIoULoss(reduction="mean", eps=1e-6)
        self.classes = nn.SoftmaxFocalLoss(alpha=weights, gamma=1.5, reduction="sum")
        self.harmonised = GHMCLoss(bins=30, momentum=0.75)
        self.decode = nn.DecodeBoxes(weights=(10, 10, 5, 5))

    def forward(self, deltas: Tensor, anchors: Tensor, logits: Tensor, truth: Tensor) -> Tensor:
        boxes = self.decode(deltas, anchors)
        labels = logits.argmax(1)
        loss = self.boxes(boxes, target=truth) + self.classes(logits=logits, labels=labels)
        assert_type(loss, Tensor)
        assert_type(self.harmonised.bin_count, Tensor)
        return loss + self.harmonised(logits, (logits > 0).float(), torch.ones_like(logits))


def train(criterion: Criterion, steps: int, **inputs: Tensor) -> float:
    optimizer = torch.optim.SGD(criterion.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        loss: Tensor = criterion(**inputs)
        loss.backward()
        optimizer.step()
    return loss.item()


def postprocess(boxes: Tensor, scores: Tensor, log_variance: Tensor) -> Tensor:
    indices, count = ops.nms(boxes, scores, iou_threshold=0.6, max_output=50)
    assert_type(ops.pairwise_iou(boxes, boxes), Tensor)
    found = ops.variance_voting(boxes, scores, log_variance, method="hard")
    assert_type(found, tuple[Tensor, Tensor, Tensor, Tensor])
    one = nn.BestMatch(metric="giou")(pred=boxes, target=boxes)
    assert_type(one, tuple[Tensor, Tensor, Tensor, Tensor])
    return indices[: int(count)]


def evaluate(batches: list[dict[str, Tensor]], table: Any, rows: list[dict[str, Any]]) -> bytes:
    evaluator = Evaluator(0.5, categories={1: "cat"})
    for i, batch in enumerate(batches):
        evaluator.update(batch, batch)
        evaluator.update_image(
            f"{i}.jpg", batch["boxes"], batch["scores"], batch["labels"], [], np.empty(0)
        )
    evaluator.update(table, rows)
    other = Evaluator.from_bytes(evaluator.to_bytes(), backend="native")
    other.reset()
    evaluator.merge(other)
    assert_type(evaluator.compute(), dict[str, Any])
    score(batches[0], rows, iou_threshold=0.6)
    score("dets.json", rows)
    compare(rows, batches[0])
    return evaluator.to_bytes()


def of_ones_own(pred: Tensor, target: Tensor) -> Any:
    """Ops that were registered have names that no stub knows."""
    return nn.MPDIoULoss(width=320.0)(pred, target) + ops.mpdiou_loss(pred, target, width=320.0)


def toolchain(folder: Path) -> Mapping[str, np.ndarray]:
    manifest = export(["ciou_loss", "nms"], folder, formats=["onnx"], shapes={"N": "1:100:1000"})
    assert_type(manifest, Manifest)
    report = lossexport.verify(folder)
    assert_type(report, Report)
    assert_type(verify(folder / "nms.onnx", backends=["ort"]).passed, bool)
    attach("in.onnx", "nms", {"boxes": "boxes"}, folder / "out.onnx", box_format="cxcywh")

    session = lossexport.runtime.load(folder / "nms.onnx")
    assert_type(session, Session)
    for name, state in available().items():
        print(name, state)
    return load(str(folder / "nms.onnx"), "ort")(boxes=np.zeros((1, 4), np.float32), scores=[1.0])


def own_format() -> Format:
    def read(path: Path, scored: bool) -> Mapping[str, Any]:
        return {"image_id": [], "category_id": [], "bbox": [], "score": []}

    return Format(name="own", title="Own", read=read)


def numbers(pred: str, ref: str) -> float:
    try:
        summary = score(pred, ref, fail_below={"AP50": 0.5}, progress=True)
        lossexport.score(pred, ref, format="yolo")
        lossexport.compare(pred, pred)
        compare(pred, pred, out="report")
        lossexport.export("box_iou", "out")
    except LossexportError as error:
        raise SystemExit(str(error)) from None
    return float(summary["AP"])
