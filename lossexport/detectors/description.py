"""Descriptions of detectors: TOML files, completed by what is found in the graph."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from lossexport import arguments
from lossexport.boxes.boxset import Category, Input
from lossexport.detectors import LAYOUTS
from lossexport.detectors.graph import MAX_NAMES
from lossexport.detectors.layout import Found, Keys, Layout, Section, Size
from lossexport.detectors.picture import Picture
from lossexport.detectors.tensors import Outputs
from lossexport.errors import LossexportError, one_line, within
from lossexport.files import file_or_shipped, is_file, read_bytes, sha256

AUTO = "auto"
"""The description of a detector whose layout is found."""
MAX_DESCRIPTION_BYTES = 1 << 20

Part = Annotated[float, Meta(ge=0, le=1)]


def check_nms_iou(value: object) -> float:
    """`value` as the IoU of a NMS. Raises LossexportError unless it is from 0 to 1."""
    iou = arguments.number("nms_iou", value)
    if not 0 <= iou <= 1:
        raise arguments.refuse("nms_iou", value, "a number from 0 to 1")
    return iou


class Limits(Section, frozen=True):
    """`[limits]`: the least score, the IoU above which NMS drops a box, the most boxes per image.

    NMS is applied within each category. There is none without `nms_iou`, for graphs that do it.
    """

    score: Part = 0.001
    nms_iou: Part | None = None
    boxes: Annotated[int, Meta(ge=1, le=1000)] = 100


class Categories(Section, frozen=True):
    """`[categories]`: names and ids in the order of the class scores; ids default to 0, 1, 2..."""

    names: Annotated[list[str], Meta(min_length=1, max_length=MAX_NAMES)]
    ids: list[Annotated[int, Meta(ge=0, le=2**63 - 1)]] | None = None

    def __post_init__(self) -> None:
        """Refuse ids unless there is exactly one for each name."""
        if self.ids is not None and (
            len(self.ids) != len(self.names) or len(set(self.ids)) != len(self.ids)
        ):
            raise ValueError("ids must be distinct and as many as names")


class _File(Section, frozen=True):
    """A whole description; the keys of `[output]` depend on its kind."""

    input: Picture
    output: dict[str, Any]
    categories: Categories
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Description:
    """The input of a detector, the layout of its outputs, its categories and limits."""

    input: Picture
    layout: Layout
    output: Keys
    categories: Categories
    limits: Limits

    def kinds(self) -> list[Category]:
        """The categories, in the order of the class scores."""
        names = self.categories.names
        ids: list[int] = self.categories.ids or list(range(len(names)))
        return [Category(value, name) for value, name in zip(ids, names, strict=True)]

    def find(self, outputs: Outputs, size: Size, classes: int) -> Found:
        """Boxes at or above the least score, in pixels of the input tensor, before any NMS.

        `size` is the width and height of that tensor. Raises ValueError on outputs that do not
        fit; the message names one of them.
        """
        return self.layout.find(self.output, outputs, size, classes, self.limits.score)


@dataclass(frozen=True, slots=True)
class Stated:
    """What a description says, before the rest is found: its sections, and its file if any."""

    where: str
    sections: Mapping[str, Any]
    file: Input | None

    def section(self, name: str) -> dict[str, Any]:
        """A copy of a section; empty if it is missing, or no table, which `build` refuses."""
        value = self.sections.get(name)
        return dict(value) if isinstance(value, dict) else {}

    def limited(self, nms_iou: float) -> "Stated":
        """The same with another `nms_iou`."""
        limits = self.section("limits") | {"nms_iou": nms_iou}
        return replace(self, sections={**self.sections, "limits": limits})


def read(path: Path) -> Stated:
    """What a description says: a file, the name of a shipped one, of a layout, or `auto`."""
    given = file_or_shipped(path, "models/detectors")
    if not is_file(given):
        if str(given) == AUTO:
            return Stated(AUTO, {}, None)
        if str(given) in LAYOUTS.names():
            return Stated(str(given), {"output": {"kind": str(given)}}, None)
    data = read_bytes(given, MAX_DESCRIPTION_BYTES)
    with within(given):
        try:
            sections = msgspec.toml.decode(data)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise LossexportError(one_line(error)) from error
    return Stated(str(given), sections, Input(given.name, sha256(data)))


def build(stated: Stated, found: Mapping[str, Any] | None = None) -> Description:
    """The description of what is stated, with `found` in place of sections.

    Raises LossexportError, naming the file and the field, on anything missing or wrong.
    """
    with within(stated.where):
        try:
            file = msgspec.convert({**stated.sections, **(found or {})}, _File)
        except (ValueError, RecursionError) as error:
            raise LossexportError(one_line(error)) from error
        output = dict(file.output)
        with within("[output]"):
            layout = LAYOUTS.find(output.pop("kind", None))
            try:
                keys = msgspec.convert(output, layout.keys)
            except ValueError as error:
                raise LossexportError(one_line(error)) from error
    return Description(file.input, layout, keys, file.categories, file.limits)


def describe(path: Path) -> tuple[Description, Input]:
    """Read a whole description; a bare name means a shipped one. Errors name the field."""
    stated = read(path)
    if stated.file is None:
        raise LossexportError(f"{stated.where}: a description is expected, a TOML file")
    return build(stated), stated.file
