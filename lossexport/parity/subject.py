"""Checks a subject as an op: the op itself, a file, or a function of any origin."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from lossexport import arguments
from lossexport.catalog import CATALOG, find
from lossexport.catalog.spec import Op
from lossexport.catalog.variant import Range, Variant
from lossexport.errors import LossexportError
from lossexport.exporter import export, onnx_file
from lossexport.files import write_bytes
from lossexport.manifest import BackendParity
from lossexport.names import BUILDERS, KERNEL_BACKENDS, PRECISIONS, Builder, Precision
from lossexport.parity.artifact import Target, files, required, targets
from lossexport.parity.cases import Selection
from lossexport.parity.foreign import Eager, Function, Renamed, name_of
from lossexport.parity.report import replay_command
from lossexport.parity.verify import Check, verify_file
from lossexport.runtime import available
from lossexport.runtime.backends import MAX_BYTES, read_source
from lossexport.runtime.onnx_guard import check_model


@dataclass(frozen=True, slots=True)
class Finding:
    """The results of a subject; `replay` returns how to run a case of it again."""

    name: str
    results: Sequence[BackendParity]
    replay: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The variant that is asked for, the backends (None: all of this machine), and the cases."""

    attributes: Mapping[str, Any]
    precision: Precision
    gradient: bool
    shapes: Mapping[str, str | int]
    backends: Sequence[str] | None
    cases: Selection

    def variant(self, op: Op, fixed: Mapping[str, Range] | None = None) -> Variant:
        """The variant of `op`; a file may have some of the sizes `fixed`.

        Raises LossexportError if there is none.
        """
        arguments.choice("precision", self.precision, PRECISIONS)
        given = {name: Range.parse(name, size) for name, size in self.shapes.items()}
        ranges = given | dict(fixed or {})
        return Variant.make(op, self.attributes, self.precision, self.gradient, ranges)

    @property
    def is_plain(self) -> bool:
        """Whether no option describes the variant, as is required for a file of ours."""
        given = (self.attributes, self.shapes, self.gradient, self.precision != "fp32")
        return not any(given)

    def builders(self, op: Op) -> list[Builder]:
        """The builders of the engines that are asked for; none for ops outside of the catalogue."""
        if self.backends is None:
            here = available()
            return [name for name in BUILDERS if here[name].runs and _is_known(op)]
        found = [name for name in BUILDERS if name in self.backends]
        if found and not _is_known(op):
            raise LossexportError(f"{op.name}: is not in the catalogue, and has no engine")
        return found


def unrun(found: Sequence[Finding], backends: Sequence[str] | None) -> list[str]:
    """A sentence for each subject that ran nowhere, or did not run on one of `backends`."""
    sentences = []
    for finding in found:
        absent = [result for result in finding.results if result.status == "not run here"]
        if backends is not None:
            absent = [result for result in absent if required(result.backend, backends)]
        elif len(absent) < len(finding.results):
            continue
        sentences += [f"{finding.name} on {r.backend}: not run here: {r.reason}" for r in absent]
    labels = [result.backend for finding in found for result in finding.results]
    for name in backends or ():
        if not any(required(label, [name]) for label in labels):
            sentences.append(f"{name}: nothing that was to be checked is for it")
    return sentences


def findings(subject: object, op: str | Op | None, wanted: Wanted) -> Iterator[Finding]:
    """Check a subject as the op that it names, or a function or file of any origin as `op`.

    Raises LossexportError if there is no such op or file, and on options that do not apply.
    """
    if op is not None:
        op = op if isinstance(op, Op) else find(op)
        if callable(subject):
            yield _function(subject, op, wanted)
        else:
            yield _foreign(arguments.path("subject", subject), op, wanted)
    elif isinstance(subject, Op):
        yield _op(subject, wanted)
    elif callable(subject):
        raise LossexportError(f"{name_of(subject)}: a function needs the op that it is to be")
    elif isinstance(subject, str) and not _is_path(subject):
        yield _op(find(subject), wanted)
    else:
        yield from _exported(arguments.path("subject", subject), wanted)


