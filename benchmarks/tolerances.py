"""How much of its tolerance every output uses: allowed over observed error, op by op.

    python benchmarks/tolerances.py            # writes benchmarks/results/tolerances.*

Every op, with its gradient where it has one, in float32, float16 and bfloat16, on every backend
that it has here: its graph in onnxruntime, its CPU kernel, and eager PyTorch. The cases are those
of `lossexport verify`, ordinary and adversarial, with more seeds the smaller they are. A factor is
1 over the part of the tolerance that the worst element uses, of those in the type's normal range:
below it a number may be flushed to 0, which is all of it. A float16 or bfloat16 output is rounded
once more, and the worst element uses all that it may.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import RESULTS, environment, table, write

from lossexport.catalog import CATALOG
from lossexport.catalog.spec import Arrays, Op
from lossexport.catalog.variant import Variant
from lossexport.exporter.onnx_file import onnx_bytes
from lossexport.files import write_bytes
from lossexport.names import PRECISIONS, Precision
from lossexport.parity.cases import Case, cases
from lossexport.parity.error import Errors
from lossexport.parity.measure import feed
from lossexport.parity.oracle import Judge, function
from lossexport.runtime import load
from lossexport.runtime.native import kernel, kernels

WANTED = 10.0
"""The largest factor that a tolerance should have."""
ELEMENTS = 2**13
SEEDS, SMALL_SEEDS = 2, 40
_SMALL = 64
_NORMAL = {"float32": 2.0**-126, "float16": 2.0**-14, "bfloat16": 2.0**-126}
PACKAGES = ("torch", "onnx", "onnxruntime", "numpy", "lossexport")

Backend = Callable[..., Arrays]


def chosen(variant: Variant, seeds: int, elements: int) -> list[Case]:
    """The cases of `verify` up to so many elements, and many draws of the smallest."""
    drawn = list(cases(variant, SEEDS, elements))
    small = [case for case in drawn if np.prod([n for _, n in case.sizes]) <= _SMALL]
    more = {Case(case.family, case.sizes, seed) for case in small for seed in range(SEEDS, seeds)}
    return drawn + sorted(more, key=str)


def eager(variant: Variant) -> Backend:
    """PyTorch in the variant's own precision, as a session is called."""
    call = function(variant)
    names = [tensor.name for tensor in variant.op.inputs]

    def run(**arrays: np.ndarray) -> Arrays:
        given = []
        for name in names:
            array = arrays[name]
            narrow = array.dtype.name == "bfloat16"
            value = torch.from_numpy(array.astype(np.float32) if narrow else array)
            given.append(value.bfloat16() if narrow else value)
        results = (r.float() if r.dtype == torch.bfloat16 else r for r in call(*given))
        return {t.name: r.numpy() for t, r in zip(variant.outputs, results, strict=True)}

    return run


def backends(variant: Variant, folder: Path) -> dict[str, Backend]:
    """Those that this machine has for the variant."""
    path = folder / f"{variant.stem}.onnx"
    write_bytes(path, onnx_bytes(variant))
    found: dict[str, Backend] = {"onnxruntime": load(path, "ort")}
    if kernel(variant) in kernels():
        found["native"] = load(path, "native")
    return found | {"eager": eager(variant)}


def errors(
    variant: Variant, runners: dict[str, Backend], drawn: Iterable[Case]
) -> dict[tuple[str, str], Errors]:
    """By output and backend."""
    judge = Judge(variant)
    found = {
        (tensor.name, name): Errors(
            variant.op.output_tolerance(tensor.name, variant.precision),
            variant.numpy_dtype(tensor),
        )
        for tensor in variant.outputs
        for name in runners
    }
    for case in drawn:
        inputs, expected, roundings = judge(case)
        for name, runner in runners.items():
            actual = runner(**feed(variant, inputs))
            for tensor in variant.outputs:
                wanted = expected[tensor.name]
                kept = np.full(wanted.shape, True)
                if (least := _NORMAL.get(variant.numpy_dtype(tensor))) is not None:
                    kept = ~((np.abs(wanted) < least) & (wanted != 0))
                found[tensor.name, name].add(
                    str(case), actual[tensor.name][kept], wanted[kept], roundings[tensor.name][kept]
                )
    return found


def measured(
    op: Op, precisions: Sequence[Precision], seeds: int, folder: Path
) -> list[dict[str, Any]]:
    """A row for every output, precision and backend of an op."""
    rows = []
    for precision in precisions:
        variant = Variant.make(op, {}, precision, gradient=bool(op.gradient))
        # The last rounding of a narrow type outweighs all others: few draws meet it.
        drawn = chosen(variant, seeds, ELEMENTS if precision == "fp32" else ELEMENTS // 16)
        runners = backends(variant, folder)
        for (output, backend), error in errors(variant, runners, drawn).items():
            used = error.worst.used if error.worst else 0.0
            rows.append(
                {
                    "op": op.name,
                    "output": output,
                    "precision": precision,
                    "backend": backend,
                    "elements": error.elements,
                    "breaches": error.breaches,
                    "factor": 1 / used if used else None,
                    "case": error.worst.case if error.worst else None,
                }
            )
    return rows


def _cell(rows: Sequence[dict[str, Any]], precision: str, backend: str) -> str:
    for row in rows:
        if (row["precision"], row["backend"]) == (precision, backend):
            return "exact" if row["factor"] is None else f"{row['factor']:.1f}"
    return ""


def markdown(now: str, facts: dict[str, str], rows: list[dict[str, Any]]) -> str:
    """The results as a page."""
    columns = [(p, b) for p in PRECISIONS for b in ("onnxruntime", "native", "eager")]
    names = dict.fromkeys((row["op"], row["output"]) for row in rows)
    lines = []
    for name in names:
        own = [row for row in rows if (row["op"], row["output"]) == name]
        lines.append([f"`{name[0]}` {name[1]}", *(_cell(own, *column) for column in columns)])
    factors = [row["factor"] for row in rows if row["factor"] is not None]
    return "\n".join(
        (
            "# Allowed over observed error",
            "",
            f"{now}, {', '.join(f'{k} {v}' for k, v in facts.items())}.",
            "",
            f"{len(rows)} rows, {sum(row['breaches'] for row in rows)} elements beyond their "
            f"tolerance, largest factor {max(factors):.1f}. `exact`: no error, and where the "
            "output is a count or an index none is allowed.",
            "",
            table(["output", *(f"{p} {b}" for p, b in columns)], lines),
            "",
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("ops", nargs="*", default=list(CATALOG), help="names of ops; default: all")
    parser.add_argument("--precision", nargs="*", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--seeds", type=int, default=SMALL_SEEDS, help="draws of small cases")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    facts = environment(PACKAGES)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.ops:
            new = measured(CATALOG[name], options.precision, options.seeds, Path(folder))
            for row in new:
                factor = "exact" if row["factor"] is None else f"{row['factor']:.2f}"
                beyond = row["factor"] is not None and row["factor"] > WANTED
                mark = " TOO WIDE" if beyond else " BREACHED" if row["breaches"] else ""
                print(
                    f"{row['op']:24} {row['output']:20} {row['precision']} {row['backend']:12}"
                    f"{factor:>8}{mark} {row['case']}",
                    flush=True,
                )
            rows += new
    write(
        "tolerances",
        {"environment": facts, "rows": rows},
        lambda now: markdown(now, facts, rows),
        options.out,
    )


if __name__ == "__main__":
    main()
