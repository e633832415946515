"""Exports detectors of other packages, with random weights, by those packages' own means.

    python examples/other_detectors.py yolo11n out      # or yolo26n, rt_detr, yolos

`yolo11n` and `yolo26n` need `ultralytics`, and `rt_detr` and `yolos` need `transformers`. Nothing
is downloaded. The folder `out` then has NAME.onnx.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def ultralytics(name: str, path: Path) -> None:
    """A YOLO as Ultralytics exports it: 80 classes, 160 x 160."""
    settings = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    os.environ.update(settings, YOLO_CONFIG_DIR=str(path.parent))
    from ultralytics import YOLO

    os.chdir(path.parent)
    YOLO(f"{name}.yaml").export(format="onnx", imgsz=160, opset=17, simplify=False)


class Outputs(torch.nn.Module):
    """A detector of transformers whose outputs are a tuple."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.eval()

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits, and boxes of centre and size in parts of the image."""
        found = self.model(pixel_values)
        return found.logits, found.pred_boxes


def transformers(model: Any, path: Path) -> None:
    """A small DETR of 80 classes as torch exports it: 128 x 128."""
    torch.onnx.export(
        Outputs(model),
        (torch.rand(1, 3, 128, 128),),
        path,
        input_names=["pixel_values"],
        output_names=["logits", "pred_boxes"],
        opset_version=18,
        external_data=False,
        verbose=False,
    )


def rt_detr(name: str, path: Path) -> None:
    """RT-DETR with a sigmoid for each class."""
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

    channels = [16, 24, 32, 40]
    backbone = RTDetrResNetConfig(
        embedding_size=channels[0],
        hidden_sizes=channels,
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        num_labels=80,
        num_queries=30,
        anchor_image_size=None,
        encoder_in_channels=channels[1:],
        decoder_in_channels=[32, 32, 32],
        encoder_hidden_dim=32,
        d_model=32,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
    )
    transformers(RTDetrForObjectDetection(config), path)


def yolos(name: str, path: Path) -> None:
    """YOLOS with a softmax over the classes and no object."""
    from transformers import YolosConfig, YolosForObjectDetection

    config = YolosConfig(
        num_labels=80,
        image_size=[128, 128],
        num_detection_tokens=20,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
    )
    transformers(YolosForObjectDetection(config), path)


DETECTORS: dict[str, Callable[[str, Path], None]] = {
    "yolo11n": ultralytics,
    "yolo26n": ultralytics,
    "rt_detr": rt_detr,
    "yolos": yolos,
}

if __name__ == "__main__":
    chosen, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    DETECTORS[chosen](chosen, folder / f"{chosen}.onnx")