def _is_path(text: str) -> bool:
    """Whether `text` is a path and not the name of an op: it exists or looks like one."""
    if text in CATALOG:
        return False
    path = arguments.path("subject", text)
    return path.exists() or path.suffix != "" or path.name != text


def _is_known(op: Op) -> bool:
    """Whether the catalogue has this very `op`: only such ops have kernels and engines."""
    return CATALOG.get(op.name) is op


def _again(case: str) -> str:
    return f"replay={case!r} runs this case alone"


def _op(op: Op, wanted: Wanted) -> Finding:
    variant = wanted.variant(op)
    check = Check(variant, wanted.cases(variant))
    builders = wanted.builders(op)
    runs = [
        target
        for target in targets(op.name, variant.gradient, None, wanted.backends)
        if target.backend not in KERNEL_BACKENDS or _is_known(op)
    ]
    with TemporaryDirectory() as folder:
        path = Path(folder, f"{variant.stem}.onnx")
        if runs:
            write_bytes(path, onnx_file.onnx_bytes(variant))
        results = [check.file(path, target) for target in runs]
        for builder in builders:
            if available()[builder].runs:
                export(
                    op.name,
                    folder,
                    formats=["engine"],
                    gradient=wanted.gradient,
                    precision=wanted.precision,
                    attributes=wanted.attributes,
                    shapes=wanted.shapes,
                    backend=builder,
                )
            results.append(check.file(path.with_suffix(".engine"), Target(builder)))
    return Finding(variant.stem, results, _again)


def _exported(path: Path, wanted: Wanted) -> Iterator[Finding]:
    """The findings on an exported file, or on all files of an export folder."""
    if not wanted.is_plain:
        raise LossexportError(
            f"{path}: says itself which attributes, precision, gradient and shapes it has"
        )
    for file, _ in files(path):
        report = verify_file(file, wanted.backends, wanted.cases)
        if report.results:
            name = f"{file} ({report.variant.stem})"
            yield Finding(name, report.results, partial(replay_command, file, report.variant))


def _foreign(path: Path, op: Op, wanted: Wanted) -> Finding:
    """The finding on an `.onnx` file of any origin, run in onnxruntime as an op.

    Its inputs and outputs are matched with those of the op by name, or in order if names differ.
    """
    if path.suffix != ".onnx":
        raise LossexportError(f"{path}: suffix {path.suffix!r}, expected .onnx")
    model = check_model(read_source(path, MAX_BYTES).data, str(path))
    inputs = _in_order(path, "input", model.inputs, [tensor.name for tensor in op.inputs])
    fixed = {
        dim: Range(size, size, size)
        for tensor, name in zip(op.inputs, inputs, strict=True)
        for dim, size in zip(tensor.shape, model.sizes[name], strict=False)
        if isinstance(dim, str) and size is not None and dim in op.dims
    }
    variant = wanted.variant(op, fixed)
    outputs = _in_order(path, "output", model.outputs, [tensor.name for tensor in variant.outputs])
    check = Check(variant, wanted.cases(variant))
    results = [
        check.file(path, target, partial(Renamed, variant=variant, inputs=inputs, outputs=outputs))
        for target in targets(op.name, variant.gradient, None, wanted.backends)
        if target.backend == "ort"
    ]
    return Finding(f"{path} as {variant.stem}", results, _again)


def _in_order(path: Path, kind: str, found: Sequence[str], wanted: list[str]) -> list[str]:
    if len(found) != len(wanted):
        raise LossexportError(
            f"{path}: {kind}s are {', '.join(found)}, those of the op are {', '.join(wanted)}"
        )
    return wanted if set(found) == set(wanted) else list(found)


def _function(function: Function, op: Op, wanted: Wanted) -> Finding:
    """The finding on a function as an op, run in eager PyTorch on the CPU with the inputs only."""
    if wanted.backends is not None:
        raise LossexportError(f"backends: {name_of(function)} is a function, and runs in PyTorch")
    variant = wanted.variant(op)
    check = Check(variant, wanted.cases(variant))
    result = check.run("torch", torch.__version__, lambda: Eager(function, variant))
    return Finding(f"{name_of(function)} as {variant.stem}", [result], _again)
