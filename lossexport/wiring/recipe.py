"""Recipes of `attach`: whole chains of expressions and ops behind a detector, in TOML."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

import msgspec
import numpy as np
from msgspec import Meta, Struct

from lossexport.detectors import LAYOUTS
from lossexport.detectors.detector import Detector
from lossexport.detectors.layout import Name, Names
from lossexport.errors import LossexportError, one_line, within
from lossexport.files import file_or_shipped, is_file, read_bytes, shipped_files
from lossexport.names import BoxFormat
from lossexport.wiring.expression import MAX_LENGTH, Compiler, Value
from lossexport.wiring.graph import Term, WiringError

FOLDER = "models/attach"
MAX_RECIPE_BYTES = 2**20
AUTO = "auto"
"""The recipe of the layout that was found."""

Key = Annotated[str, Meta(min_length=1, max_length=200)]
Text = Annotated[str, Meta(min_length=1, max_length=MAX_LENGTH)]
Expressions = Annotated[dict[Key, Text], Meta(max_length=100)]


class Step(Struct, forbid_unknown_fields=True, kw_only=True):
    """An op, with an expression for each of its inputs that is no new input of the file.

    Its outputs are outputs of the file, and so is its gradient, if that is asked for.
    """

    op: Key
    inputs: Expressions = {}
    attributes: dict[str, Any] = {}
    box_format: BoxFormat = "xyxy"
    image_size: tuple[float, float] | None = None
    prefix: str = ""
    gradient: bool = False


class Recipe(Struct, forbid_unknown_fields=True, kw_only=True):
    """What is put behind a detector.

    `inputs` are new inputs of the file, each with its type, or with nothing if the op says it.
    `layouts` are names for expressions over the tensors of each layout, or of each that has an
    optional tensor (`boxes+labels`), `tensors` over any, and later ones may use earlier ones.
    `outputs` are new outputs of the file; one that is named like
    an output of a step takes its place.
    """

    summary: str = ""
    inputs: Annotated[dict[Key, str], Meta(max_length=100)] = {}
    layouts: Annotated[dict[Key, Expressions], Meta(max_length=100)] = {}
    tensors: Expressions = {}
    steps: Annotated[list[Step], Meta(max_length=100)] = []
    outputs: Expressions = {}

    def over(
        self,
        inputs: Mapping[str, str],
        attributes: Mapping[str, Any],
        new_inputs: Mapping[str, str],
        outputs: Mapping[str, str],
        gradient: bool,
    ) -> "Recipe":
        """The recipe with other values of its only op, and more inputs and outputs.

        Raises LossexportError if it has several ops and such values are given.
        """
        steps = self.steps
        if inputs or attributes or gradient:
            if len(steps) != 1:
                raise LossexportError(
                    f"the recipe has {len(steps)} ops, so that it has to state their inputs, "
                    "attributes and gradients itself"
                )
            step = msgspec.structs.replace(
                steps[0],
                inputs={**steps[0].inputs, **inputs},
                attributes={**steps[0].attributes, **attributes},
                gradient=gradient or steps[0].gradient,
            )
            steps = [step]
        return msgspec.structs.replace(
            self,
            inputs={**self.inputs, **new_inputs},
            steps=steps,
            outputs={**self.outputs, **outputs},
        )


def shipped() -> dict[str, Path]:
    """The recipes of this package by name."""
    return shipped_files(FOLDER)


def load(path: Path) -> Recipe:
    """Read a recipe; a bare name means a shipped one. Raises LossexportError naming the field."""
    given = file_or_shipped(path, FOLDER)
    if not (is_file(given) or path.suffix):
        raise LossexportError(
            f"{path}: no such file, and no recipe of that name; there are: {', '.join(shipped())}"
        )
    data = read_bytes(given, MAX_RECIPE_BYTES)
    with within(given):
        try:
            recipe = msgspec.toml.decode(data, type=Recipe)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise LossexportError(one_line(error)) from error
        if not recipe.steps and not recipe.outputs:
            raise LossexportError("has neither steps nor outputs, so that it adds nothing")
    return recipe


def find(detector: Detector) -> tuple[str, Recipe]:
    """The shipped recipe for a detector, with its name. Raises LossexportError if there is none."""
    every = {name: load(path) for name, path in shipped().items()}
    for section in _sections(detector):
        for name, recipe in every.items():
            if section in recipe.layouts:
                return name, recipe
    layout = detector.description.layout.name
    raise LossexportError(f"{detector.path}: no recipe is for the layout {layout}")


def section(recipe: Recipe, detector: Detector) -> str:
    """The name of the section for a detector. Raises LossexportError if there is none."""
    for name in _sections(detector):
        if name in recipe.layouts:
            _check_count(name, recipe, detector)
            return name
    raise LossexportError(
        f"{detector.path}: has the layout {_sections(detector)[0]}, and the recipe is for "
        f"{', '.join(recipe.layouts)}; --recipe auto takes the one for its layout"
    )


def _check_count(name: str, recipe: Recipe, detector: Detector) -> None:
    """Refuse a number of valid rows that the expressions leave out: all rows would count."""
    count = detector.description.output.count
    steps = [text for step in recipe.steps for text in step.inputs.values()]
    texts = [*recipe.layouts[name].values(), *recipe.tensors.values(), *steps]
    if count and not any(re.search(r"\bcount\b", text) for text in texts):
        raise LossexportError(
            f"{detector.path}: the description has count = {json.dumps(count)}, and the recipe "
            f"takes all rows of the layout {name}: leave count out, or write a recipe that uses it"
        )


def _sections(detector: Detector) -> list[str]:
    """`LAYOUT+KEY` for each optional tensor that a detector has, then `LAYOUT`."""
    keys, layout = detector.description.output, detector.description.layout.name
    optional = [
        field.name
        for field in msgspec.structs.fields(keys)
        if field.type == (Name | None) and getattr(keys, field.name) is not None
    ]
    return [*(f"{layout}+{name}" for name in optional), layout]


def facts(compiler: Compiler, detector: Detector, recipe: Recipe) -> dict[str, Value]:
    """What the names of a detector's layout stand for, in expressions of a recipe.

    These are the keys of its description, `classes`, `width` and `height` of the image, and
    `sides`, the factors from parts of the image to pixels. What is not known stands for nothing,
    and so do the keys that only the recipe's other layouts have.
    A key that lists words gives the place of each, too, as `KEY_WORD`.
    """
    wide, high = detector.graph.size
    classes = None if detector.completed.open else len(detector.kinds)
    layouts = [LAYOUTS.find(name.partition("+")[0]) for name in recipe.layouts]
    found: dict[str, Value] = dict.fromkeys(
        field.name for layout in layouts for field in msgspec.structs.fields(layout.keys)
    )
    found |= {"classes": classes, "width": wide, "height": high, "sides": None}
    if wide is not None and high is not None:
        found["sides"] = Term.constant(np.array([wide, high, wide, high]))
    keys = detector.description.output
    if keys.indices:
        raise LossexportError(
            "the description picks rows by indices; a recipe takes all rows of a detector"
        )
    for field in msgspec.structs.fields(keys):
        value = getattr(keys, field.name)
        if field.type in (Name, Name | None):
            found[field.name] = None if value is None else _compiled(compiler, value)
        elif field.type in (Names, Names | None):
            found[field.name] = [_compiled(compiler, text) for text in value or ()]
        elif isinstance(value, tuple):
            found[field.name] = Term.constant(np.array(value))
        else:
            found[field.name] = value
            for word in _words(field.type) if isinstance(value, list) else ():
                found[f"{field.name}_{word}"] = value.index(word) if word in value else None
    return found


def _compiled(compiler: Compiler, text: str) -> Term:
    try:
        return compiler.compile(text)
    except WiringError as error:
        raise LossexportError(f"{text}: {error}") from None


def _words(kind: Any) -> Iterator[str]:
    """The words of the literals in a type."""
    for part in get_args(kind):
        if isinstance(part, str):
            yield part
        yield from _words(part)
