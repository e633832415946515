"""Runs an .onnx detector on images, with resizing and NMS in numpy."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import msgspec
import numpy as np

from lossexport.boxes.boxset import Bool, Category, Float64, Input, Int64, UInt8
from lossexport.boxes.oriented import overlap, rows_of, sides
from lossexport.detectors.auto import Completed, complete
from lossexport.detectors.description import AUTO, Description, describe, read
from lossexport.detectors.graph import MAX_NAMES, Graph, shown, written
from lossexport.detectors.layout import Found
from lossexport.detectors.picture import Extra, Prepared, resized
from lossexport.detectors.tensors import Array, Outputs, shape_of
from lossexport.errors import LossexportError, one_line, within
from lossexport.files import sha256
from lossexport.origin import install_command
from lossexport.runtime.backends import read_source
from lossexport.runtime.ort import open_session
from lossexport.runtime.session import Source, TensorInfo

__all__ = ["Description", "Detector", "describe", "resized", "select"]

MAX_MODEL_BYTES = 1 << 30
MAX_CANDIDATES = 20_000
"""Boxes of an image that go into NMS, the best by score."""

_DTYPES = ("float32", "float16", "float64", "uint8")
_EXTRA: dict[str, Extra] = {
    "orig_target_sizes": ["width", "height"],
    "im_shape": ["height", "width"],
    "scale_factor": [1, 1],
    "pixel_mask": 1,
}
"""The values of second inputs that are known by name. Boxes are then in pixels of the tensor."""
_GREY, _PROBED = 114, 320


class Detector:
    """A detector that is loaded and fits its description.

    `kinds` are its categories by label; `named` tells whether these have names. `input` and
    `description_input` have the names and hashes of the files; the latter is None without a file.
    `batch` images are run at once. `free_batch` tells whether the batch is a free dimension; it
    then runs with 1. `why` says what was found and not described.
    """

    def __init__(
        self,
        path: Path,
        description: Path = Path(AUTO),
        like: "Detector | None" = None,
        nms_iou: float | None = None,
    ) -> None:
        """Raises LossexportError if the tensors of `path` are not those of the description.

        What the description does not say is found in the graph. Where the graph says nothing about
        the images that it takes, they are fed as to the detector `like`. `nms_iou` replaces that of
        the limits.
        """
        self.path = path
        stated = read(description)
        if nms_iou is not None:
            stated = stated.limited(nms_iou)
        self.description_input = stated.file
        source = read_source(path, MAX_MODEL_BYTES)
        self._session = open_session(source, "ort", "cpu")
        self.input = Input(path.name, sha256(source.data))
        given = stated.section("input")
        with within(path):
            self.graph = Graph(
                self._session.inputs,
                self._session.outputs,
                self._session.metadata,
                self._probe,
                tensor=given.get("tensor"),
                size=(given.get("width"), given.get("height")),
            )
        other = None if like is None else like.completed
        self.completed: Completed = complete(path, stated, self.graph, other)
        self.description = self.completed.description
        self.kinds = self.description.kinds()
        self.why = self.completed.why
        self.free_batch = self.graph.image.batch is None
        self.batch = self.graph.image.batch or 1
        self._check_inputs()
        self._add_expressions()

    @property
    def named(self) -> bool:
        """Whether the categories have names and not only numbers."""
        return self.completed.named

    def give_oriented(self, path: Path) -> None:
        """Give the turned boxes themselves, as the references of `path` are.

        Raises LossexportError if the head has no angle.
        """
        keys = self.description.output
        if not getattr(keys, "angle", False):
            self._fail(f"gives no angle, and the boxes of {path} are oriented")
        turned = msgspec.structs.replace(keys, oriented=True)
        self.description = replace(self.description, output=turned)

    def _check_inputs(self) -> None:
        """Compare the inputs with the description."""
        given, image = self.description.input, self.graph.image
        for has, want in ((image.width, given.width), (image.height, given.height)):
            if has is not None and want is not None and has != want:
                batch, sides = self.batch, f"{given.height},{given.width}"
                wanted = f"[{batch},{sides},3]" if image.last else f"[{batch},3,{sides}]"
                shape = written(self._info(image.name).shape)
                self._fail(f"input {image.name!r} has shape {shape}, expected is {wanted}")
        if image.dtype not in _DTYPES:
            self._fail(f"input {image.name!r} is {image.dtype}, not {', '.join(_DTYPES)}")
        fixed = [side for side in (image.width, image.height) if side is not None]
        if fixed and (given.resize == "none" or given.stride):
            self._fail(
                f'input {shown(self._info(image.name))} has a fixed size: resize = "none" and '
                "stride are for open sizes"
            )
        for info in self._others():
            if info.name not in given.extra and info.name not in _EXTRA:
                self._fail(
                    f"takes {shown(info)} beside the image: a description says what it gets, as "
                    f'[input] with extra = {{ {info.name} = ["width", "height"] }}'
                )

    def run_batches(self, size: int) -> None:
        """Run `size` images at once if the batch is free and each output has one of that size."""
        if not self.free_batch or size == 1 or self.description.input.resize == "none":
            return
        wide, high = self.graph.size
        tensor = np.zeros((size, 3, high or 1, wide or 1), np.float32)
        try:
            outputs = self._run(tensor, self.description.input.extra)
        except LossexportError:  # a graph whose shapes are only said to be free
            return
        if all(outputs[name].shape[:1] == (size,) for name in self.description.output.names()):
            self.batch = size

    def _add_expressions(self) -> None:
        """Load the graph with outputs for the expressions that the description names."""
        outputs = [info.name for info in self._session.outputs]
        wanted = [name for name in self.description.output.names() if name not in outputs]
        if not wanted:
            return
        if plain := next((name for name in wanted if name.isidentifier()), None):
            self._fail(f"no output {plain!r}, the outputs are {', '.join(outputs)}")
        try:
            from lossexport.wiring.outputs import with_outputs
        except ImportError as error:
            self._fail(
                f"no output {wanted[0]!r}, the outputs are {', '.join(outputs)}; an expression "
                f"over them needs the toolchain ({error}): {install_command('toolchain')}"
            )
        data = with_outputs(self.path, wanted)
        self._session = open_session(Source(self.path, data, None), "ort", "cpu")

    def _info(self, name: str) -> TensorInfo:
        return next(info for info in self._session.inputs if info.name == name)

    def _others(self) -> list[TensorInfo]:
        return [info for info in self._session.inputs if info.name != self.graph.image.name]

    def __call__(self, image: UInt8) -> Found:
        """The boxes of an RGB image [h,w,3] in its pixels, clipped to it, by falling score."""
        return self.detect([image])[0]

    def detect(self, images: Sequence[UInt8]) -> list[Found]:
        """The same for at most `batch` images; a batch that is fixed is filled with the last."""
        given = self.description.input
        try:
            prepared = [given.prepare(image) for image in images]
        except ValueError as error:
            self._fail(one_line(error))
        rows = [p.tensor for p in prepared]
        rows += rows[-1:] * (self.batch - len(rows))
        outputs = self._run(np.concatenate(rows), given.extra)
        return [
            self._boxes(image, ready, self._of(outputs, position))
            for position, (image, ready) in enumerate(zip(images, prepared, strict=True))
        ]

    def _run(self, tensor: Array, extra: dict[str, Extra]) -> Outputs:
        """The outputs for a tensor [B,3,height,width]."""
        image = self.graph.image
        sides = {"width": tensor.shape[3], "height": tensor.shape[2]}
        feeds: dict[str, Array] = {
            info.name: _value(extra.get(info.name, _EXTRA.get(info.name, 1)), info, tensor, sides)
            for info in self._others()
        }
        turned = tensor.transpose(0, 2, 3, 1) if image.last else tensor
        feeds[image.name] = turned.astype(image.dtype)
        return self._session(**feeds)

    def _probe(self, graph: Graph) -> Outputs:
        """The outputs on a grey image."""
        wide, high = (side or _PROBED for side in graph.size)
        grey = _GREY if graph.image.dtype == "uint8" else _GREY / 255
        tensor = np.full((graph.image.batch or 1, 3, high, wide), grey, np.float32)
        try:
            return self._run(tensor, {})
        except LossexportError as error:
            text = str(error).removeprefix(f"{self.path}: ")
            raise LossexportError(f"fails on a grey image of {wide} x {high}: {text}") from error

    def _of(self, outputs: Outputs, position: int) -> Outputs:
        """The outputs of one image of the batch, as those of a batch of 1."""
        if self.batch == 1:
            return outputs
        for name in self.description.output.names():
            if outputs[name].shape[:1] != (self.batch,):
                self._fail(
                    f"output {name!r} has shape {shape_of(outputs[name])}, and the input a batch "
                    f"of {self.batch}: the batch must be its first dimension"
                )
        return {name: array[position : position + 1] for name, array in outputs.items()}

    def _boxes(self, image: UInt8, ready: Prepared, outputs: Outputs) -> Found:
        limits, size = self.description.limits, ready.tensor.shape[:1:-1]
        try:
            found = self.description.find(outputs, size, len(self.kinds))
        except ValueError as error:
            self._fail(one_line(error))
        self.count(found.label)
        kinds = len(self.kinds)
        if len(found.label) and not 0 <= found.label.min() <= found.label.max() < kinds:
            wrong = found.label[(found.label < 0) | (found.label >= kinds)][0]
            self._fail(f"a box has label {wrong}, there are {kinds} categories")
        if np.isnan(found.box).any():
            self._fail("a box has a coordinate that is NaN")
        high, wide = image.shape[:2]
        if found.box.shape[1] == 5:
            return self._oriented(found, ready, (wide, high))
        box = (found.box - np.tile(ready.shift, 2)) / np.tile(ready.scale, 2)
        box = np.clip(box, 0, [wide, high, wide, high])
        found = Found(box, found.score, found.label)
        # A box outside of the image is clipped to one without area, which nothing could match.
        found = found.take(np.all(box[:, 2:] > box[:, :2], axis=1))
        return found.take(select(found, limits.nms_iou, limits.boxes))

    def _oriented(self, found: Found, ready: Prepared, size: tuple[int, int]) -> Found:
        """The oriented boxes in pixels of the image, not clipped; those outside of it left out."""
        scale = ready.scale
        if scale[0] != scale[1]:
            self._fail("stretches images, in which turned boxes are no rectangles: use letterbox")
        own = np.concatenate([found.box[:, :2] - ready.shift, found.box[:, 2:4]], axis=1) / scale[0]
        angle = np.remainder(found.box[:, 4:], 2 * np.pi)
        found = Found(np.concatenate([own, angle], axis=1), found.score, found.label)
        box = rows_of(found.box)
        low, high = box[:, :2], box[:, :2] + box[:, 2:4]
        found = found.take(np.all((low < size) & (high > 0) & (sides(box) > 0), axis=1))
        limits = self.description.limits
        return found.take(select(found, limits.nms_iou, limits.boxes))

    def count(self, label: Int64) -> None:
        """Add the categories of labels that are seen for the first time, where they are open."""
        if not self.completed.open:
            return
        for number in range(len(self.kinds), min(int(label.max(initial=-1)) + 1, MAX_NAMES)):
            value = number + int(str(self.kinds[0].id))
            self.kinds.append(Category(value, str(value)))

    def _fail(self, message: str) -> NoReturn:
        raise LossexportError(f"{self.path}: {message}")


def _value(given: Extra, info: TensorInfo, tensor: Array, sides: dict[str, int]) -> Array:
    """The value of a second input for a batch of images."""
    batch = len(tensor)
    if isinstance(given, list):
        row = np.array([sides[v] if isinstance(v, str) else v for v in given])
        value = row if len(info.shape) == 1 else np.tile(row, (batch, 1))
        return value.astype(info.dtype)
    open_sizes = (batch, *tensor.shape[2:], *[1] * len(info.shape))
    shape = [
        dim if isinstance(dim, int) else size
        for dim, size in zip(info.shape, open_sizes, strict=False)
    ]
    return np.full(shape, given, info.dtype)


def select(found: Found, iou: float | None, most: int) -> Int64:
    """Greedy NMS: the positions of at most `most` boxes, by falling score.

    A box is dropped if its IoU with a better one of its category is above `iou`. If `iou` is None,
    no box is dropped.
    """
    order = np.argsort(-found.score, kind="stable")[:MAX_CANDIDATES]
    if iou is None:
        return order[:most]
    above = _turned_above(found.box, iou) if found.box.shape[1] == 5 else _above(found.box, iou)
    kept: list[int] = []
    while len(order) and len(kept) < most:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        order = rest[~above(best, rest) | (found.label[rest] != found.label[best])]
    return np.array(kept, np.int64)


Above = Callable[[Int64, Int64], Bool]
"""Whether the IoU of a box with each of some others [n] is above a limit."""


def _above(box: Float64, iou: float) -> Above:
    x0, y0, x1, y1 = box.T
    area = (x1 - x0) * (y1 - y0)

    def above(best: Int64, rest: Int64) -> Bool:
        wide = np.minimum(x1[rest], x1[best]) - np.maximum(x0[rest], x0[best])
        high = np.minimum(y1[rest], y1[best]) - np.maximum(y0[rest], y0[best])
        inside = np.maximum(wide, 0) * np.maximum(high, 0)
        found: Bool = inside > iou * (area[rest] + area[best] - inside)
        return found

    return above


def _turned_above(box: Float64, iou: float) -> Above:
    rows = rows_of(box)

    def above(best: Int64, rest: Int64) -> Bool:
        one = np.broadcast_to(rows[best], (len(rest), rows.shape[1]))
        return overlap(one, rows[rest], np.zeros(len(rest), np.bool_)) > iou

    return above
