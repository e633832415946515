"""The files that `attach` writes: the graph, and the engine that is built from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from lossexport import arguments
from lossexport.catalog.variant import Range
from lossexport.errors import LossexportError, shown
from lossexport.exporter import engine, rtx
from lossexport.files import appear_together
from lossexport.names import Builder

SUFFIX = ".engine"
Shapes = dict[str, tuple[int | str, ...]]
"""Shapes by input; an open dimension has a name."""


@dataclass(frozen=True, slots=True)
class Build:
    """An engine to build, for inputs whose open dimensions have sizes in `ranges`."""

    builder: Builder
    ranges: Mapping[str, Range]
    compute_capabilities: tuple[str, ...]

    @classmethod
    def of(
        cls,
        out: Path,
        build: bool,
        builder: Builder,
        shapes: Mapping[str, str | int] | None,
        compute_capabilities: Sequence[str],
    ) -> "Build | None":
        """What is asked for, None without `build`. Raises LossexportError if that cannot be."""
        if not build:
            if shapes or compute_capabilities:
                raise LossexportError("shapes and compute capabilities are for an engine: --build")
            return None
        if out.suffix == SUFFIX:
            raise LossexportError(f"{out}: is the name of the engine; --out names the graph, .onnx")
        engine.module(builder)
        given = arguments.mapping("shapes", shapes)
        ranges = {name: Range.parse(name, text) for name, text in given.items()}
        return cls(builder, ranges, tuple(arguments.several("capabilities", compute_capabilities)))

    def shapes(self, path: Path, inputs: Sequence[ir.Value]) -> Shapes:
        """The shapes of the inputs of a graph, each open dimension with its name.

        One without a name is called after its input and axis, as `images.2`. Raises LossexportError
        unless each of them has a range, and no other has.
        """
        found: Shapes = {}
        for value in inputs:
            found[str(value.name)] = tuple(
                dim if isinstance(dim, int) else dim.value or f"{value.name}.{axis}"
                for axis, dim in enumerate(value.shape or ())
            )
        open_dims = {dim for shape in found.values() for dim in shape if isinstance(dim, str)}
        for name, shape in found.items():
            for dim in shape:
                if isinstance(dim, str) and dim not in self.ranges:
                    written = f"{name}[{','.join(map(str, shape))}]"
                    raise LossexportError(
                        f"{path}: input {written} is open in {dim}: an engine needs its range, "
                        f"--shape {dim}=MIN:OPT:MAX"
                    )
        for name in self.ranges:
            if name not in open_dims:
                listed = ", ".join(sorted(open_dims)) or "none"
                raise LossexportError(
                    f"{path}: no input is open in {shown(name)}; open dimensions: {listed}"
                )
        return found

    def write(self, out: Path, model: bytes, shapes: Shapes, parsed: rtx.Parsed) -> None:
        """Build the engine and write both files, or none."""
        try:
            if self.builder == "rtx" and parsed.status == "refused":
                raise LossexportError(parsed.notes[0])
            data = engine.build(model, shapes, self.ranges, self.builder, self.compute_capabilities)
        except LossexportError as error:
            raise LossexportError(f"{out}: no engine, nothing was written: {error}") from error
        with appear_together(out.parent) as stage:
            (stage / out.name).write_bytes(model)
            (stage / out.with_suffix(SUFFIX).name).write_bytes(data)
