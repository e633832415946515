"""Write docs/ops (a page and a plot an op), the README's picture and its list of ops.

    python docs/generate.py            # or: make docs
    python docs/generate.py --check    # exits with 1 where a file is out of date

Everything comes from the catalogue and from what the ops compute.
"""

import argparse
import contextlib
import io
import math
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import picture
import svg
import sweeps
from lossexport.catalog import CATALOG
from lossexport.catalog.spec import Attribute, Op, Tensor
from lossexport.files import write_bytes

DOCS = Path(__file__).resolve().parent
README = DOCS.parent / "README.md"
START, END = "<!-- ops: written by docs/generate.py -->", "<!-- end of ops -->"
EDITED = "<!-- Written by docs/generate.py from the catalogue: change it there. -->"
KINDS = {
    "metric": "Scores",
    "loss": "Losses",
    "transform": "Box transforms",
    "suppression": "Suppression",
}
# Sizes of the arrays in the examples: small, and different where that shows something.
SIZES = {"N": 3, "M": 2, "D": 2, "C": 2, "K": 5}
SEED = 6  # the first that is tried: not every draw has a positive


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines
    )


def shape(tensor: Tensor) -> str:
    return f"[{', '.join(map(str, tensor.shape))}]" if tensor.shape else "scalar"


def signature(op: Op) -> str:
    def side(tensors: Iterable[Tensor]) -> str:
        return ", ".join(f"{t.name}[{','.join(map(str, t.shape))}]" for t in tensors)

    return f"{side(op.inputs)} -> {side(op.outputs)}"


def tensors(op: Op) -> str:
    everything = [("input", tensor) for tensor in op.inputs]
    everything += [("output", tensor) for tensor in op.output_tensors(op.resolve({}), False)]
    if op.gradient:
        with_gradient = op.output_tensors(op.resolve({}), True)
        everything += [
            ("output of the gradient graph", t) for t in with_gradient[len(op.outputs) :]
        ]
    rows = ((role, f"`{t.name}`", shape(t), t.dtype, t.text) for role, t in everything)
    note = "`float` is float32, or what `--precision` says (fp16, bf16)."
    if op.gradient:
        note += " In fp16 what lies beyond 65504 is [infinite](../parity.md#float16)."
    if op.any_shape:
        note += " In Python the inputs may have [any one shape](../pytorch.md#shapes)."
    elif op.aligned:
        note += " In Python N may be [none or several dimensions](../pytorch.md#shapes)."
    return table(("", "name", "shape", "type", "values"), rows) + "\n\n" + note


def limits(attribute: Attribute) -> str:
    if attribute.choices:
        return " or ".join(attribute.choices)
    return attribute.bounds


def attributes(op: Op) -> str:
    rows = ((f"`{a.name}`", f"`{a.default}`", limits(a), a.doc) for a in op.attributes)
    return table(("attribute", "default", "valid", "meaning"), rows)


def tolerance(op: Op) -> str:
    outputs = op.output_tensors(op.resolve({}), gradient=bool(op.gradient))
    exact = [f"`{tensor.name}`" for tensor in outputs if tensor.dtype in ("int64", "bool")]
    judged = [f"`{tensor.name}`" for tensor in outputs if tensor.dtype not in ("int64", "bool")]
    sentences = [f"{' and '.join(exact)} must be equal."] if exact else []
    if judged:
        sentences.append(
            f"Every element of {' and '.join(judged)} may differ from float64 PyTorch by what the "
            "roundings of float32 do to it, u = 2^-24 each, and by nothing where they are exact "
            "([how that is found](../parity.md)); in fp16 and bf16 by the rounding at the end too."
        )
    return " ".join(sentences)


def literal(values: np.ndarray[Any, Any]) -> str:
    """A nested list of the values in four digits."""
    if values.ndim:
        return f"[{', '.join(literal(row) for row in values)}]"
    if values.dtype.kind in "iub":
        return repr(values.item())
    return np.format_float_positional(float(values), precision=4, fractional=False, trim="0")


def example(op: Op) -> str:
    """A snippet that was run, with what it printed."""
    # Of the 100 rows that suppression pads to, four show enough.
    chosen = {a.name: 4 for a in op.attributes if a.name == "max_output"}
    given = op.resolve(chosen)
    sizes = {
        name: max(low, min(SIZES.get(name, 3), high)) for name, (low, _, high) in op.dims.items()
    }
    sampler = next(iter(op.samplers.values()))
    draws = (sampler(np.random.default_rng(seed), sizes, given) for seed in range(SEED, SEED + 100))
    drawn = next(arrays for arrays in draws if all((a > 0).any() for a in arrays.values()))
    lines = ["import torch", "", "from lossexport import ops", ""]
    for tensor in op.inputs:
        dtype = f", dtype=torch.{tensor.dtype}" if tensor.dtype in ("int64", "bool") else ""
        grad = ", requires_grad=True" if tensor.name in op.gradient else ""
        values = drawn[tensor.name]
        lines.append(f"{tensor.name} = torch.tensor({literal(values)}{dtype}{grad})")
    names = ", ".join(tensor.name for tensor in op.outputs)
    arguments = [tensor.name for tensor in op.inputs] + [f"{k}={v}" for k, v in chosen.items()]
    lines.append(f"{names} = ops.{op.name}({', '.join(arguments)})")
    shown = [f"{tensor.name}.detach()" if op.gradient else tensor.name for tensor in op.outputs]
    if op.gradient:
        lines.append(f"{op.outputs[0].name}.sum().backward()")
        shown += [f"{name}.grad" for name in op.gradient]
    lines += [f"print({name})" for name in shown]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec("\n".join(lines), {})  # our own text: what the page says is what it prints
    return "\n".join(
        ("```python", *lines, "```", "", "prints", "", "```text", printed.getvalue() + "```")
    )


