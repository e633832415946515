"""Finds what a description leaves out, from the shapes and the metadata of a graph."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from lossexport.detectors import LAYOUTS
from lossexport.detectors.description import Description, Stated, build
from lossexport.detectors.graph import Graph, shown
from lossexport.detectors.layout import Fit, Layout
from lossexport.detectors.layouts.common import ULTRALYTICS
from lossexport.detectors.picture import Picture
from lossexport.errors import LossexportError, within

MOST_BOXES = 300
"""Boxes of an image where the layout was found; as many as end-to-end heads give."""
_INPUT = ("colour", "resize", "place", "stride", "pad", "mean", "std")
"""The keys of `[input]` that no graph states."""
_INPUT_NEEDED = {"colour", "resize"}
_PAGE = "docs/detectors.md lists the layouts"


@dataclass(frozen=True, slots=True)
class Completed:
    """A description that is whole.

    `named` tells whether the categories have names. `certain` tells whether something states how
    images are to be fed. `open` detectors have as many categories as their labels say. `why` are
    sentences about what was found.
    """

    description: Description
    named: bool
    certain: bool
    open: bool
    why: tuple[str, ...]


def complete(where: Path, stated: Stated, graph: Graph, like: Completed | None = None) -> Completed:
    """Find what is not stated in the graph of the file `where`.

    `like` is the detector to compare with, whose input is the same where nothing else is known.

    Raises LossexportError where nothing fits, or more than one.
    """
    why: list[str] = []
    found: dict[str, Any] = {}
    fit = None
    if _lacks_output(stated):
        with within(where):
            layout, fit = choose(graph, stated)
        found["output"] = {"kind": layout.name, **fit.keys, **stated.section("output")}
        why.append(f"layout {layout.name}: {fit.why}")
    elif not _is_whole(stated):
        fits = _fits(graph, stated)
        fit = fits[0][1] if len(fits) == 1 else None
    with within(where):
        certain, fed = _complete_input(stated, graph, fit, like, found)
    place = len(why)
    names = _complete_categories(stated, graph, fit, like, found, why)
    if fit is not None and isinstance(stated.sections.get("limits", {}), dict):
        usual = {"boxes": MOST_BOXES}
        found["limits"] = usual | ({"nms_iou": fit.nms_iou} if fit.nms_iou else {})
        found["limits"] |= stated.section("limits")
        iou = found["limits"].get("nms_iou")
        why.append(f"limits: {'no NMS' if iou is None else f'NMS at an IoU of {iou}'}")
    try:
        description = build(stated, found)
    except LossexportError as error:
        if stated.file is not None:
            raise
        raise LossexportError(f"--detector {error}") from error
    if fed:
        why.insert(place, f"input: {_shown_input(description.input)}, {fed}")
    is_open = fit is not None and fit.classes is None and not names
    return Completed(description, names, certain, is_open, tuple(why))


def _lacks_output(stated: Stated) -> bool:
    """Whether `[output]` lacks its kind, or a key that this kind needs."""
    output = stated.sections.get("output", {})
    if not isinstance(output, dict):
        return False
    if "kind" not in output:
        return True
    with within(stated.where), within("[output]"):
        layout = LAYOUTS.find(output["kind"])
    needed = {field.name for field in msgspec.structs.fields(layout.keys) if field.required}
    return layout.fits is not None and not needed <= set(output)


def _is_whole(stated: Stated) -> bool:
    """Whether nothing is left to find but the name and the size of the input."""
    return "categories" in stated.sections and set(stated.section("input")) >= _INPUT_NEEDED


def _fits(graph: Graph, stated: Stated) -> list[tuple[Layout, Fit]]:
    """Every way in which a layout fits what is stated."""
    output = stated.section("output")
    kind = output.pop("kind", None)
    return [
        (layout, fit)
        for layout in map(LAYOUTS.find, LAYOUTS.names() if kind is None else [kind])
        for fit in (layout.fits(graph) if layout.fits is not None else ())
        if all(fit.keys.get(key, value) == value for key, value in output.items())
    ]


def choose(graph: Graph, stated: Stated) -> tuple[Layout, Fit]:
    """The only layout that fits what is stated, and how it does.

    Raises LossexportError, saying which layouts fit, if there is none or more than one.
    """
    every = _fits(graph, stated)
    kind = stated.section("output").get("kind")
    likely = [pair for pair in every if pair[1].likely]
    fitting = likely or (every if kind is not None else [])
    if not fitting:
        _refuse_none(graph, every, kind)
    if len(fitting) > 1:
        _refuse_many(fitting)
    return fitting[0]


def _refuse_many(fitting: list[tuple[Layout, Fit]]) -> NoReturn:
    listed = "; ".join(f"{layout.name}, as {fit.why}" for layout, fit in fitting)
    names = list(dict.fromkeys(layout.name for layout, _ in fitting))
    if len(names) == len(fitting):
        how = f"decide by {' or '.join(f'--detector {name}' for name in names)}"
    else:
        how = f"decide by a description with [output] and {' or '.join(_told_apart(fitting))}"
    raise LossexportError(f"{len(fitting)} layouts fit: {listed}; {how}")


def _told_apart(fitting: list[tuple[Layout, Fit]]) -> Iterator[str]:
    """The keys of each fit that not all of them have with the same value, as a description has."""
    every = [{"kind": layout.name, **fit.keys} for layout, fit in fitting]
    for keys in every:
        differing = [k for k, v in keys.items() if any(other.get(k) != v for other in every)]
        yield ", ".join(f"{key} = {json.dumps(keys[key])}" for key in differing)


def _refuse_none(graph: Graph, every: list[tuple[Layout, Fit]], kind: str | None) -> NoReturn:
    text = f"no layout fits the outputs {graph.shown()}"
    if kind is not None:
        layout = LAYOUTS.find(kind)
        text = f"the layout {kind}, {layout.title}, does not fit the outputs {graph.shown()}"
    if graph.names is not None:
        text += f" and {len(graph.names)} names in the metadata"
    if every:
        hints = "; ".join(f"{layout.name}, if {fit.why}" for layout, fit in every[:3])
        options = " or ".join(dict.fromkeys(f"--detector {layout.name}" for layout, _ in every[:3]))
        raise LossexportError(f"{text} for sure. Possible: {hints}; {options} takes it")
    raise LossexportError(
        f"{text}: a description says in [output] which tensors, or expressions over them, are "
        f"boxes and scores (--detector FILE.toml); {_PAGE}"
    )


def _complete_input(
    stated: Stated,
    graph: Graph,
    fit: Fit | None,
    like: Completed | None,
    found: dict[str, Any],
) -> tuple[bool, str]:
    """Fill in `[input]`; whether something states how images are fed, and what that is."""
    given = stated.sections.get("input", {})
    if not isinstance(given, dict):
        return True, ""
    wide, high = graph.size
    merged: dict[str, Any] = {"tensor": graph.image.name}
    if wide is not None and high is not None:
        merged |= {"width": wide, "height": high}
    whole = set(given) >= _INPUT_NEEDED
    certain = whole or graph.documented or (fit is not None and fit.certain)
    usual, words = ({}, "") if whole else _usual_input(graph, fit, like)
    merged |= usual | given
    if merged.get("resize") not in (None, "none") and not {"width", "height"} <= set(merged):
        raise LossexportError(
            f"input {shown_input(graph)} is open in width or height and the metadata have no "
            "imgsz: a description gives both, as [input] with width = 640 and height = 640"
        )
    found["input"] = merged
    return certain, words if usual else ""


def shown_input(graph: Graph) -> str:
    """The image input with its type and shape, for messages."""
    return next(shown(info) for info in graph.inputs if info.name == graph.image.name)


def _usual_input(
    graph: Graph, fit: Fit | None, like: Completed | None
) -> tuple[dict[str, Any], str]:
    """How images are fed, and where that comes from."""
    if fit is not None and fit.certain:
        usual = dict(fit.input)
        words = "by the metadata" if graph.documented else "as the layout's detectors"
    elif graph.documented:
        usual, words = dict(ULTRALYTICS), "by the metadata"
    elif like is not None:
        other = msgspec.to_builtins(like.description.input)
        usual = {key: value for key in _INPUT if (value := other.get(key)) is not None}
        words = "as the other detector, since nothing in this graph states it"
    else:
        usual, words = dict(fit.input) if fit else {}, "as is usual; nothing in the graph states it"
    if graph.image.dtype == "uint8":  # the graph converts it
        usual = {key: value for key, value in usual.items() if key not in ("mean", "std")}
    return usual, words


def _shown_input(given: Picture) -> str:
    resize = f"letterbox ({given.place})" if given.resize == "letterbox" else given.resize
    values = f"(value - {list(given.mean)}) / {list(given.std)}"
    if not any(given.mean) and len(set(given.std)) == 1:
        values = {1.0: "0 to 255", 255.0: "0 to 1"}.get(given.std[0], values)
    return (
        f"{given.colour.upper()}, {values}, {resize}, {given.width or 'any'} x "
        f"{given.height or 'any'}"
    )


def _complete_categories(
    stated: Stated,
    graph: Graph,
    fit: Fit | None,
    like: Completed | None,
    found: dict[str, Any],
    why: list[str],
) -> bool:
    """Fill in `[categories]`; whether they have names."""
    if "categories" in stated.sections:
        return True
    classes = fit.classes if fit is not None else None
    if graph.names is not None and classes in (None, len(graph.names)):
        found["categories"] = {"names": graph.names}
        return True
    if like is not None and like.named:
        other = like.description.categories
        if classes in (None, len(other.names)):
            found["categories"] = {"names": other.names, "ids": other.ids}
            why.append("categories: those of the other detector, since the graph has no names")
            return True
    if fit is None and graph.names is None:
        return True  # `build` says that they are missing
    first = int(fit.keys.get("first_label", 0)) if fit is not None else 0
    numbers = list(range(first, first + (classes or 1)))
    found["categories"] = {"names": [*map(str, numbers)], "ids": numbers}
    why.append("categories: numbered, since the metadata have no names")
    return False
