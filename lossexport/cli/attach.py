"""`lossexport attach`."""

import re
from pathlib import Path
from typing import Any, cast

import click

from lossexport.cli._own import takes_ops
from lossexport.cli._terminal import Choice, assignments, attributes
from lossexport.cli._types import FILE, OP, OPSET
from lossexport.errors import LossexportError, printable
from lossexport.names import BOX_FORMATS, BUILDER_TITLES, BUILDERS
from lossexport.progress import steps


def _size(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?),(\d{1,6}(?:\.\d{1,6})?)", text, re.ASCII)
    if found is None:
        raise LossexportError(f"--image-size {text!r}: expected WIDTH,HEIGHT")
    return float(found[1]), float(found[2])


@click.command("attach")
@click.argument("detector", metavar="DETECTOR.onnx", type=FILE)
@click.option("--op", required=True, type=OP, help="Name of the op; see `lossexport list`.")
@click.option(
    "--map", "inputs", multiple=True, metavar="INPUT=TENSOR",
    help="Source of an input of the op: a tensor of the detector, @FILE.npy or an expression.",
)  # fmt: skip
@click.option("--out", required=True, type=FILE, help="The .onnx file to write.")
@click.option("--set", "settings", multiple=True, metavar="ATTR=VALUE", help="Attribute, as JSON.")
@click.option(
    "--box-format", type=Choice(BOX_FORMATS), default="xyxy",
    show_default=True, help="Format of the boxes that are mapped to the op.",
)  # fmt: skip
@click.option("--image-size", metavar="W,H", help="Multiply boxes in parts of the image by these.")
@click.option("--prefix", default="", metavar="TEXT", help="Prefix for names of new outputs.")
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
@takes_ops
def command(
    detector: str,
    op: str,
    inputs: tuple[str, ...],
    out: str,
    settings: tuple[str, ...],
    box_format: str,
    image_size: str | None,
    prefix: str,
    opset: int | None,
    build: bool,
    shapes: tuple[str, ...],
    backend: str,
    compute_capabilities: tuple[str, ...],
) -> None:
    """Append an op to the graph of a detector.

    The detector's own outputs remain. TENSOR may be an expression, such as
    `output[0,:,4] * max(output[0,:,5:])`; docs/attach.md describes the language, with examples.
    """
    mapping = assignments(inputs, "--map")
    size = _size(image_size)
    from lossexport.wiring.attach import attach

    with steps("attaching") as step:
        done = attach(
            detector,
            op,
            mapping,
            out,
            attributes=attributes(settings),
            box_format=cast(Any, box_format),
            image_size=size,
            prefix=prefix,
            opset=opset,
            build=build,
            shapes=assignments(shapes, "--shape"),
            backend=cast(Any, backend),
            compute_capabilities=[c for text in compute_capabilities for c in text.split(",")],
            progress=step,
        )
    gives = f"{op} ({done.precision}) gives {', '.join(done.outputs)}"
    click.echo(printable(f"{out}: {gives}"))
    if build:
        place = Path(out).with_suffix(".engine")
        click.echo(printable(f"{place}: built by {BUILDER_TITLES[backend]}"))
    for note in (*done.notes, *done.rtx.notes):
        click.echo(printable(f"note: {note}"))
