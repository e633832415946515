"""The whole losses: YOLO's against vectors of the original code, the others restated by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lossexport import ops
from lossexport.errors import LossexportError
from lossexport.families.detection import cases
from tests.conftest import ROOT, close, close_rows

# Of each vector the size of the image, and the stride and the cells on a side of each level.
YOLO = {
    "three_levels": (64, {8: 8, 16: 4, 32: 2}),
    "empty_image": (48, {8: 6, 16: 3}),
    "no_targets": (32, {8: 4}),
}


def cells(levels: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Points in cells and strides of levels."""
    points, strides = [], []
    for stride, count in levels.items():
        y, x = np.mgrid[:count, :count] + 0.5
        points.append(np.stack((x.ravel(), y.ravel()), 1))
        strides.append(np.full(count * count, float(stride)))
    return np.concatenate(points), np.concatenate(strides)


def padded(v: dict[str, np.ndarray], images: int, side: int) -> dict[str, np.ndarray]:
    """The targets of every image, with one row more than there are."""
    count = max(np.bincount(v["batch_idx"], minlength=1)) + 1
    told = {
        "labels": np.zeros((images, count), np.int64),
        "targets": np.zeros((images, count, 4)),
        "valid": np.zeros((images, count), bool),
    }
    for image in range(images):
        own = v["batch_idx"] == image
        box, n = v["bboxes"][own].astype(np.float64), own.sum()
        told["labels"][image, :n] = v["cls"][own]
        told["targets"][image, :n, :2] = (box[:, :2] - box[:, 2:] / 2) * side
        told["targets"][image, :n, 2:] = (box[:, :2] + box[:, 2:] / 2) * side
        told["valid"][image, :n] = True
    return told


def tensors(arrays: dict[str, np.ndarray], dtype: torch.dtype, *leaves: str) -> dict[str, Any]:
    """The arrays as tensors; floats get the type, and those of `leaves` a gradient."""
    found = {name: torch.tensor(values) for name, values in arrays.items()}
    found = {n: x.to(dtype) if x.is_floating_point() else x for n, x in found.items()}
    return found | {name: found[name].requires_grad_() for name in leaves}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
@pytest.mark.parametrize("name", YOLO)
def test_yolo_is_the_original_code(name: str, dtype: torch.dtype) -> None:
    with np.load(ROOT / "tests/golden2" / f"yolo_detection_loss__{name}.npz") as stored:
        v = {key: stored[key] for key in stored.files}
    side, levels = YOLO[name]
    points, stride = cells(levels)
    heads = {"box_logits": v["head_boxes"], "class_logits": v["head_scores"]}
    given = heads | {"points": points, "stride": stride} | padded(v, len(v["head_boxes"]), side)
    inputs = tensors(given, dtype, *heads)
    small = list(levels)[min(1, len(levels) - 1)]
    loss, parts = ops.yolo_detection_loss(**inputs, small_side=float(small))
    grads = torch.autograd.grad(loss, [inputs[head] for head in heads])
    rtol, atol = (1e-9, 1e-11) if dtype is torch.float64 else (1e-5, 1e-6)
    close(loss.detach().numpy(), v["loss_total"], rtol, atol)
    close(parts.detach().numpy(), v["loss_items"], rtol, atol)
    for found, wanted in zip(grads, ("grad_boxes", "grad_scores"), strict=True):
        close_rows(found.numpy(), v[wanted], rtol, atol)


def drawn(name: str, sampler: Any, leaves: tuple[str, ...], **sizes: int) -> dict[str, Any]:
    arrays = sampler["ordinary"](np.random.default_rng(5), sizes, {})
    return tensors(arrays, torch.float64, *leaves)


def same(found: Tensor, wanted: Tensor, leaves: list[Tensor]) -> None:
    """Values and gradients agree."""
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    pairs = zip(
        torch.autograd.grad(found, leaves), torch.autograd.grad(wanted, leaves), strict=True
    )
    for ours, theirs in pairs:
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def focal(logits: Tensor, target: Tensor) -> Tensor:
    p = logits.sigmoid()
    wrong = p * (1 - target) + (1 - p) * target
    weight = 0.25 * target + 0.75 * (1 - target)
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (weight * wrong**2 * entropy).sum()


