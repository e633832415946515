"""Time losses in eager PyTorch, forward and backward, against the code that is usual for them.

    python benchmarks/training.py                   # writes benchmarks/results/training.*

The usual code is that of torchvision, written out, or what repositories write for softmax. A step
is the sum of the loss and its gradient, in float32 on two threads. Both take turns; a figure is the
least of its turns. Before anything is timed, losses and gradients have to agree.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import RESULTS, environment, table, take_turns, write
from torch import Tensor
from torch.nn import functional

from lossexport import ops
from lossexport.catalog.draw_boxes import jittered, random_boxes

PACKAGES = ("lossexport", "torch", "numpy")
THREADS = 2
SECONDS = 10.0
"""For the turns of one row."""
ROUNDS = 2000
USUAL, OURS = "usual code", "lossexport"

Loss = Callable[[Tensor, Tensor], Tensor]


def sigmoid_focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """`torchvision.ops.sigmoid_focal_loss`, which is fvcore's too; sum, alpha 0.25, gamma 2."""
    alpha, gamma = 0.25, 2.0
    p = torch.sigmoid(logits)
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    p_t = p * target + (1 - p) * (1 - target)
    loss = entropy * ((1 - p_t) ** gamma)
    alpha_t = alpha * target + (1 - alpha) * (1 - target)
    return (alpha_t * loss).sum()


def softmax_focal_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Focal loss on the cross entropy of softmax; sum, alpha 0.25 for class 0, gamma 2."""
    alpha, gamma = 0.25, 2.0
    entropy = functional.cross_entropy(logits, labels, reduction="none")
    weight = torch.where(labels == 0, alpha, 1 - alpha)
    return (weight * (1 - torch.exp(-entropy)) ** gamma * entropy).sum()


def ciou_loss(pred: Tensor, target: Tensor) -> Tensor:
    """`torchvision.ops.complete_box_iou_loss`; sum."""
    eps = 1e-7
    x1, y1, x2, y2 = pred.unbind(-1)
    x1g, y1g, x2g, y2g = target.unbind(-1)
    left, top = torch.max(x1, x1g), torch.max(y1, y1g)
    right, bottom = torch.min(x2, x2g), torch.min(y2, y2g)
    shared = torch.zeros_like(x1)
    mask = (bottom > top) & (right > left)
    shared[mask] = (right[mask] - left[mask]) * (bottom[mask] - top[mask])
    union = (x2 - x1) * (y2 - y1) + (x2g - x1g) * (y2g - y1g) - shared
    iou = shared / (union + eps)
    width = torch.max(x2, x2g) - torch.min(x1, x1g)
    height = torch.max(y2, y2g) - torch.min(y1, y1g)
    diagonal = width**2 + height**2 + eps
    distance = ((x1 + x2) / 2 - (x1g + x2g) / 2) ** 2 + ((y1 + y2) / 2 - (y1g + y2g) / 2) ** 2
    turn = torch.atan((x2g - x1g) / (y2g - y1g)) - torch.atan((x2 - x1) / (y2 - y1))
    v = 4 / torch.pi**2 * turn**2
    with torch.no_grad():
        factor = v / (1 - iou + v + eps)
    return (1 - iou + distance / diagonal + factor * v).sum()


@dataclass(frozen=True, slots=True)
class Row:
    """A loss and its inputs; the first needs a gradient."""

    name: str
    what: str
    usual: Loss
    inputs: tuple[Tensor, Tensor]


def rows() -> list[Row]:
    generator = torch.Generator().manual_seed(0)

    def logits(count: int) -> Tensor:
        return torch.randn(count, 80, generator=generator) * 2 - 3

    def classes(count: int) -> Tensor:
        return (torch.rand(count, 80, generator=generator) < 0.01).float()

    labels = torch.randint(80, (65_536,), generator=generator)
    rng = np.random.default_rng(0)
    target = random_boxes(rng, 65_536)
    pred = jittered(rng, target, 0.1)
    pair = [torch.from_numpy(value.astype(np.float32)) for value in (pred, target)]
    return [
        *(
            Row("sigmoid_focal_loss", f"{n:,} x 80", sigmoid_focal_loss, (logits(n), classes(n)))
            for n in (1000, 20_000)
        ),
        Row("softmax_focal_loss", "65,536 x 80", softmax_focal_loss, (logits(65_536), labels)),
        Row("ciou_loss", "65,536 boxes", ciou_loss, (pair[0], pair[1])),
    ]


def step(loss: Loss, given: Tensor, other: Tensor) -> Tensor:
    given.grad = None
    found = loss(given, other)
    found.backward()
    return found


def measure(row: Row, seconds: float) -> dict[str, dict[str, float]]:
    """Milliseconds of a step of each code. Exits where their results differ."""
    given, other = row.inputs
    given.requires_grad_()
    both: dict[str, Loss] = {
        USUAL: row.usual,
        OURS: partial(getattr(ops, row.name), reduction="sum"),
    }
    found = []
    for loss in both.values():
        value = step(loss, given, other)
        assert given.grad is not None
        found.append((value.detach(), given.grad.clone()))
    for usual, mine in zip(*found, strict=True):
        if not torch.allclose(usual, mine, 1e-3, 1e-4 * float(usual.abs().max())):
            raise SystemExit(f"{row.name}: not what the usual code gives; nothing is timed")
    runners = {label: partial(step, loss, given, other) for label, loss in both.items()}
    return take_turns(runners, seconds, most=ROUNDS)


def page(results: list[dict[str, Any]], where: Mapping[str, str], now: str) -> str:
    lines = []
    for result in results:
        usual, ours = (result["times"][label]["least_ms"] for label in (USUAL, OURS))
        cells = (f"{usual:.3g}", f"{ours:.3g}", f"{usual / ours:.1f}")
        lines.append([f"`{result['op']}`, {result['what']}", *cells])
    facts = ", ".join(f"{name} {value}" for name, value in where.items())
    return f"""# Losses in PyTorch, forward and backward

{now}; {facts}. Least milliseconds of turns, {THREADS} threads, float32.

{table(["sum of the loss, and its gradient", USUAL, OURS, "ratio"], lines)}

The usual code is that of torchvision for `sigmoid_focal_loss` and `ciou_loss`, written out in
`benchmarks/training.py`, and cross entropy to focal loss for `softmax_focal_loss`.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Time losses in PyTorch.", allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    given = parser.parse_args()
    torch.set_num_threads(THREADS)
    where = environment(PACKAGES)
    results = [
        {"op": row.name, "what": row.what, "times": measure(row, given.seconds)} for row in rows()
    ]
    record = {"environment": where, "threads": THREADS, "results": results}
    write("training", record, lambda now: page(results, where, now), given.out)
    print((given.out / "training.md").read_text())


if __name__ == "__main__":
    main()
