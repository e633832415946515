"""Suppression of many boxes against plain loops in numpy: the CPU kernels have no limit of N."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lossexport
from lossexport import ops
from lossexport.runtime import load, native

Array = np.ndarray[Any, np.dtype[Any]]
GREEDY = ("nms", "diou_nms", "cluster_nms")
MANY = 100_000


def crowd(count: int, objects: int, seed: int = 0, spread: float = 0.06) -> tuple[Array, Array]:
    """Boxes [count,4] around `objects` places of constant density, and distinct scores."""
    rng = np.random.default_rng([seed, count, objects])
    side = np.exp(rng.uniform(np.log(16), np.log(160), (objects, 2)))
    low = rng.uniform(0, 60 * objects**0.5, (objects, 2))
    which = rng.integers(0, objects, count)
    corners = np.concatenate((low, low + side), axis=1)[which]
    corners += rng.normal(0, spread, (count, 4)) * np.tile(side, 2)[which]
    scores = (rng.permutation(count) + 1) / (count + 1)
    return corners.astype(np.float32), scores.astype(np.float32)


def overlaps(box: Array, boxes: Array, beta: float | None = None) -> Array:
    """IoU, or DIoU with `beta` of 1, of a box with others, rounded to float32 at every step."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    gap = high - low
    width, height = np.maximum(gap, 0).T
    shared = width * height
    own, side = box[2:] - box[:2], boxes[:, 2:] - boxes[:, :2]
    union = (own[0] * own[1] + side[:, 0] * side[:, 1]) - shared
    tiny = np.finfo(np.float32).tiny
    iou: Array = shared / np.maximum(union, tiny)
    if beta is None:
        return iou
    outer = (own + side) - gap
    shift = (box[:2] - boxes[:, :2]) + (box[2:] - boxes[:, 2:])
    distance = (shift * shift).sum(1) * np.float32(0.25)
    found: Array = iou - distance / np.maximum((outer * outer).sum(1), tiny)
    return found


def plain(
    boxes: Array,
    scores: Array,
    threshold: float,
    most: int,
    beta: float | None = None,
    floor: float = 0.0,
) -> Array:
    """Greedy NMS: the best box of those left, without those that it overlaps too much."""
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= floor]
    kept: list[int] = []
    while len(order) and len(kept) < most:
        kept.append(int(order[0]))
        rest = order[1:]
        metric = overlaps(boxes[order[0]], boxes[rest], beta)
        order = rest[~(metric > np.float32(threshold))]
    return np.array(kept, np.int64)


def kernel(name: str, inputs: list[Array], most: int, **attributes: Any) -> list[Array]:
    """The outputs of a kernel of suppression, up to their count."""
    outputs = [np.empty(most, np.int64)]
    if name == "variance_voting":
        outputs.append(np.empty((most, 4), np.float32))
    if name in ("soft_nms", "variance_voting"):
        outputs.append(np.empty(most, np.float32))
    count = np.empty((), np.int64)
    native.run(name, {"max_output": most, **attributes}, inputs, [*outputs, count])
    assert (outputs[0][int(count) :] == -1).all()
    assert not any(output[int(count) :].any() for output in outputs[1:])
    return [output[: int(count)] for output in outputs]


@functools.cache
def wanted_of_many(beta: float | None) -> Array:
    return plain(*crowd(MANY, 60), 0.5, 5000, beta)


@pytest.mark.parametrize("name", GREEDY)
def test_a_hundred_thousand_boxes_by_every_way_to_the_kernel(name: str, tmp_path: Path) -> None:
    boxes, scores = crowd(MANY, 60)
    wanted = wanted_of_many(1.0 if name == "diou_nms" else None)
    assert 64 < len(wanted) < 5000
    attributes = {"max_output": 5000}
    lossexport.export([name], tmp_path, formats=["onnx"], attributes=attributes)
    found = [kernel(name, [boxes, scores], 5000)[0]]
    indices, count = getattr(ops, name)(*map(torch.from_numpy, (boxes, scores)), **attributes)
    found.append(indices[: int(count)].numpy())
    for backend in ("native", "ort-kernels"):
        result = load(tmp_path / f"{name}.onnx", backend)(boxes=boxes, scores=scores)
        found.append(result["indices"][: int(result["count"])])
    for chosen in found:
        np.testing.assert_array_equal(chosen, wanted)


