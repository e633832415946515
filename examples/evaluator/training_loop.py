"""Trains a toy detector and evaluates it after every epoch, without a file.

    python examples/evaluator/training_loop.py

An image shows one bright rectangle, of category 1 if it is wide and 2 if it is high. The network
predicts a box, two scores and a class. It is evaluated on images that it is not trained on.
"""

import argparse
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lossexport import Evaluator, ops

SIDE = 32
BATCH = 64
CATEGORIES = {1: "wide", 2: "high"}

Batch = tuple[Tensor, Tensor, Tensor]


def scenes(count: int, seed: int) -> Iterator[Batch]:
    """Batches of images [n,1,32,32], boxes x1, y1, x2, y2 [n,4] and labels [n]."""
    rng = torch.Generator().manual_seed(seed)
    grid = torch.arange(SIDE) + 0.5
    for _ in range(count // BATCH):
        size = torch.randint(6, 20, (BATCH, 2), generator=rng).float()
        low = (torch.rand(BATCH, 2, generator=rng) * (SIDE - size)).round()
        boxes = torch.cat([low, low + size], dim=1)
        inside = [(grid > boxes[:, [i]]) & (grid < boxes[:, [i + 2]]) for i in range(2)]
        images = (inside[1][:, :, None] & inside[0][:, None, :]).float()
        noise = 0.3 * torch.rand(images.shape, generator=rng)
        yield (images + noise)[:, None], boxes, torch.where(size[:, 0] > size[:, 1], 1, 2)


class Detector(nn.Module):
    """One box [n,4] and the logits [n,2] of its categories for each image."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * (SIDE // 4) ** 2, 64),
            nn.ReLU(),
            nn.Linear(64, 6),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes and logits of `images` [n,1,32,32]."""
        found = self.body(images)
        centre, size = SIDE * found[:, :2].sigmoid(), SIDE * found[:, 2:4].sigmoid()
        return torch.cat([centre - size / 2, centre + size / 2], dim=1), found[:, 4:]


def evaluate(model: Detector, images: int) -> dict[str, float]:
    """Average precision and mean IoU on images that no training uses."""
    evaluator = Evaluator(categories=CATEGORIES)
    image_id = 0
    model.eval()
    with torch.no_grad():
        for pixels, ref_boxes, ref_labels in scenes(images, seed=1):
            boxes, logits = model(pixels)
            scores, labels = logits.softmax(dim=1).max(dim=1)
            for i in range(len(pixels)):
                one = slice(i, i + 1)  # this detector finds one box in each image
                evaluator.update_image(
                    image_id,
                    boxes[one],
                    scores[one],
                    labels[one] + 1,
                    ref_boxes[one],
                    ref_labels[one],
                )
                image_id += 1
    summary = evaluator.compute()
    return {"AP": summary["AP"], "AP50": summary["AP50"], "IoU": summary["iou"]["mean"] or 0.0}


def main() -> None:
    """Train and evaluate."""
    parser = argparse.ArgumentParser(description="Train and evaluate a toy detector.")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--images", type=int, default=2048, help="of an epoch")
    given = parser.parse_args()
    torch.manual_seed(0)
    model = Detector()
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for epoch in range(given.epochs):
        model.train()
        for pixels, boxes, labels in scenes(given.images, seed=10 + epoch):
            found, logits = model(pixels)
            loss = ops.giou_loss(found, boxes, reduction="mean")
            loss = loss + nn.functional.cross_entropy(logits, labels - 1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        numbers = evaluate(model, 512)
        print(f"epoch {epoch + 1}:", ", ".join(f"{k} {v:.3f}" for k, v in numbers.items()))


if __name__ == "__main__":
    main()