def pair_iou(a: Tensor, b: Tensor) -> Tensor:
    low, high = torch.maximum(a[:, None, :2], b[:, :2]), torch.minimum(a[:, None, 2:], b[:, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    area = [(x[:, 2:] - x[:, :2]).prod(-1) for x in (a, b)]
    return shared / (area[0][:, None] + area[1] - shared)


def test_yolo_without_bins_is_an_l1_of_the_distances() -> None:
    """One point in the middle of a target, 64 of 128 pixels wide."""
    box = torch.tensor([[[2.0], [3.0], [4.0], [5.0]]], requires_grad=True)
    points, stride = torch.tensor([[8.0, 8.0]]), torch.tensor([8.0])
    # The cell at the far corner tells the size of the image: 8.5 cells of 8 pixels.
    target = torch.tensor([[[32.0, 32.0, 96.0, 96.0]]])
    told = torch.zeros(1, 1, dtype=torch.int64), target, torch.ones(1, 1, dtype=torch.bool)
    _, parts = ops.yolo_detection_loss(box, torch.zeros(1, 1, 1), points, stride, *told)
    assigned, scores = ops.task_aligned_assign(
        torch.full((1, 1), 0.5),
        torch.tensor([[48.0, 40.0, 96.0, 104.0]]),
        points * 8,
        told[0][0],
        told[1][0],
        told[2][0],
    )
    assert assigned.tolist() == [0]
    off = torch.tensor([2.0, 1.0, 0.0, 1.0]) * 8 / 68
    torch.testing.assert_close(parts[2].detach(), 1.5 * off.mean() * scores[0, 0])


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_retinanet_is_the_matcher_and_the_losses_of_torchvision(beta: float) -> None:
    leaves = ("class_logits", "deltas")
    x = drawn("retinanet", cases.RETINANET, leaves, B=3, A=60, C=4, T=5)
    total = torch.zeros((), dtype=torch.float64)
    for image in range(3):
        valid = x["valid"][image]
        boxes, labels = x["targets"][image][valid], x["labels"][image][valid]
        iou = pair_iou(boxes, x["anchors"])
        best, matched = iou.max(0)
        rescued = (iou == iou.max(1, keepdim=True).values).any(0)
        taken = (best >= 0.5) | rescued
        logits = x["class_logits"][image]
        target = torch.zeros_like(logits)
        target[taken, labels[matched[taken]]] = 1
        counted = taken | (best < 0.4)
        named = focal(logits[counted], target[counted])
        wanted = ops.encode_boxes(boxes[matched[taken]], x["anchors"][taken])
        given = x["deltas"][image][taken]
        if beta:
            placed = functional.smooth_l1_loss(given, wanted, beta=beta, reduction="sum")
        else:
            placed = (given - wanted).abs().sum()
        total = total + (named + placed) / max(int(taken.sum()), 1) / 3
    loss, parts = ops.retinanet_loss(**x, beta=beta)
    same(loss, total, [x[name] for name in leaves])
    torch.testing.assert_close(parts.sum(), loss)


def test_fcos_is_the_matcher_and_the_losses_of_torchvision() -> None:
    leaves = ("class_logits", "distances", "centre_logits")
    x = drawn("fcos", cases.FCOS, leaves, B=3, A=200, C=4, T=5)
    points, stride = x["points"], x["stride"]
    found: list[tuple[Tensor, ...]] = []
    for image in range(3):
        valid = x["valid"][image]
        boxes, labels = x["targets"][image][valid], x["labels"][image][valid]
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        near = (points[:, None] - centre).abs().amax(-1) < 1.5 * stride[:, None]
        sides = torch.cat((points[:, None] - boxes[:, :2], boxes[:, 2:] - points[:, None]), -1)
        reach = sides.amax(-1)
        least = torch.where(stride == 8, 0, 4 * stride)[:, None]
        most = torch.where(stride == 32, torch.inf, 8 * stride)[:, None]
        match = near & (sides.amin(-1) > 0) & (reach > least) & (reach < most)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
        rank, matched = (match * (1e8 - area)).max(1)
        taken = rank > 0
        target = torch.zeros_like(x["class_logits"][image])
        target[taken, labels[matched[taken]]] = 1
        far = x["distances"][image][taken] * stride[taken, None]
        low, high = points[taken] - far[:, :2], points[taken] + far[:, 2:]
        placed = ops.giou_loss(torch.cat((low, high), 1), boxes[matched[taken]], reduction="sum")
        left, top, right, bottom = sides[taken, matched[taken]].unbind(1)
        flat = torch.minimum(left, right) / torch.maximum(left, right)
        tall = torch.minimum(top, bottom) / torch.maximum(top, bottom)
        middle = functional.binary_cross_entropy_with_logits(
            x["centre_logits"][image][taken], (flat * tall).sqrt(), reduction="sum"
        )
        named = focal(x["class_logits"][image], target)
        found.append((named, placed, middle, taken.sum()))
    named, placed, middle, count = (
        torch.stack(list(part)).sum() for part in zip(*found, strict=True)
    )
    assert count > 3
    loss, parts = ops.fcos_loss(**x)
    same(loss, (named + placed + middle) / count, [x[name] for name in leaves])
    torch.testing.assert_close(parts, torch.stack((named, placed, middle)) / count)


@pytest.mark.parametrize("kind", ["softmax", "focal", "varifocal"])
def test_detr_is_the_criterion_of_the_original_code(kind: Any) -> None:
    x = drawn("detr", cases.DETR, ("logits", "boxes"), B=3, N=6, C=4, T=8)
    count = x["valid"].sum()
    pairs = [(b, int(x["match"][b, t]), t) for b, t in x["valid"].nonzero().tolist()]
    image, query, target = torch.tensor([p for p in pairs if p[1] >= 0]).T
    label = x["labels"][image, target]
    box, wanted = x["boxes"][image, query], x["targets"][image, target]
    edge, wanted_edge = (
        torch.cat((b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2), 1) for b in (box, wanted)
    )
    one_hot = torch.zeros_like(x["logits"])
    one_hot[image, query, label] = 1
    if kind == "softmax":
        classes = torch.full(x["logits"].shape[:2], 3)
        classes[image, query] = label
        weight = torch.tensor([1.0, 1, 1, 0.1], dtype=torch.float64)
        named = functional.cross_entropy(x["logits"].mT, classes, weight)
    elif kind == "focal":
        named = focal(x["logits"], one_hot) / count
    else:
        iou = ops.box_iou(edge, wanted_edge).detach()
        quality = torch.zeros_like(one_hot)
        quality[image, query, label] = iou
        weight = 0.75 * x["logits"].detach().sigmoid() ** 2 * (1 - one_hot) + quality
        named = functional.binary_cross_entropy_with_logits(
            x["logits"], quality, weight, reduction="sum"
        )
        named = named / count
    distance = (box - wanted).abs().sum() / count
    apart = (1 - ops.box_giou(edge, wanted_edge)).sum() / count
    loss, parts = ops.detr_detection_loss(
        **x, kind=kind, alpha=0.75 if kind == "varifocal" else 0.25
    )
    same(loss, 2 * named + 5 * distance + 2 * apart, [x["logits"], x["boxes"]])
    torch.testing.assert_close(parts, torch.stack((2 * named, 5 * distance, 2 * apart)))


OPS = {
    "yolo_detection_loss": (cases.YOLO, {"D": 8, "A": 7}),
    "retinanet_loss": (cases.RETINANET, {"A": 7}),
    "fcos_loss": (cases.FCOS, {"A": 7}),
    "detr_detection_loss": (cases.DETR, {"N": 7}),
}


@pytest.mark.parametrize("name", OPS)
def test_what_is_padding_does_not_count_and_what_is_wrong_does(name: str) -> None:
    sampler, sizes = OPS[name]
    arrays = sampler["ordinary"](np.random.default_rng(1), {"B": 2, "C": 3, "T": 4} | sizes, {})
    arrays["valid"][:, 2:] = False
    arrays["valid"][:, :2] = True
    op = getattr(ops, name)
    expected = op(**tensors(arrays, torch.float64))[0]
    assert expected.isfinite()
    arrays["targets"][:, 2:] = np.nan
    assert op(**tensors(arrays, torch.float64))[0] == expected
    arrays["targets"][0, 0] = np.inf
    assert op(**tensors(arrays, torch.float64))[0].isnan()


@pytest.mark.parametrize("pad", [-1, 99])
@pytest.mark.parametrize("name", OPS)
def test_labels_of_padding_may_be_any(name: str, pad: int) -> None:
    sampler, sizes = OPS[name]
    arrays = sampler["ordinary"](np.random.default_rng(2), {"B": 2, "C": 3, "T": 4} | sizes, {})
    arrays["valid"][:] = [True, True, False, False]
    op = getattr(ops, name)
    expected = op(**tensors(arrays, torch.float64))[0]
    for field in {"labels", "match"} & set(arrays):
        own = arrays[field].copy()
        arrays[field][:, 2:] = pad
        assert op(**tensors(arrays, torch.float64))[0] == expected
        arrays[field][:, 1] = 99
        with pytest.raises(LossexportError, match=rf"^{name}: {field} holds 99, expected "):
            op(**tensors(arrays, torch.float64))
        arrays[field] = own


def test_heads_of_a_wrong_size_are_refused() -> None:
    arrays = cases.YOLO["ordinary"](
        np.random.default_rng(1), {"B": 1, "C": 2, "T": 1, "A": 3, "D": 8}, {}
    )
    arrays["box_logits"] = arrays["box_logits"][:, :6]
    with pytest.raises(LossexportError, match="box_logits has 6 rows: four times"):
        ops.yolo_detection_loss(**tensors(arrays, torch.float64))
