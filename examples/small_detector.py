"""Train a small detector of drawn shapes in half a minute, for trying things out.

Ellipses, rectangles and triangles on a noisy ground, 128 x 128; a convolutional network of stride
8, trained on `ciou_loss` and `sigmoid_focal_loss`. Writes to `--out`: `detector.onnx`, its
description `detector.toml`, the folders `photos` (48, not trained on) and `calibration` (32), and
`gt.json` of the photos.
"""

import argparse
import json
import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from drawn_shapes import CELLS, NAMES, SIDE, STRIDE, Array, photos, scene
from torch import Tensor, nn

from lossexport import ops

DESCRIPTION = f"""\
[input]
tensor = "images"
width = {SIDE}
height = {SIDE}
colour = "rgb"
resize = "stretch"
mean = [127.5, 127.5, 127.5]
std = [64, 64, 64]

[output]
kind = "yolox"
tensor = "output"
strides = [{STRIDE}]

[limits]
score = 0.01
nms_iou = 0.5

[categories]
names = {list(NAMES)}
"""


class Network(nn.Module):
    """For a batch of pictures [B,cells,5+C] of dx, dy, log w, log h and logits."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, stride in ((3, 16, 2), (16, 32, 2), (32, 64, 2), (64, 64, 1)):
            layers += [nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU()]
        for reach in (2, 3):
            layers += [nn.Conv2d(64, 64, 3, 1, reach, reach), nn.BatchNorm2d(64), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Conv2d(64, 5 + len(NAMES), 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch [B,3,SIDE,SIDE]."""
        logits: Tensor = self.body(images)
        return logits.flatten(2).transpose(1, 2)


class Detector(nn.Module):
    """The network with sigmoids, as the description `yolox` wants it."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """The output of the file."""
        raw = self.network(images)
        return torch.cat((raw[..., :4], raw[..., 4:].sigmoid()), -1)


def tensor(pictures: list[Array]) -> Tensor:
    """Pictures as the batch that the network takes."""
    return (torch.tensor(np.stack(pictures)).permute(0, 3, 1, 2).float() - 127.5) / 64


def loss(raw: Tensor, boxes: list[Array], labels: list[Array]) -> Tensor:
    """Focal loss of objectness and class, CIoU loss of the cells that hold a centre."""
    batch, cells, wanted = [], [], []
    truth = torch.zeros(len(raw), CELLS * CELLS, 1 + len(NAMES))
    for index, (own, kinds) in enumerate(zip(boxes, labels, strict=True)):
        column, row = ((own[:, :2] + own[:, 2:]) / 2 // STRIDE).astype(int).T
        cell = row * CELLS + column
        truth[index, cell, 0] = 1
        truth[index, cell, 1 + kinds] = 1
        batch += [index] * len(own)
        cells += cell.tolist()
        wanted.append(own)
    at = torch.tensor(cells)
    positive = raw[torch.tensor(batch), at]
    corner = torch.stack((at % CELLS, at // CELLS), 1)
    centre = (positive[:, :2] + corner) * STRIDE
    half = positive[:, 2:4].clamp(max=4).exp() * STRIDE / 2
    decoded = torch.cat((centre - half, centre + half), 1)
    target = torch.tensor(np.concatenate(wanted)).float()
    found = ops.sigmoid_focal_loss(raw[..., 4], truth[..., 0], reduction="sum")
    named = ops.sigmoid_focal_loss(
        positive[:, 5:], truth[torch.tensor(batch), at, 1:], alpha=-1.0, reduction="sum"
    )
    placed = ops.ciou_loss(decoded, target, reduction="sum")
    return (4 * found + named + 2 * placed) / len(at)


def train(steps: int, rng: np.random.Generator) -> Network:
    """A network that has seen `steps` batches of new pictures."""
    network = Network()
    rate, batch = 4e-3, 8
    optimiser = torch.optim.AdamW(network.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    for step in range(steps):
        pictures, boxes, labels = zip(*(scene(rng) for _ in range(batch)), strict=True)
        value = loss(network(tensor(list(pictures))), list(boxes), list(labels))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1} of {steps}: loss {value.item():.3f}")
    return network.eval()


def main() -> None:
    """Train and write, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, required=True, help="folder; created if it is missing")
    parser.add_argument(
        "--steps", type=int, default=600, help="steps of training, on 8 pictures each"
    )
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.steps < 1:
        parser.error("--steps: must be at least 1")
    torch.manual_seed(given.seed)
    torch.set_num_threads(1)  # on layers this small, threads wait for each other
    rng = np.random.default_rng(given.seed)
    truth = photos(given.out / "photos", 48, rng)
    photos(given.out / "calibration", 32, rng)
    (given.out / "gt.json").write_text(json.dumps(truth), encoding="utf-8")
    (given.out / "detector.toml").write_text(DESCRIPTION, encoding="utf-8")
    detector = Detector(train(given.steps, rng)).eval()
    logging.disable(logging.WARNING)  # the exporter misses torchvision, which is not needed,
    warnings.simplefilter("ignore", FutureWarning)  # and torch its own future
    program = torch.onnx.export(
        detector,
        (torch.zeros(1, 3, SIDE, SIDE),),
        input_names=["images"],
        output_names=["output"],
        opset_version=20,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.save(given.out / "detector.onnx", external_data=False)
    print(f"{given.out}: detector.onnx, detector.toml, photos, calibration and gt.json")


if __name__ == "__main__":
    main()