def test_a_million_boxes() -> None:
    boxes, scores = crowd(10 * MANY, 20_000)
    for name, beta in (("nms", None), ("diou_nms", 1.0)):
        wanted = plain(boxes, scores, 0.5, 10, beta)
        np.testing.assert_array_equal(kernel(name, [boxes, scores], 10)[0], wanted)
    kept = kernel("nms", [boxes, scores], 65536)[0]
    assert 20_000 < len(kept) < 65536
    assert (np.diff(scores[kept]) < 0).all()
    # A box is kept if no better one that is kept removes it, and else one does.
    ranks = np.random.default_rng(1).integers(0, len(boxes), 200)
    for place in {*ranks.tolist(), *kept[::1000].tolist()}:
        better = kept[scores[kept] > scores[place]]
        removed = (overlaps(boxes[place], boxes[better]) > 0.5).any()
        assert removed == (place not in kept)


@pytest.mark.parametrize("beta", [None, 1.0])
def test_ties_go_by_place_where_many_are_sorted(beta: float | None) -> None:
    boxes, scores = crowd(30_000, 300)
    scores = np.floor(scores * 8) / np.float32(8)
    name = "nms" if beta is None else "diou_nms"
    wanted = plain(boxes, scores, 0.6, 30_000, beta, floor=0.25)
    found = kernel(name, [boxes, scores], 30_000, iou_threshold=0.6, score_threshold=0.25)[0]
    np.testing.assert_array_equal(found, wanted)


def scales(rng: np.random.Generator, count: int) -> Array:
    """Sides from 0.01 to 10,000 on one plane."""
    side = np.exp(rng.uniform(-5, 9, (count, 2)))
    low = rng.uniform(-3000, 3000, (count, 2))
    return np.concatenate((low, low + side), axis=1)


def strips(rng: np.random.Generator, count: int) -> Array:
    """Long strips in both directions, most of which reach into many cells."""
    side = np.where(rng.random((count, 1)) < 0.5, [[1.0, 3000.0]], [[3000.0, 1.0]])
    low = rng.uniform(0, 400, (count, 2))
    return np.concatenate((low, low + side), axis=1)


