"""Recipes: a declared set of ops with attributes, shapes, precisions and formats, in TOML."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec

from lossexport import files
from lossexport.errors import LossexportError
from lossexport.names import OPSETS, FileFormat, Precision

MAX_RECIPE_BYTES = 2**20
Opset = Annotated[int, msgspec.Meta(ge=OPSETS[0], le=OPSETS[-1])]
Names = Annotated[list[str], msgspec.Meta(min_length=1, max_length=256)]


class Settings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Settings at the top of a recipe, for all of its ops, or in a group of ops."""

    formats: list[FileFormat] | None = None
    precisions: list[Precision] | None = None
    opset: Opset | None = None
    gradient: bool | None = None
    attributes: dict[str, Any] = {}
    shapes: dict[str, str | int] = {}

    def over(self, base: "Settings") -> "Settings":
        """These settings, filled in from `base` where they are not given."""
        return Settings(
            formats=base.formats if self.formats is None else self.formats,
            opset=base.opset if self.opset is None else self.opset,
            precisions=base.precisions if self.precisions is None else self.precisions,
            gradient=base.gradient if self.gradient is None else self.gradient,
            attributes=base.attributes | self.attributes,
            shapes=base.shapes | self.shapes,
        )


class Group(Settings, forbid_unknown_fields=True, kw_only=True):
    """A group of ops that share settings."""

    ops: Names


class Recipe(Settings, forbid_unknown_fields=True, kw_only=True):
    """The contents of a recipe file."""

    name: str
    summary: str = ""
    group: Annotated[list[Group], msgspec.Meta(min_length=1, max_length=256)]

    def settings(self) -> Iterator[tuple[str, Settings]]:
        """Every op by name, with its settings."""
        for group in self.group:
            for op in group.ops:
                yield op, group.over(self)


def load(path: Path) -> Recipe:
    """Read a recipe; a bare name means a shipped one. Raises LossexportError naming the field."""
    path = files.file_or_shipped(path, "models")
    data = files.read_bytes(path, MAX_RECIPE_BYTES)
    try:
        return msgspec.toml.decode(data, type=Recipe)
    except (msgspec.ValidationError, msgspec.DecodeError, ValueError, RecursionError) as error:
        raise LossexportError(f"{path}: {' '.join(str(error).split())}") from error
