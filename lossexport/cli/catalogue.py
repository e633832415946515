"""`lossexport list`."""

import json
from typing import Any

import click

from lossexport.catalog import CATALOG, find
from lossexport.catalog.spec import Op, Tensor
from lossexport.cli._own import takes_ops
from lossexport.cli._terminal import show
from lossexport.cli._types import OP
from lossexport.errors import LossexportError, printable
from lossexport.names import BUILDERS, KERNEL_BACKENDS
from lossexport.runtime import available
from lossexport.runtime.native import kernels


def _signature(tensors: tuple[Tensor, ...]) -> str:
    return " ".join(f"{t.name}[{','.join(map(str, t.shape))}]" for t in tensors)


def _backends(op: Op) -> dict[str, str]:
    """What each backend can do with the op."""
    graphs = "value, gradient" if op.gradient else "value"
    found = {"ort": graphs, "rtx": graphs, "tensorrt": graphs}
    if op.name in kernels():
        gradient = f"{op.name}.grad" in kernels()
        found = dict.fromkeys(KERNEL_BACKENDS, "value, gradient" if gradient else "value") | found
    return found


def describe(op: Op) -> dict[str, Any]:
    """An op as plain data."""

    def tensor(t: Tensor) -> dict[str, Any]:
        return {"name": t.name, "dtype": t.dtype, "shape": list(t.shape), "domain": t.text}

    return {
        "name": op.name,
        "class": op.class_name,
        "kind": op.kind,
        "summary": op.summary,
        "inputs": [tensor(t) for t in op.inputs],
        "outputs": [tensor(t) for t in op.outputs],
        "gradient": [f"grad_{name}" for name in op.gradient],
        "attributes": {
            a.name: {"default": a.default, "doc": a.doc, "choices": list(a.choices)}
            for a in op.attributes
        },
        "dims": {n: dict(zip(("min", "opt", "max"), r, strict=True)) for n, r in op.dims.items()},
        "references": [{"text": r.text, "link": r.link} for r in op.references],
        "backends": _backends(op),
        "notes": list(op.notes),
        "origin": CATALOG.origin(op.name),
    }


def _list_recipes(wanted: tuple[str, ...], as_json: bool) -> None:
    if wanted:
        raise LossexportError("--recipes lists all of them, without names")
    from lossexport.wiring import recipe

    every = {name: recipe.load(path) for name, path in recipe.shipped().items()}
    if as_json:
        rows = [
            {"name": name, "layouts": list(found.layouts), "summary": found.summary}
            for name, found in every.items()
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    show(
        "Recipes",
        ("recipe", "layouts", "adds"),
        [(name, ", ".join(found.layouts), found.summary) for name, found in every.items()],
    )


@click.command("list")
@click.argument("wanted", nargs=-1, metavar="[OP]...", type=OP)
@click.option("--json", "as_json", is_flag=True, help="Print everything about the ops as JSON.")
@click.option("--recipes", is_flag=True, help="List the recipes of `attach` instead.")
@takes_ops
def command(wanted: tuple[str, ...], as_json: bool, recipes: bool) -> None:
    """List the ops: signatures, attributes, references, backends.

    With names of ops, print their pages in Markdown.
    """
    if recipes:
        _list_recipes(wanted, as_json)
        return
    ops = [find(name) for name in wanted] or list(CATALOG.values())
    if as_json:
        click.echo(json.dumps([describe(op) for op in ops], indent=2))
        return
    if wanted:
        from lossexport.op_page import page

        click.echo(printable("\n".join(page(op) for op in ops)), nl=False)
        return
    rows = [
        (
            op.name,
            f"{_signature(op.inputs)} -> {_signature(op.outputs)}",
            " ".join(f"{a.name}={a.default}" for a in op.attributes),
            "; ".join(f"{name}: {can}" for name, can in _backends(op).items()),
            "; ".join(r.text for r in op.references),
        )
        for op in ops
    ]
    show("Ops", ("op", "signature", "attributes", "backends", "reference"), rows)
    for name, here in available().items():
        if not here.runs:
            built = name in BUILDERS and here.version is not None
            state = "built, not run here" if built else "not run here"
            click.echo(printable(f"{name}: {state}: {here.reason}"))
