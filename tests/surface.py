"""The public surface, as docs/stability.md lists it: a line for each thing that users rely on.

python -m tests.surface    # rewrites tests/surface.txt
"""

import inspect
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import msgspec
import pyarrow.parquet as pq
import torch
from msgspec import structs

import lossexport
from lossexport.catalog import CATALOG
from lossexport.catalog.spec import Tensor
from lossexport.cli import cli
from lossexport.evaluator import wire
from lossexport.manifest import Manifest
from lossexport.parity import Report
from lossexport.runtime import load
from lossexport.runtime.onnx_guard import check_model
from lossexport.wiring.attach import Attached

ROOT = Path(__file__).resolve().parent.parent
SNAPSHOT = ROOT / "tests" / "surface.txt"
GRAPH = ROOT / "lossexport" / "graphs" / "box_iou.onnx"
HEADER = ROOT / "plugins" / "host" / "lossexport.h"
MODULES = ("lossexport", "lossexport.nn", "lossexport.ops", "lossexport.runtime")
# `lossexport.catalog` imports more than it offers.
NAMES = {"lossexport.catalog": ("CATALOG", "Op", "find")}


def text() -> str:
    """All sections, each line of one section below the other."""
    sections: dict[str, Iterable[str]] = {
        "score": scored("score"),
        "compare": scored("compare"),
        "Python": python(),
        "Returned by Python functions": returned(),
        "Ops": ops(),
        "Command line": command_line(),
        "Manifest": manifest(),
        "ONNX files": onnx_file(),
        "Bytes of evaluators": evaluator_bytes(),
        "C": c_interface(HEADER.read_text("utf-8")),
    }
    return "\n".join(f"[{title}]\n" + "\n".join(sections[title]) + "\n" for title in sections)


def scored(verb: str) -> Iterator[str]:
    """Files of a run on a single box that matches, keys of its summary, columns of its tables."""
    images, categories = [{"id": 1, "file_name": "1.jpg"}], [{"id": 1, "name": "cat"}]
    box = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 20]}
    tables = {"images": images, "categories": categories, "annotations": [{"id": 1, **box}]}
    with tempfile.TemporaryDirectory() as name:
        pred, ref, out = (Path(name, file) for file in ("pred.json", "ref.json", "out"))
        pred.write_text(json.dumps([{"score": 0.9, "log_variance": [0.0] * 4, **box}]))
        ref.write_text(json.dumps(tables))
        if verb == "score":
            summary = lossexport.score(
                pred, ref, out=out, explain=True, slices={"all": [1]}, at_precision=1, at_recall=1
            )
        else:
            summary = lossexport.compare(pred, pred, out=out)
        yield from sorted(path.name for path in out.iterdir())
        yield f"summary.json: schema_version {summary['schema_version']}"
        yield from (f"summary.json: {key}" for key in sorted(keys(summary)))
        for table in sorted(out.glob("*.parquet")):
            yield from (f"{table.name}: {one.name} {one.type}" for one in pq.read_schema(table))


def keys(value: Any, place: str = "") -> set[str]:
    """The keys of nested objects: `counts.images`, and `categories[].id` for those of lists."""
    if isinstance(value, Mapping):
        inner = (keys(item, f"{place}.{key}" if place else key) for key, item in value.items())
    elif isinstance(value, list) and value:
        inner = (keys(item, f"{place}[]") for item in value)
    else:
        return {place}
    return set().union(*inner)


def python() -> Iterator[str]:
    """Arguments with defaults of what can be called, members of classes, types of the rest."""
    for module in sorted({*MODULES, *NAMES}):
        loaded = import_module(module)
        for name in sorted(NAMES.get(module) or loaded.__all__):
            found, called = getattr(loaded, name), f"{module}.{name}"
            yield called + (arguments(found) if callable(found) else f": {type(found).__name__}")
            # A module of torch's has members that differ from release to release.
            if isinstance(found, type) and not issubclass(found, torch.nn.Module):
                yield from members(called, found)


def arguments(function: Any) -> str:
    """Without annotations: their text differs between Python versions, and mypy checks them."""
    signature = inspect.signature(function)
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(bare))


def members(name: str, owner: Any) -> Iterator[str]:
    return (f"{name}.{member}" for member in dir(owner) if not member.startswith("_"))


def returned() -> Iterator[str]:
    yield from members("attach()", Attached)
    yield from members("verify()", Report)
    yield from members("load()", load(GRAPH))


def ops() -> Iterator[str]:
    """Shapes, types, gradients and attributes; these are those of the exported files too."""

    def side(tensors: Iterable[Tensor]) -> str:
        return ", ".join(f"{t.name} {t.dtype}[{','.join(map(str, t.shape))}]" for t in tensors)

    for op in CATALOG.values():
        yield f"{op.name} ({op.class_name}): {side(op.inputs)} -> {side(op.outputs)}"
        if op.gradient:
            yield f"{op.name}: gradient of {', '.join(op.gradient)}"
        for name, sizes in op.dims.items():
            yield f"{op.name}: {name}={':'.join(map(str, sizes))}"
        for item in op.attributes:
            valid = "|".join(item.choices) or item.bounds
            yield f"{op.name}: {item.name}={item.default!r}, {valid}"


def command_line() -> Iterator[str]:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        yield from (f"lossexport {name} {option(parameter)}" for parameter in command.params)


def option(parameter: click.Parameter) -> str:
    """What a user may type; click's own markers of "no default" differ between its releases."""
    kind, default = parameter.type, parameter.default
    names = "|".join([*parameter.opts, *parameter.secondary_opts])
    words = [names, "|".join(kind.choices) if isinstance(kind, click.Choice) else kind.name]
    if isinstance(default, int | float | str | list | tuple) and default is not False:
        words.append(f"[{default!r}]")
    if parameter.required:
        words.append("required")
    if parameter.nargs == -1 or getattr(parameter, "multiple", False):
        words.append("repeated")
    return " ".join(words)


def manifest() -> Iterator[str]:
    """Fields by the part that has them, without descriptions, which are docstrings."""
    schema = msgspec.json.schema(Manifest)
    for part, fields in sorted(schema["$defs"].items()):
        for name, kind in fields["properties"].items():
            needed = " required" if name in fields["required"] else ""
            yield f"{part}.{name}: {json.dumps(kind, sort_keys=True)}{needed}"


def onnx_file() -> Iterator[str]:
    model = check_model(GRAPH.read_bytes(), str(GRAPH))
    yield f"IR version {model.ir_version}"
    yield from (f"opset {number} of {name or 'ai.onnx'}" for name, number in model.opsets.items())
    yield from (f"metadata {key}" for key in sorted(model.metadata))


def evaluator_bytes() -> Iterator[str]:
    yield f"version {wire.VERSION}"
    yield from (
        f"header {field.name} {field.type.__name__}" for field in structs.fields(wire.Header)
    )


def c_interface(header: str) -> Iterator[str]:
    """The ABI number, constants, structures and functions of the header, each in a line."""
    bare = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    kinds = (
        r"#define LOSSEXPORT_ABI \d+",
        r"enum \w+ \{.*?\}",
        r"typedef struct .*?\} \w+",
        r"LOSSEXPORT_API [^_].*?\)(?=;)",
    )
    for found in re.findall("|".join(kinds), bare, re.DOTALL):
        yield " ".join(found.split())


if __name__ == "__main__":
    SNAPSHOT.write_text(text(), "utf-8")
