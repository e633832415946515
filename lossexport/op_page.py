"""The page of an op in Markdown: inputs, outputs, an example that has been run, and files."""

import contextlib
import io
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from lossexport.catalog import BUILTIN, CATALOG
from lossexport.catalog.spec import Attribute, Op, Tensor
from lossexport.catalog.variant import Variant

# Sizes of the arrays in the examples: small, and different if that is instructive.
_SIZES = {"N": 3, "M": 2, "D": 2, "C": 2, "K": 5}
_SEED = 6  # the first one to try, because not every draw has a positive


def page(op: Op, plot: str = "", docs: str | None = None) -> str:
    """The page, with the image `plot` after the formula if it is given.

    `docs` is the folder of this project's pages as seen from the page; without it they are not
    linked. Raises LossexportError if the function of the op does not do what it declares.
    """
    parts = [f"# {op.name}", op.summary]
    if op.name not in BUILTIN:
        parts.append(f"Of `{CATALOG.origin(op.name)}`.")
    parts += [f"$$\n{op.formula}\n$$"] if op.formula else []
    parts += [plot] if plot else []
    parts += ["## Inputs and outputs", _tensors(op, docs)]
    if op.dims:
        ranges = ", ".join(f"{n} = {a}:{b}:{c}" for n, (a, b, c) in op.dims.items())
        sizes = f"Sizes (smallest:tuned for:largest), which `--shape` changes: `{ranges}`."
        parts.append(wrapped(sizes))
    if op.attributes:
        parts += ["## Attributes", _attributes(op)]
    if op.notes:
        parts += ["## Notes", "\n".join(wrapped(f"- {note}", "  ") for note in op.notes)]
    parts += ["## In PyTorch", _example(op), "## As a file", _files(op)]
    parts.append(
        f"In training code, use the module `lossexport.nn.{op.class_name}`, given the attributes."
    )
    parts += ["## Tolerance", _tolerance(op, docs)]
    if op.references:
        parts += ["## References"]
        links = (f"- [{ref.text}]({ref.link})" for ref in op.references)
        parts.append("\n".join(wrapped(link, "  ") for link in links))
    return "\n\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines
    )


def wrapped(text: str, indent: str = "") -> str:
    """Prose or a list item in lines of at most 100 characters; all but the first are indented."""
    return textwrap.fill(text, 100, subsequent_indent=indent, break_on_hyphens=False)


def _shape(tensor: Tensor) -> str:
    return f"[{', '.join(map(str, tensor.shape))}]" if tensor.shape else "scalar"


def signature(op: Op) -> str:
    """Inputs and outputs with their shapes."""

    def side(tensors: Iterable[Tensor]) -> str:
        return ", ".join(f"{t.name}[{','.join(map(str, t.shape))}]" for t in tensors)

    return f"{side(op.inputs)} -> {side(op.outputs)}"


def _link(text: str, docs: str | None, target: str) -> str:
    return text if docs is None else f"[{text}]({docs}/{target})"


def _tensors(op: Op, docs: str | None) -> str:
    everything = [("input", tensor) for tensor in op.inputs]
    everything += [("output", tensor) for tensor in op.output_tensors(op.resolve({}), False)]
    if op.gradient:
        with_gradient = op.output_tensors(op.resolve({}), True)
        everything += [
            ("output of the gradient graph", t) for t in with_gradient[len(op.outputs) :]
        ]
    rows = ((role, f"`{t.name}`", _shape(t), t.dtype, t.text) for role, t in everything)
    note = "`float` is float32, or what `--precision` says (fp16, bf16)."
    if op.gradient:
        infinite = _link("infinite", docs, "parity.md#float16")
        note += f" In fp16, values beyond 65504 are {infinite}."
    if op.any_shape:
        shapes = _link("any shape", docs, "pytorch.md#shapes")
        note += f" In Python, the inputs may have {shapes}."
    elif op.aligned:
        shapes = _link("none or several dimensions", docs, "pytorch.md#shapes")
        note += f" In Python, N may be {shapes}."
    return table(("", "name", "shape", "type", "values"), rows) + "\n\n" + wrapped(note)


def _limits(attribute: Attribute) -> str:
    if attribute.choices:
        return " or ".join(attribute.choices)
    if isinstance(attribute.default, bool):
        return "true or false"
    return attribute.bounds