def grid(rng: np.random.Generator, count: int) -> Array:
    """Whole corners: points, equal boxes, boxes that touch, overlaps of exactly a half."""
    corners = rng.integers(-20, 20, (count, 2, 2)) * 4
    corners = np.sort(corners, axis=1).reshape(count, 4)
    corners[: count // 3] = corners[count // 3 : 2 * (count // 3)]
    return corners.astype(float)


def distant(rng: np.random.Generator, count: int) -> Array:
    """Most together; a few at the end of the numbers, a few far smaller than a cell."""
    boxes = np.concatenate((low := rng.uniform(0, 200, (count, 2)), low + 40), axis=1)
    boxes[::50] *= 1e15
    boxes[7::50] = boxes[7] + np.array([0, 0, 1e30, 1e30])
    boxes[9::50] *= 1e-20
    return boxes


def points(rng: np.random.Generator, count: int) -> Array:
    """More than half of the boxes are points."""
    boxes = scales(rng, count)
    boxes[: 2 * count // 3, 2:] = boxes[: 2 * count // 3, :2]
    return boxes


@pytest.mark.parametrize("threshold", [0.0, 1e-6, 0.009, 0.011, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("draw", [scales, strips, grid, distant, points])
def test_no_box_is_missed_by_the_cells(
    draw: Callable[[np.random.Generator, int], Array], threshold: float
) -> None:
    rng = np.random.default_rng(2)
    boxes = draw(rng, 1500)
    near = boxes[rng.integers(0, 1500, 1500)]
    side = np.tile(near[:, 2:] - near[:, :2], 2)
    boxes = np.concatenate((boxes, near + rng.normal(0, 0.05, (1500, 4)) * side))
    boxes = boxes.astype(np.float32)
    scores = rng.permutation(3000).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for name, beta in (("nms", None), ("diou_nms", 1.0)):
            wanted = plain(boxes, scores, threshold, 3000, beta)
            found = kernel(name, [boxes, scores], 3000, iou_threshold=threshold)[0]
            np.testing.assert_array_equal(found, wanted)


def plain_soft(boxes: Array, scores: Array, floor: float, most: int) -> tuple[Array, Array]:
    left = scores.astype(np.float64)
    left[left < floor] = -1
    indices: list[int] = []
    final: list[float] = []
    while len(indices) < most and left.max() >= floor:
        pick = int(left.argmax())
        indices.append(pick)
        final.append(float(left[pick]))
        faded = left * np.exp(-2 * overlaps(boxes[pick], boxes).astype(np.float64) ** 2)
        left = np.where(left < 0, -1, faded)
        left[pick] = -1
    return np.array(indices), np.array(final)


@pytest.mark.parametrize(("count", "objects", "most"), [(MANY, 40, 150), (3000, 30, 1000)])
def test_soft_nms_takes_in_every_box_that_may_be_the_best(
    count: int, objects: int, most: int
) -> None:
    boxes, scores = crowd(count, objects)
    wanted, final = plain_soft(boxes, scores, 0.05, most)
    indices, faded = kernel("soft_nms", [boxes, scores], most, score_threshold=0.05)
    assert len(wanted) > 90
    np.testing.assert_array_equal(indices, wanted)
    np.testing.assert_allclose(faded, final, rtol=1e-5)
    tied = np.floor(scores * 16) / np.float32(16)
    np.testing.assert_array_equal(
        kernel("soft_nms", [boxes, tied], 16, score_threshold=0.05)[0],
        plain_soft(boxes, tied, 0.05, 16)[0],
    )


def test_variance_voting_of_a_hundred_thousand_boxes() -> None:
    boxes, scores = crowd(MANY, 2000)
    rng = np.random.default_rng(4)
    variance = rng.normal(0, 1, (MANY, 4)).astype(np.float32)
    indices, moved, _ = kernel(
        "variance_voting", [boxes, scores, variance], 60, method="hard", iou_threshold=0.5
    )
    np.testing.assert_array_equal(indices[:20], plain(boxes, scores, 0.5, 20))
    # The first pick sees all boxes as they were given.
    iou = overlaps(boxes[indices[0]], boxes).astype(np.float64)
    iou[indices[0]] = 1
    voters = iou > 0.01
    weight = np.exp(-((1 - iou[voters]) ** 2)[:, None] / 0.02 - variance[voters].astype(np.float64))
    mean = (weight * boxes[voters]).sum(0) / weight.sum(0)
    assert voters.sum() > 40
    np.testing.assert_allclose(moved[0], mean, rtol=1e-5)


MEMORY = """
import sys
from pathlib import Path
import numpy as np
from tests.native.test_many_boxes import crowd, kernel

def status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024

boxes, scores = crowd(1_000_000, 20_000)
inputs = [boxes, scores, np.zeros_like(boxes)][: 3 if sys.argv[1] == "variance_voting" else 2]
kernel(sys.argv[1], [x[:100] for x in inputs], 10)
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is held now
held = status("VmRSS")
kernel(sys.argv[1], inputs, int(sys.argv[2]))
print(status("VmHWM") - held)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from Linux's /proc")
@pytest.mark.parametrize(
    ("name", "most"), [("nms", 65536), ("soft_nms", 50), ("variance_voting", 5)]
)
def test_memory_grows_with_the_number_of_boxes(name: str, most: int) -> None:
    command = [sys.executable, "-c", MEMORY, name, str(most)]
    # So that memory that was freed goes back to the system and counts when it is taken again.
    own = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=own)
    # MiB for a million boxes: a bit for each pair would be 116,415.
    assert 4 < float(done.stdout) < 130