def files(op: Op) -> str:
    gradient = " --gradient" if op.gradient else ""
    inputs = ", ".join(f"{tensor.name}={tensor.name}" for tensor in op.inputs)
    stem = f"{op.name}.grad" if op.gradient else op.name
    return f"""\
```sh
lossexport export {op.name}{gradient} --format onnx,engine --out out
lossexport verify out
```

and without PyTorch, from numpy arrays of the same names:

```python
from lossexport.runtime import load

outputs = load("out/{stem}.onnx")({inputs})
```"""


def page(op: Op) -> str:
    parts = [EDITED, f"# {op.name}", op.summary, f"$$\n{op.formula}\n$$"]
    if op.kind == "loss" and op.name in sweeps.SWEEPS:
        parts.append(f"![{op.name}: loss and gradient](plots/{op.name}.svg)")
    parts += ["## Inputs and outputs", tensors(op)]
    if op.dims:
        ranges = ", ".join(f"{n} = {a}:{b}:{c}" for n, (a, b, c) in op.dims.items())
        parts.append(f"Sizes as smallest:tuned for:largest, which `--shape` changes: `{ranges}`.")
    if op.attributes:
        parts += ["## Attributes", attributes(op)]
    if op.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in op.notes)]
    parts += ["## In PyTorch", example(op), "## As a file", files(op)]
    parts.append(
        f"The module for training code is `lossexport.nn.{op.class_name}`; it takes the attributes."
    )
    parts += ["## Tolerance", tolerance(op), "## References"]
    parts.append("\n".join(f"- [{ref.text}]({ref.link})" for ref in op.references))
    return "\n\n".join(parts) + "\n"


def index() -> str:
    parts = [EDITED, f"# The {len(CATALOG)} ops"]
    for kind, title in KINDS.items():
        ops = [op for op in CATALOG.values() if op.kind == kind]
        if not ops:
            continue
        rows = (
            (
                f"[{op.name}]({op.name}.md)",
                f"`{signature(op)}`",
                ", ".join(f"`{name}`" for name in op.gradient),
                op.summary,
            )
            for op in ops
        )
        parts += [f"## {title}", table(("op", "signature", "gradient", ""), rows)]
    return "\n\n".join(parts) + "\n"


def listed(readme: str) -> str:
    """The README with its list of ops written anew."""
    lines = [""]
    for kind, title in KINDS.items():
        links = [f"[`{o.name}`](docs/ops/{o.name}.md)" for o in CATALOG.values() if o.kind == kind]
        if links:
            lines += [f"- **{title}**: {', '.join(links)}"]
    before, _, rest = readme.partition(START)
    _, _, after = rest.partition(END)
    return "\n".join((before + START, *lines, "", END + after))


def generate() -> dict[Path, str]:
    """Every generated file with its text."""
    pages = {
        README: listed(README.read_text("utf-8")),
        DOCS / "picture.svg": picture.draw(),
        DOCS / "ops/README.md": index(),
    }
    for op in CATALOG.values():
        pages[DOCS / f"ops/{op.name}.md"] = page(op)
        if op.kind == "loss" and op.name in sweeps.SWEEPS:
            x, panels = sweeps.curves(op)
            label = sweeps.SWEEPS[op.name].label
            pages[DOCS / f"ops/plots/{op.name}.svg"] = svg.plot(op.name, label, x, panels)
    return pages


def current(path: Path, text: str) -> bool:
    """Whether a file is as generated but for what differs from processor to processor."""
    if not path.exists():
        return False
    old, number = path.read_text("utf-8"), r"-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?"
    if re.sub(number, "", old).split() != re.sub(number, "", text).split():
        return False
    slack = 0.15 if path.suffix == ".svg" else 1e-7  # pixels; elsewhere the last digits
    pairs = zip(re.findall(number, old), re.findall(number, text), strict=False)
    return all(math.isclose(float(a), float(b), rel_tol=1e-3, abs_tol=slack) for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    check = parser.parse_args().check
    pages = generate()
    left_over = sorted({*(DOCS / "ops").rglob("*.*")} - set(pages))
    changed = [path for path, text in pages.items() if not current(path, text)]
    if not check:
        for path in changed:
            write_bytes(path, pages[path].encode())
        for path in left_over:
            path.unlink()
    for path in (*changed, *left_over):
        print(
            f"{path.relative_to(DOCS.parent)}: {'out of date' if check else 'brought up to date'}"
        )
    sys.exit(1 if check and (changed or left_over) else 0)


if __name__ == "__main__":
    main()