def _attributes(op: Op) -> str:
    rows = ((f"`{a.name}`", f"`{a.default}`", _limits(a), a.doc) for a in op.attributes)
    return table(("attribute", "default", "valid", "meaning"), rows)


def _tolerance(op: Op, docs: str | None) -> str:
    """The section on the tolerance. The function is tried first."""
    from lossexport.parity.trial import trial  # imports torch

    measured = trial(Variant.make(op, gradient=bool(op.gradient)))
    outputs = op.output_tensors(op.resolve({}), gradient=bool(op.gradient))
    exact = [f"`{tensor.name}`" for tensor in outputs if tensor.dtype in ("int64", "bool")]
    judged = [f"`{tensor.name}`" for tensor in outputs if tensor.dtype not in ("int64", "bool")]
    sentences = [f"{' and '.join(exact)} must be equal."] if exact else []
    if judged:
        how = "docs/parity.md" if docs is None else f"[how the bound is found]({docs}/parity.md)"
        sentences.append(
            f"Each element of {' and '.join(judged)} may differ from float64 PyTorch by the error "
            "that the roundings of float32, of u = 2^-24 each, can cause in it, and not at all "
            f"where they are exact ({how}). In fp16 and bf16, the rounding at the end is added."
        )
    if measured:
        rules = _link("measured", docs, "parity.md#operators-without-a-rule")
        sentences.append(f"Without a rule, and {rules}: {', '.join(f'`{m}`' for m in measured)}.")
    return wrapped(" ".join(sentences))


def _literal(values: np.ndarray[Any, Any]) -> str:
    """A nested list of the values with four digits."""
    if values.ndim:
        return f"[{', '.join(_literal(row) for row in values)}]"
    if values.dtype.kind in "iub":
        return repr(values.item())
    return np.format_float_positional(float(values), precision=4, fractional=False, trim="0")


def _example(op: Op) -> str:
    """A snippet, and the output that it printed when it was run."""
    # Four of the 100 rows that suppression pads to are enough.
    padded = [a.name for a in op.attributes if a.name == "max_output"]
    chosen = dict.fromkeys(padded if op.kind == "suppression" else (), 4)
    given = op.resolve(chosen)
    sizes = {
        name: max(low, min(_SIZES.get(name, 3), high)) for name, (low, _, high) in op.dims.items()
    }
    sampler = next(iter(op.samplers.values()))
    draws = [
        sampler(np.random.default_rng(seed), sizes, given) for seed in range(_SEED, _SEED + 100)
    ]
    telling = (arrays for arrays in draws if all((a > 0).any() for a in arrays.values()))
    drawn = next(telling, draws[0])
    lines = ["import torch", "", "from lossexport import ops", ""]
    for tensor in op.inputs:
        dtype = f", dtype=torch.{tensor.dtype}" if tensor.dtype in ("int64", "bool") else ""
        grad = ", requires_grad=True" if tensor.name in op.gradient else ""
        values = drawn[tensor.name]
        line = f"{tensor.name} = torch.tensor({_literal(values)}{dtype}{grad})"
        if len(line) > 100:  # a line for each row
            indent = " " * (line.index("[") + 1)
            rows = line.replace("], [", f"],\n{indent}[").splitlines()
            line = "\n".join(wrapped(row, f"{indent} ") for row in rows)
        lines.append(line)
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
        exec("\n".join(lines), {})  # runs our own text, so that the page shows its real output
    return "\n".join(
        ("```python", *lines, "```", "", "prints", "", "```text", printed.getvalue() + "```")
    )


def _files(op: Op) -> str:
    gradient = " --gradient" if op.gradient else ""
    ops = CATALOG.option(op.name)
    inputs = ", ".join(f"{tensor.name}={tensor.name}" for tensor in op.inputs)
    stem = f"{op.name}.grad" if op.gradient else op.name
    return f"""\
```sh
lossexport export {op.name}{ops}{gradient} --format onnx,engine --out out
lossexport verify out{ops}
```

Then run it without PyTorch, on NumPy arrays of the same names:

```python
from lossexport.runtime import load

outputs = load("out/{stem}.onnx")({inputs})
```"""
