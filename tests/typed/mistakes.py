"""Mistakes that mypy has to find: on each marked line the error of that code, and no other."""

import torch

import lossexport
from lossexport import Evaluator, export, nn, ops, score
from lossexport.runtime import load

box, scores = torch.zeros(1, 4), torch.ones(1)

# Names and values of attributes.
nn.CIoULoss(epsilon=1e-6)  # type: ignore[call-arg]
nn.CIoULoss(reduction="median")  # type: ignore[arg-type]
nn.DecodeBoxes(weights=(10, 10, 5))  # type: ignore[arg-type]
nn.NMS(max_output=0.5)  # type: ignore[arg-type]
nn.SoftmaxFocalLoss(alpha="balanced")  # type: ignore[arg-type]
nn.SigmoidFocalLoss(alpha=[0.25, 0.75])  # type: ignore[arg-type]
ops.ciou_loss(box, box, epsilon=1e-6)  # type: ignore[call-arg]
ops.ciou_loss(box, box, reduction="average")  # type: ignore[arg-type]
ops.cluster_nms(box, scores, metric="ciou")  # type: ignore[arg-type]

# Inputs.
nn.CIoULoss()(pred=box, targets=box)  # type: ignore[call-arg]
nn.CIoULoss().forward(box, box, box)  # type: ignore[call-arg]
nn.GHMCLoss()(box, box)  # type: ignore[call-arg]
nn.GHMCLoss()(box, box, box, bin_count=scores)  # type: ignore[call-arg]
nn.NMS()(box, [1.0])  # type: ignore[arg-type]
ops.nms(boxes=box, score=scores)  # type: ignore[call-arg]
ops.best_match(box)  # type: ignore[call-arg]

# Results.
indices, kept, count = ops.nms(box, scores)  # type: ignore[misc]
both: tuple[torch.Tensor, torch.Tensor] = nn.CIoULoss()(box, box)  # type: ignore[assignment]

# The toolchain.
lossexport.exprot("ciou_loss", "out")  # type: ignore[attr-defined]
lossexport.runtime.run("out/ciou_loss.onnx")  # type: ignore[attr-defined]
lossexport.scoring.scoer("a", "b")  # type: ignore[attr-defined]
export("ciou_loss", "out", precision="fp8")  # type: ignore[arg-type]
export("ciou_loss", "out", gradients=True)  # type: ignore[call-arg]
score("dets.json", "gt.json", iou=0.5)  # type: ignore[call-arg]
score("dets.json", "gt.json", extra_categories="drop")  # type: ignore[arg-type]
load("out/ciou_loss.onnx", device="cpu")  # type: ignore[call-arg]
Evaluator(threshold=0.5)  # type: ignore[call-arg]
Evaluator(categories=3)  # type: ignore[arg-type]
Evaluator().update([{"image_id": 1}])  # type: ignore[call-arg]
Evaluator().update(3, [])  # type: ignore[arg-type]
Evaluator.from_bytes("data")  # type: ignore[arg-type]
