"""Quantise a detector to int8 with onnxruntime, calibrated on a folder of images.

Convolutions alone, in QDQ form, with a scale a channel, MinMax ranges and weights of 7 bits, so
that CPUs without VNNI give the same numbers as those with it. `--float-first` and `--float-last`
keep convolutions in float: the first ones of the graph, and those between which and the outputs
there is no other.
"""

import argparse
import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import version_converter
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from PIL import Image

from lossexport.detectors.detector import describe
from lossexport.errors import LossexportError

IMAGES = (".jpg", ".jpeg", ".png")


class Images(CalibrationDataReader):  # type: ignore[misc]
    """The images of a folder as the tensor that the detector's description says."""

    def __init__(self, folder: Path, description: Path) -> None:
        given = describe(description)[0].input
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES)
        if not paths:
            raise LossexportError(f"{folder}: no {', '.join(IMAGES)} files")

        def tensors() -> Iterator[dict[str, Any]]:
            for path in paths:
                image = np.asarray(Image.open(path).convert("RGB"))
                yield {given.tensor: given.prepare(image)[0]}

        self.left = tensors()

    def get_next(self) -> dict[str, Any] | None:
        """The next tensor by name, None at the end."""
        return next(self.left, None)


def last_convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of those between which and the outputs there is no other."""
    makers = {name: node for node in model.graph.node for name in node.output}
    waiting = [info.name for info in model.graph.output]
    found = set()
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.op_type == "Conv":
            found.add(node.name)
        elif node is not None:
            waiting += node.input
    return sorted(found)


def quantize(path: Path, out: Path, images: Images, first: int, last: bool) -> tuple[int, int]:
    """Write the int8 detector; returns how many convolutions it has in int8 and in all."""
    model = onnx.load(path)
    if model.opset_import[0].version < 13:  # before it, no scale a channel
        model.ir_version = 8
        model = version_converter.convert_version(model, 13)
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    kept = {*convolutions[:first], *(last_convolutions(model) if last else ())}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        onnx.save(model, f"{folder}/float.onnx")
        quantize_static(
            f"{folder}/float.onnx",
            out,
            images,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=sorted(kept),
        )
    return len(convolutions) - len(kept), len(convolutions)


def main() -> None:
    """Quantise, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("detector", type=Path, help=".onnx file")
    parser.add_argument("--detector", type=Path, required=True, dest="description", metavar="TOML")
    parser.add_argument("--images", type=Path, required=True, help="folder to calibrate on")
    parser.add_argument("--float-first", type=int, default=0, metavar="N")
    parser.add_argument("--float-last", action="store_true")
    parser.add_argument("--out", type=Path, required=True, help=".onnx file")
    given = parser.parse_args()
    try:
        images = Images(given.images, given.description)
    except (LossexportError, OSError) as error:
        parser.error(str(error))
    logging.disable(logging.WARNING)  # it recommends a preprocessing that changes nothing here
    done = quantize(given.detector, given.out, images, given.float_first, given.float_last)
    print(f"{given.out}: {done[0]} of {done[1]} convolutions in int8")


if __name__ == "__main__":
    main()
