"""The facts about a detector's graph from which a layout is found: tensors, sizes, metadata."""

import ast
import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lossexport.detectors.tensors import Outputs
from lossexport.errors import LossexportError
from lossexport.runtime.session import TensorInfo

Dims = tuple[str | int, ...]

MAX_NAMES = 10_000
MAX_SIDE = 8192
MAX_METADATA = 1 << 20
"""Characters of a metadata value that is read."""
STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))
"""Sets of strides whose cells make up the rows of an output."""
KNOWN_COUNTS = (20, 80, 365)
"""Categories of VOC, COCO and Objects365, whose number tells a layout where names are missing."""


@dataclass(frozen=True, slots=True)
class ImageInput:
    """The input for images: its name, dtype and sizes, None where they are open.

    `last` tells whether the channels are the last axis.
    """

    name: str
    dtype: str
    batch: int | None
    height: int | None
    width: int | None
    last: bool


class Graph:
    """The inputs, outputs and metadata of a detector.

    `size` is the width and height of the image tensor: those of the input, else those of the
    metadata, else None. `probe` gives the outputs on a grey image; shapes that the file leaves open
    are taken from it.
    """

    def __init__(
        self,
        inputs: Sequence[TensorInfo],
        outputs: Sequence[TensorInfo],
        metadata: Mapping[str, str],
        run: Callable[["Graph"], Outputs],
        *,
        tensor: object = None,
        size: tuple[object, object] = (None, None),
    ) -> None:
        """`run` runs the graph on a grey image.

        `tensor` names the input for images, and `size` is its width and height, where a description
        states them. Raises LossexportError without an image input.
        """
        self.inputs = tuple(inputs)
        self._outputs = tuple(outputs)
        self.metadata = metadata
        self._run = run
        self.image = image_input(self.inputs, tensor)
        self.names = names_of(metadata.get("names", "")) or lines_of(metadata.get("character", ""))
        self.task = metadata.get("task", "")
        self.points = math.prod(_pair(metadata.get("kpt_shape", "")))
        high, wide = (side or None for side in _pair(metadata.get("imgsz", "")))
        width, height = (side if type(side) is int and 1 <= side <= MAX_SIDE else None
                         for side in size)  # fmt: skip
        self.size = (self.image.width or width or wide, self.image.height or height or high)

    @property
    def documented(self) -> bool:
        """Whether the metadata are those that Ultralytics' exporter writes."""
        return self.names is not None and bool(
            {"stride", "imgsz", "task"} & {key for key, value in self.metadata.items() if value}
        )

    @cached_property
    def probe(self) -> Outputs:
        """The outputs on a grey image."""
        return self._run(self)

    @cached_property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """The outputs with fixed dimensions."""
        if all(isinstance(dim, int) for info in self._outputs for dim in info.shape):
            return self._outputs
        return tuple(
            TensorInfo(info.name, info.dtype, self.probe[info.name].shape) for info in self._outputs
        )

    def floats(self, rank: int) -> list[TensorInfo]:
        """The outputs of `rank` dimensions whose values are floats."""
        return [
            info
            for info in self.outputs
            if len(info.shape) == rank and info.dtype in ("float16", "float32", "float64")
        ]

    def anchors(self) -> dict[int, tuple[int, tuple[int, ...]]]:
        """The numbers of rows that a head of grids has: boxes per cell (1 or 3) and strides."""
        wide, high = self.size
        if wide is None or high is None:
            return {}
        found: dict[int, tuple[int, tuple[int, ...]]] = {}
        for boxes in (1, 3):
            for strides in STRIDES:
                cells = sum(-(-wide // stride) * -(-high // stride) for stride in strides)
                found.setdefault(boxes * cells, (boxes, strides))
        return found

    def usual(self, classes: int) -> bool:
        """Whether there are as many names as classes or, without names, a usual number of them."""
        return classes in (KNOWN_COUNTS if self.names is None else (len(self.names),))

    def shown(self) -> str:
        """The outputs with types and shapes, for messages."""
        return ", ".join(map(shown, self._outputs))


def shown(info: TensorInfo) -> str:
    """A tensor for messages, such as `boxes float32[1,300,4]`."""
    return f"{info.name!r} {info.dtype}{written(info.shape)}"


def written(shape: Dims) -> str:
    """A shape for messages."""
    return f"[{','.join(map(str, shape))}]"


def image_input(inputs: Sequence[TensorInfo], name: object = None) -> ImageInput:
    """The only input of four dimensions of which one is the three channels, or that of a name.

    Raises LossexportError if there is none, or more than one.
    """
    if name is not None and name not in [info.name for info in inputs]:
        names = ", ".join(info.name for info in inputs)
        raise LossexportError(f"no input {name!r}, the inputs are {names}")
    found = [
        info
        for info in inputs
        if name in (None, info.name) and len(info.shape) == 4 and _channels(info.shape) is not None
    ]
    if len(found) != 1:
        raise LossexportError(
            f"{'no' if not found else 'more than one'} input is an image, [B,3,height,width] or "
            f"[B,height,width,3]; the inputs are {', '.join(map(shown, inputs))}"
            + ("; [input] of a description names one as its tensor" if found else "")
        )
    (info,) = found
    last = _channels(info.shape) == 3
    sizes = [dim if isinstance(dim, int) else None for dim in info.shape]
    high, wide = sizes[1:3] if last else sizes[2:]
    return ImageInput(info.name, info.dtype, sizes[0], high, wide, last)


def _channels(shape: Dims) -> int | None:
    if shape[1] == 3:
        return 1
    if shape[3] == 3:
        return 3
    return 1 if isinstance(shape[1], str) else None


def names_of(text: str) -> list[str] | None:
    """The names of the metadata entry `names`: a list, or a dictionary by number; None if bad."""
    value = _literal(text)
    if isinstance(value, dict):
        try:
            value = {int(key): name for key, name in value.items()}
        except (TypeError, ValueError):
            return None
        if sorted(value) != list(range(len(value))):
            return None
        value = [value[key] for key in range(len(value))]
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MAX_NAMES:
        return None
    return [str(name) for name in value] if all(isinstance(n, str) for n in value) else None


def lines_of(text: str) -> list[str] | None:
    """The names of the metadata entry `character`, a line for each; None if there are none."""
    names = text.split("\n") if text and len(text) <= MAX_METADATA else []
    return names if 1 <= len(names) <= MAX_NAMES and all(names) else None


def _pair(text: str) -> tuple[int, int]:
    """Two numbers of a metadata entry, or one that stands for both; zeros for anything else."""
    value = _literal(text)
    sides = [value, value] if isinstance(value, int) else value
    if not isinstance(sides, list | tuple) or len(sides) != 2:
        return 0, 0
    if not all(type(side) is int and 1 <= side <= MAX_SIDE for side in sides):
        return 0, 0
    return sides[0], sides[1]


def _literal(text: str) -> Any:
    """A literal of Python or of JSON; None for anything else."""
    if not text or len(text) > MAX_METADATA:
        return None
    try:
        with warnings.catch_warnings():  # for example about escapes
            warnings.simplefilter("ignore")
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        pass
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
