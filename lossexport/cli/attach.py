"""`lossexport attach`."""

from pathlib import Path
from typing import Any, cast

import click

from lossexport.cli._own import takes_ops
from lossexport.cli._reports import json_file, write_json
from lossexport.cli._terminal import Choice, assignments, attributes, size
from lossexport.cli._types import FILE, FILE_OR_NAME, OP, OPSET
from lossexport.errors import LossexportError, printable
from lossexport.names import BOX_FORMATS, BUILDER_TITLES, BUILDERS
from lossexport.progress import steps


def _new(items: tuple[str, ...]) -> dict[str, str | None]:
    """The new inputs: NAME, or NAME=TYPE."""
    typed = assignments([item for item in items if "=" in item], "--input")
    plain: dict[str, str | None] = {item: None for item in items if "=" not in item}
    if len(plain) + len(typed) < len(items) or plain.keys() & typed.keys():
        raise LossexportError("--input: a name is given twice")
    return plain | typed


@click.command("attach")
@click.argument("detector", metavar="DETECTOR.onnx", type=FILE)
@click.option("--op", type=OP, help="Name of the op; see `lossexport list`.")
@click.option(
    "--recipe", type=FILE_OR_NAME,
    help="A chain: a file, a name of `lossexport list --recipes`, or `auto`.",
)  # fmt: skip
@click.option(
    "--map", "inputs", multiple=True, metavar="INPUT=TENSOR",
    help="Source of an input of the op: a tensor of the detector, @FILE.npy or an expression.",
)  # fmt: skip
@click.option(
    "--input", "new_inputs", multiple=True, metavar="NAME[=TYPE]",
    help="A new input of the file: an input of the op, or of a type, as float32[80].",
)  # fmt: skip
@click.option(
    "--output", "outputs", multiple=True, metavar="NAME=EXPRESSION",
    help="A new output of the file, also over the outputs of the op.",
)  # fmt: skip
@click.option("--gradient", is_flag=True, help="Also give the gradient of a loss, grad_INPUT.")
@click.option("--out", required=True, type=FILE, help="The .onnx file to write.")
@click.option("--set", "settings", multiple=True, metavar="ATTR=VALUE", help="Attribute, as JSON.")
@click.option(
    "--box-format", type=Choice(BOX_FORMATS), default="xyxy",
    show_default=True, help="Format of the boxes that are mapped to the op.",
)  # fmt: skip
@click.option("--image-size", metavar="W,H", help="Multiply boxes in parts of the image by these.")
@click.option("--prefix", default="", metavar="TEXT", help="Prefix for names of new outputs.")
@click.option(
    "--detector", "description", type=FILE_OR_NAME,
    help="For a recipe: a layout, or a description.  [default: auto]",
)  # fmt: skip
@click.option("--opset", type=OPSET, help="Opset to raise the detector to.  [default: its own]")
@click.option("--build", is_flag=True, help="Also build the engine, into --out with .engine.")
@click.option(
    "--shape", "shapes", multiple=True, metavar="DIM=MIN:OPT:MAX",
    help="Range of an open dimension of the inputs, for the engine.",
)  # fmt: skip
@click.option("--backend", type=Choice(BUILDERS), default="rtx", show_default=True)
@click.option(
    "--compute-capability", "compute_capabilities", multiple=True, metavar="X.Y",
    help="GPU generation that the engine must support.",
)  # fmt: skip
@json_file
@takes_ops
def command(
    detector: str,
    op: str | None,
    recipe: str | None,
    inputs: tuple[str, ...],
    new_inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    gradient: bool,
    out: str,
    settings: tuple[str, ...],
    box_format: str,
    image_size: str | None,
    prefix: str,
    description: str | None,
    opset: int | None,
    build: bool,
    shapes: tuple[str, ...],
    backend: str,
    compute_capabilities: tuple[str, ...],
    json_file: str | None,
) -> None:
    """Append an op, a recipe or expressions to the graph of a detector.

    The detector's own outputs remain. TENSOR may be an expression, such as
    `output[0,:,4] * max(output[0,:,5:])`; docs/attach.md describes the language, with examples.
    """
    mapping, image = assignments(inputs, "--map"), size(image_size)
    given: dict[str, Any] = {
        "attributes": attributes(settings),
        "new_inputs": _new(new_inputs),
        "outputs": assignments(outputs, "--output"),
        "gradient": gradient,
        "prefix": prefix,
        "opset": opset,
        "build": build,
        "shapes": assignments(shapes, "--shape"),
        "backend": backend,
        "compute_capabilities": [c for text in compute_capabilities for c in text.split(",")],
    }
    if recipe is not None and (op is not None or box_format != "xyxy" or image is not None):
        raise LossexportError("--recipe says what --op, --box-format and --image-size would")
    if recipe is None and description is not None:
        raise LossexportError("--detector is for --recipe, which reads the layout of a detector")
    if recipe is None and op is None and not outputs:
        raise LossexportError("attach needs --op OP, --recipe NAME or --output NAME=EXPRESSION")
    from lossexport.wiring.attach import attach, attach_recipe

    with steps("attaching") as step:
        if recipe is not None:
            given["detector"] = description or "auto"
            done = attach_recipe(detector, recipe, out, inputs=mapping, progress=step, **given)
        else:
            given |= {"box_format": cast(Any, box_format), "image_size": image}
            done = attach(detector, op, mapping, out, progress=step, **given)
    name = recipe or op
    engine = str(Path(out).with_suffix(".engine")) if build else None
    notes = (*done.notes, *done.rtx.notes)
    if json_file:
        record = {
            "schema_version": 1, "file": out, "engine": engine, "op": op, "recipe": recipe,
            "precision": done.precision, "inputs": done.inputs, "outputs": done.outputs,
            "notes": notes,
        }  # fmt: skip
        write_json(json_file, record)
    what = f"{name} ({done.precision}) gives" if done.precision and name else "gives"
    takes = f", and takes {', '.join(done.inputs)}" if done.inputs else ""
    click.echo(printable(f"{out}: {what} {', '.join(done.outputs)}{takes}"))
    if engine:
        click.echo(printable(f"{engine}: built by {BUILDER_TITLES[backend]}"))
    for note in notes:
        click.echo(printable(f"note: {note}"))
