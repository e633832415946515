"""The kernels round as they are written: like eager PyTorch, and alike on every level."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lossexport import ops
from lossexport.catalog.draw_boxes import jittered, random_boxes
from lossexport.runtime import native
from tests.native.calls import KERNELS

pytestmark = pytest.mark.skipif(not KERNELS, reason="no library of native kernels")

LEVELS = ("x86-64", "x86-64-v3", "x86-64-v4")


def clustered(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    objects = random_boxes(rng, max(count // 8, 1))
    near = jittered(rng, objects[rng.integers(0, len(objects), count)], 0.1)
    scores = rng.integers(0, 200, count) / 200  # many of them equal
    return torch.tensor(near, dtype=torch.float32), torch.tensor(scores, dtype=torch.float32)


def torch_code(name: str) -> Callable[..., Any]:
    """The PyTorch code of an op: the function itself would call the kernel."""
    return getattr(ops, name).__wrapped__


@pytest.mark.parametrize("name", ["nms", "diou_nms"])
@pytest.mark.parametrize("count", [1, 255, 256, 257, 1500])
def test_nms_decides_as_eager_float32_on_any_boxes(name: str, count: int) -> None:
    for seed in range(3):
        boxes, scores = clustered(count, seed)
        for room in (count, 300):
            found = native_nms(name, boxes, scores, room)
            wanted = torch_code(name)(boxes, scores, max_output=room)
            assert found[0].tolist() == wanted[0].tolist()
            assert found[1] == wanted[1]


def native_nms(name: str, boxes: torch.Tensor, scores: torch.Tensor, room: int) -> list[np.ndarray]:
    outputs = [np.empty(room, np.int64), np.empty((), np.int64)]
    native.run(name, {"max_output": room}, [boxes.numpy(), scores.numpy()], outputs)
    return outputs


@pytest.mark.parametrize("metric", ["iou", "giou", "diou"])
def test_scores_have_the_bits_of_eager_float32(metric: str) -> None:
    pred, target = clustered(700, 1)[0], clustered(90, 1)[0]
    score = np.empty((700, 90), np.float32)
    native.run(f"pairwise_{metric}", {}, [pred.numpy(), target.numpy()], [score])
    wanted = torch_code(f"pairwise_{metric}")(pred, target)
    assert score.tobytes() == wanted.numpy().tobytes()


@pytest.mark.parametrize("metric", ["iou", "giou", "diou", "ciou"])
@pytest.mark.parametrize("offset", [0, 1, 4, 15])
def test_a_matrix_past_the_caches_is_the_same_wherever_it_begins(metric: str, offset: int) -> None:
    pred, target = (clustered(count, 1)[0].numpy() for count in (1031, 1101))  # no whole lines
    memory = np.full(len(pred) * len(target) + 48, 7, np.float32)
    start = -memory.ctypes.data // 4 % 16 + offset
    end = start + len(pred) * len(target)
    score = memory[start:end].reshape(len(pred), -1)
    native.run(f"pairwise_{metric}", {}, [pred, target], [score])
    assert (memory[:start] == 7).all()
    assert (memory[end:] == 7).all()
    row = np.empty(len(target), np.float32)
    for i in (0, 1, 500, 1030):
        box = np.repeat(pred[i : i + 1], len(target), axis=0)
        native.run(f"box_{metric}", {}, [box, target], [row])
        assert score[i].tobytes() == row.tobytes()


DIGEST = """
import sys
from tests.native.test_bits import digest
from lossexport.runtime import native
print(native.library().lossexport_level().decode(), digest())
"""


def digest() -> str:
    """Of what the ops give without a sum over elements, whose order differs from level to level."""
    total = hashlib.sha256()
    for seed in range(3):
        boxes, scores = (x.numpy() for x in clustered(999, seed))
        others = clustered(77, seed)[0].numpy()
        for metric in ("iou", "giou", "diou", "ciou"):
            score = np.empty((999, 77), np.float32)
            native.run(f"pairwise_{metric}", {}, [boxes, others], [score])
            total.update(score.tobytes())
        for sigma in (0.1, 0.5):
            outputs = np.empty(300, np.int64), np.empty(300, np.float32), np.empty((), np.int64)
            native.run("soft_nms", {"sigma": sigma}, [boxes, scores], outputs)
            for output in outputs:
                total.update(output.tobytes())
    return total.hexdigest()


def test_every_level_gives_the_same_bits() -> None:
    if native.library().lossexport_level().decode() not in LEVELS:
        pytest.skip("this processor has one level")
    found = {}
    for level in LEVELS:
        done = subprocess.run(
            [sys.executable, "-c", DIGEST],
            env=os.environ | {"LOSSEXPORT_LEVEL": level},
            check=True,
            capture_output=True,
            text=True,
        )
        ran, value = done.stdout.split()
        if ran == level:  # what the processor lacks does not run
            found[level] = value
    assert "x86-64" in found
    assert set(found.values()) == {digest()}
