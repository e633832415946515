"""`lossexport export`."""

from typing import Any, cast

import click

from lossexport.cli._own import takes_ops
from lossexport.cli._reports import json_file, write_json
from lossexport.cli._terminal import Choice, assignments, attributes, size
from lossexport.cli._types import DIR, FILE_OR_NAME, OP, OPSET
from lossexport.errors import LossexportError, printable
from lossexport.names import BUILDERS, PRECISIONS
from lossexport.progress import steps


def _split(text: str | None) -> list[Any] | None:
    return None if text is None else [item for item in text.split(",") if item]


@click.command("export")
@click.argument("ops", nargs=-1, metavar="[OP]...", type=OP)
@click.option("--all", "every", is_flag=True, help="Export all ops, or all of the recipe.")
@click.option(
    "--recipe",
    type=FILE_OR_NAME,
    help="Recipe: a TOML file or the name of a shipped one (box-quality, ...).",
)
@click.option(
    "--out", required=True, type=DIR, help="Folder to write to; created if it is missing."
)
@click.option(
    "--format", "formats", metavar="FORMAT[,FORMAT]",
    help="onnx, engine or onnx,engine.  [default: onnx]",
)  # fmt: skip
@click.option("--gradient", is_flag=True, default=None, help="Also export gradient graphs.")
@click.option("--precision", type=Choice(PRECISIONS), help="Float type.  [default: fp32]")
@click.option("--opset", type=OPSET, help="Opset of the graphs.  [default: 20]")
@click.option("--set", "settings", multiple=True, metavar="ATTR=VALUE", help="Attribute, as JSON.")
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="DIM=MIN:OPT:MAX",
    help="Range of a dimension, or DIM=SIZE.",
)
@click.option("--backend", type=Choice(BUILDERS), default="rtx", show_default=True)
@click.option(
    "--compute-capability",
    "compute_capabilities",
    multiple=True,
    metavar="X.Y",
    help="GPU generation that engines must support; repeat it, or use commas, for several.",
)
@json_file
@click.option(
    "--prove", is_flag=True,
    help="fp16 and bf16: prove that no result overflows the type that computes it.",
)  # fmt: skip
@click.option(
    "--image-size", metavar="W,H", help="Image of the boxes of --prove.  [default: 640,640]"
)
@takes_ops
def command(
    ops: tuple[str, ...],
    every: bool,
    recipe: str | None,
    out: str,
    formats: str | None,
    gradient: bool | None,
    precision: str | None,
    opset: int | None,
    settings: tuple[str, ...],
    shapes: tuple[str, ...],
    backend: str,
    compute_capabilities: tuple[str, ...],
    json_file: str | None,
    prove: bool,
    image_size: str | None,
) -> None:
    """Export ops to .onnx and .engine files with a manifest."""
    if every and ops:
        raise LossexportError("give ops or --all, not both")
    if not ops and not every and recipe is None:
        raise LossexportError("give ops, --all or --recipe; `lossexport list` shows the ops")
    if formats is not None and not _split(formats):
        raise LossexportError(f"--format {formats!r}: must be onnx, engine or onnx,engine")
    image = size(image_size)
    from lossexport.exporter import export
    from lossexport.manifest import plain

    with steps("exporting") as step:
        manifest = export(
            list(ops) or None,
            out,
            recipe_file=recipe,
            formats=_split(formats),
            gradient=gradient,
            precision=cast(Any, precision),
            opset=opset,
            attributes=attributes(settings),
            shapes=assignments(shapes, "--shape"),
            backend=cast(Any, backend),
            compute_capabilities=[c for text in compute_capabilities for c in text.split(",")],
            prove=prove,
            image_size=image,
            progress=step,
        )
    if json_file:
        write_json(json_file, plain(manifest))
    if prove:
        from lossexport.ranges import sentence

        for entry in manifest.artifacts:
            if entry.proof is not None:
                click.echo(printable(f"{entry.file}: {sentence(entry.proof)}"))
    click.echo(printable(f"{out}: {len(manifest.artifacts)} artifacts listed in manifest.json"))
