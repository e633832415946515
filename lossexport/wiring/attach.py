"""`attach`: append an op to the graph of a detector."""

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from lossexport import __version__, arguments
from lossexport.catalog import find
from lossexport.catalog.spec import Dim, Op, Tensor
from lossexport.catalog.variant import Range, Variant
from lossexport.errors import LossexportError, one_line, shown
from lossexport.exporter import checked, rtx
from lossexport.exporter.versions import DOMAIN, check_opset
from lossexport.files import write_bytes
from lossexport.names import BOX_FORMATS, BoxFormat, Builder, Precision
from lossexport.runtime.guard.calls import CALLS, calls
from lossexport.runtime.ort import open_session
from lossexport.runtime.session import Source
from lossexport.wiring import detector
from lossexport.wiring.build import Build
from lossexport.wiring.expression import Compiler
from lossexport.wiring.graph import Size, Term, Wiring, WiringError
from lossexport.wiring.layout import in_rows
from lossexport.wiring.unchanged import Original

_MAX_SIDE = 1e6
_BATCH = "B"  # the dimension of an op of batches that all its inputs begin with

_PRECISIONS: dict[ir.DataType, Precision] = {
    ir.DataType.FLOAT: "fp32",
    ir.DataType.FLOAT16: "fp16",
    ir.DataType.BFLOAT16: "bf16",
}
_TYPES = {"int64": ir.DataType.INT64, "bool": ir.DataType.BOOL, "float32": ir.DataType.FLOAT}
_BOUNDARY = _TYPES | {"float16": ir.DataType.FLOAT16, "bfloat16": ir.DataType.BFLOAT16}


_STEPS = 4


@dataclass(frozen=True, slots=True)
class Attached:
    """The precision of the op that was added, and its outputs, such as `boxes float32[100,4]`.

    `rtx` is the verdict of TensorRT-RTX's parser, if it is installed. `notes` say which versions of
    the detector were raised, and why.
    """

    precision: Precision
    outputs: tuple[str, ...]
    rtx: rtx.Parsed
    notes: tuple[str, ...] = ()


def attach(
    model: str | Path,
    op: str,
    inputs: Mapping[str, str],
    out: str | Path,
    *,
    attributes: Mapping[str, Any] | None = None,
    box_format: BoxFormat = "xyxy",
    image_size: tuple[float, float] | None = None,
    prefix: str = "",
    opset: int | None = None,
    build: bool = False,
    shapes: Mapping[str, str | int] | None = None,
    backend: Builder = "rtx",
    compute_capabilities: Sequence[str] = (),
    progress: Callable[[int, int, str], None] | None = None,
) -> Attached:
    """Append `op` to the detector `model` and write the result to `out`.

    `inputs` maps every input of the op to a tensor of the detector, or to an expression over its
    tensors (see `expression`). A batch of 1 is dropped, and any other refused; only an op of
    batches, such as `batched_nms`, takes any batch, fixed or open. [C,A] is transposed to [A,C],
    and boxes are converted from `box_format` and, if they are normalised, multiplied by
    `image_size` (width, height). The op takes the float type of the mapped tensors, or float32 if
    their types differ or are float64. Its outputs are added to the detector's own; their names
    begin with `prefix`.

    The op is written for the detector's opset, or for `opset`, to which the detector is then
    raised, as is one that is older than 17. With `build`, the engine is written beside `out`;
    `shapes`, `backend` and `compute_capabilities` are as in `export`, and `shapes` has a range for
    each open dimension of the inputs.

    Before the file is written, the op is compared with float64 PyTorch, and the file is checked,
    loaded in onnxruntime and compared with the detector. `progress` is called with `(done, total,
    step)`. Raises LossexportError on bad usage or input, and if the detector does not run here.
    """
    path, target, spec = arguments.path("model", model), arguments.path("out", out), find(op)
    inputs = arguments.mapping("inputs", inputs)
    attributes = arguments.mapping("attributes", attributes)
    prefix = arguments.text("prefix", prefix)
    step = _steps(progress)
    base = Variant.make(spec, attributes)
    engine = Build.of(target, build, backend, shapes, compute_capabilities)
    _check_usage(spec, inputs, box_format, image_size)
    if not prefix.isprintable():
        raise LossexportError(f"prefix {shown(prefix)}: must be printable text")
    step(0, "reading")
    of_batches = all(tensor.shape[:1] == (_BATCH,) for tensor in spec.inputs)
    loaded = detector.load(path, of_batches, None if opset is None else check_opset(opset))
    graph_model, graph = loaded.model, loaded.model.graph
    profile = engine.shapes(path, graph.inputs) if engine else {}
    stem = _free(f"{prefix}{op}", {str(node.name) for node in graph})
    wiring = Wiring(graph, stem)
    compiler = Compiler(wiring)
    terms: dict[str, Term] = {}
    bound: dict[Dim, Size] = {}
    for tensor in spec.inputs:
        try:
            term = compiler.compile(inputs[tensor.name])
            if is_box(tensor):
                term = _xyxy(wiring, term, box_format, image_size)
            terms[tensor.name] = _fit(wiring, term, tensor, base.shape(tensor), bound)
            bound |= zip(base.shape(tensor), terms[tensor.name].shape, strict=True)
        except WiringError as error:
            raise LossexportError(f"{path}: {tensor.name}={inputs[tensor.name]}: {error}") from None
    try:
        floats = [tensor.name for tensor in spec.inputs if tensor.dtype == "float"]
        terms |= zip(floats, wiring.alike(*(terms[name] for name in floats)), strict=True)
        sizes = _bind(spec, base, terms)
    except WiringError as error:
        raise LossexportError(f"{path}: {op}: {error}") from None
    precision = _PRECISIONS[terms[floats[0]].dtype] if floats else "fp32"
    variant = Variant.make(spec, attributes, precision, ranges=_ranges(spec, sizes))

    opset_now = graph_model.opset_imports[""]
    if not checked.known(variant, opset_now):
        from lossexport.parity.trial import trial  # imports torch

        trial(variant)
    outputs = [_output(prefix, stem, variant, tensor, sizes) for tensor in variant.outputs]
    for value in outputs:
        if value.name in wiring.values:
            raise LossexportError(
                f"{path}: already has a tensor {value.name}; name the outputs with --prefix"
            )
    step(0, "looking for inputs that fit")
    original = Original(path, loaded.data, loaded.converted)
    step(1, f"exporting {op}")
    exported = checked.graph(variant, opset_now).model
    values = [wiring.materialise(terms[tensor.name]) for tensor in spec.inputs]
    _append(graph_model, ir.from_proto(onnx.load_from_string(exported)), values, outputs, stem)
    graph_model.metadata_props[f"lossexport.attached.{stem}"] = json.dumps(
        {
            "op": op,
            "attributes": dict(variant.attributes),
            "precision": precision,
            "map": {name: _portable(text, compiler.files) for name, text in inputs.items()},
            "box_format": box_format,
            "image_size": image_size,
            "version": __version__,
        },
        sort_keys=True,
    )
    _state_calls(graph_model, loaded.data)
    result = _checked(target, graph_model)
    with ThreadPoolExecutor(1) as beside:  # the parser is another process
        parsing = beside.submit(rtx.parse, result)
        original.check_same(target, result, lambda text: step(2, text))
        step(3, "parsing with TensorRT-RTX")
        parsed = parsing.result()
    if engine is None:
        write_bytes(target, result)
    else:
        step(3, "building the engine")
        engine.write(target, result, profile, parsed)
    step(_STEPS, "done")
    made = (Term.of(value) for value in outputs)
    described = tuple(f"{v.name} {term}" for v, term in zip(outputs, made, strict=True))
    return Attached(precision, described, parsed, loaded.notes)


def _steps(progress: Callable[[int, int, str], None] | None) -> Callable[[int, str], None]:
    return lambda done, text: None if progress is None else progress(done, _STEPS, text)


def is_box(tensor: Tensor) -> bool:
    """Whether an input holds boxes, to which `box_format` and `image_size` apply."""
    return tensor.shape[-1:] == (4,) and tensor.text.startswith("xyxy")


def _check_usage(
    op: Op,
    inputs: Mapping[str, str],
    box_format: str,
    image_size: tuple[float, float] | None,
) -> None:
    names = [tensor.name for tensor in op.inputs]
    for name in inputs:
        if name not in names:
            raise LossexportError(
                f"{op.name}: has no input {shown(name)}; it has: {', '.join(names)}"
            )
    for tensor in op.inputs:
        if tensor.name not in inputs:
            raise LossexportError(f"{op.name}: input {_shown(tensor)} is not mapped to a tensor")
    arguments.choice("box format", box_format, BOX_FORMATS)
    sides = (1, 1) if image_size is None else arguments.several("image_size", image_size)
    if len(sides) != 2:
        raise arguments.refuse("image_size", image_size, "a width and a height")
    if not all(0 < arguments.number("image_size", side) <= _MAX_SIDE for side in sides):
        raise LossexportError(f"image size {shown(image_size)}: must be above 0, at most 1e6")
    if not any(map(is_box, op.inputs)) and (box_format != "xyxy" or image_size is not None):
        raise LossexportError(f"{op.name}: has no box input for a box format or an image size")


def _shown(tensor: Tensor) -> str:
    return f"{tensor.name}[{','.join(map(str, tensor.shape))}]"


def _free(name: str, taken: set[str]) -> str:
    """`name`, or `name_2` and so on if that is taken."""
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    return found


def _xyxy(
    wiring: Wiring, boxes: Term, box_format: BoxFormat, image_size: tuple[float, float] | None
) -> Term:
    """Corners in pixels. The coordinates may be the last axis or, for [1,4,A], the one before."""
    if box_format == "xyxy" and image_size is None:
        return boxes
    if boxes.weak and not boxes.floating:
        boxes = wiring.cast(boxes, ir.DataType.FLOAT)
    if boxes.shape[-1:] != (4,) and boxes.shape[-2:-1] == (4,):
        order = list(range(len(boxes.shape)))
        boxes = wiring.transpose(boxes, *order[:-2], order[-1], order[-2])
    if box_format != "xyxy":
        boxes = wiring.xywh(boxes) if box_format == "xywh" else wiring.cxcywh(boxes)
    if image_size is not None:
        boxes = wiring.arithmetic("Mul", boxes, Term.constant([float(v) for v in image_size * 2]))
    return boxes


def _fit(
    wiring: Wiring,
    term: Term,
    tensor: Tensor,
    wanted: tuple[Dim, ...],
    bound: Mapping[Dim, Size],
) -> Term:
    """`term` in the type and the shape of an input of the op; `bound` are sizes of other inputs."""
    if tensor.dtype in _TYPES and (tensor.dtype != "bool" or term.dtype is _TYPES["bool"]):
        term = wiring.cast(term, _TYPES[tensor.dtype])
    elif tensor.dtype == "float" and (term.floating or term.weak):
        term = term if term.floating else wiring.cast(term, ir.DataType.FLOAT)
    else:
        hint = "; float(...) makes it one" if tensor.dtype == "float" else ""
        raise WiringError(f"is {term}; {_shown(tensor)} has to be {tensor.dtype}{hint}")
    laid_out = _layout(wiring, in_rows(wiring, term, wanted, bound), wanted)
    if laid_out is None:
        batch = f", and no batch of {term.shape[0]}" if len(term.shape) > len(wanted) else ""
        raise WiringError(f"is {term}; the op needs {_shown(tensor)}{batch}")
    return laid_out


def _layout(wiring: Wiring, term: Term, wanted: tuple[Dim, ...]) -> Term | None:
    """`term` in a shape that fits `wanted`; None if there is none.

    A batch of 1 is dropped, [C,A] is transposed to [A,C] if C is fixed, and the fixed dimensions
    after the first are split if the detector has them as one.
    """
    fixed = [dim for dim in wanted[1:] if isinstance(dim, int)]
    forms = [wanted]
    if 2 <= len(fixed) == len(wanted) - 1:
        forms.append((wanted[0], math.prod(fixed)))
    batches = (False, True) if term.shape[:1] == (1,) else (False,)
    for form, batch, turned in itertools.product(forms, batches, (False, True)):
        shape = term.shape[1:] if batch else term.shape
        if turned and (len(form) != 2 or not fixed):
            continue
        if _matches(shape[::-1] if turned else shape, form):
            term = wiring.squeeze(term, [0]) if batch else term
            term = wiring.transpose(term) if turned else term
            return term if form is wanted else wiring.reshape(term, -1, *fixed)
    return None


def _matches(shape: tuple[Size, ...], form: tuple[Dim, ...]) -> bool:
    return len(shape) == len(form) and all(
        size in (dim, None) or isinstance(dim, str) for size, dim in zip(shape, form, strict=True)
    )


def _bind(op: Op, base: Variant, terms: Mapping[str, Term]) -> dict[str, Size]:
    """Sizes of the op's symbolic dimensions. Raises WiringError if two inputs differ."""
    sizes: dict[str, Size] = {}
    source: dict[str, str] = {}
    for tensor in op.inputs:
        for dim, size in zip(base.shape(tensor), terms[tensor.name].shape, strict=True):
            if not isinstance(dim, str) or size is None:
                continue
            if sizes.setdefault(dim, size) != size:
                raise WiringError(
                    f"{tensor.name} has {dim}={size} where {source[dim]} has {dim}={sizes[dim]}"
                )
            source.setdefault(dim, tensor.name)
    for dim, size in sizes.items():
        if size is not None and size < op.dims[dim][0]:
            raise WiringError(f"{dim}={size} must be at least {op.dims[dim][0]}")
    return sizes


def _ranges(op: Op, sizes: Mapping[str, Size]) -> dict[str, Range]:
    """Ranges for dimensions whose size exceeds the usual range, extended up to that size."""
    return {
        dim: Range(low, best, size)
        for dim, (low, best, high) in op.dims.items()
        if (size := sizes.get(dim)) is not None and size > high
    }


def _output(
    prefix: str, stem: str, variant: Variant, tensor: Tensor, sizes: Mapping[str, Size]
) -> ir.Value:
    dims: list[Dim] = []
    for dim in variant.shape(tensor):
        size = sizes.get(dim) if isinstance(dim, str) else dim
        dims.append(f"{stem}.{dim}" if size is None else size)
    dtype = _BOUNDARY[variant.numpy_dtype(tensor)]
    return ir.Value(name=prefix + tensor.name, shape=ir.Shape(dims), type=ir.TensorType(dtype))


def _append(
    model: ir.Model,
    exported: ir.Model,
    inputs: list[ir.Value],
    outputs: list[ir.Value],
    stem: str,
) -> None:
    """Copy the function of `exported` to `model` and call it at the end of the graph."""
    (call,) = exported.graph
    names: dict[str, str] = {}
    for function in exported.functions.values():  # callees come before their callers
        for part in function:
            part.op_type = names.get(part.op_type, part.op_type)
        # The same op with other attributes gets another name, since TensorRT has no overloads.
        plain, number = function.name, 1
        while (held := model.functions.get(function.identifier())) and not _equal(held, function):
            number += 1
            function.name = f"{plain}_{number}"
        if held is None:
            model.functions[function.identifier()] = function
        names[plain] = function.name
    name = names[call.op_type]
    node = ir.Node(DOMAIN, name, inputs, call.attributes.values(), outputs=outputs, name=stem)
    model.graph.append(node)
    model.graph.outputs.extend(outputs)
    model.opset_imports[DOMAIN] = 1


def _equal(a: ir.Function, b: ir.Function) -> bool:
    first, second = (ir.to_proto(x).SerializeToString(deterministic=True) for x in (a, b))
    return bool(first == second)


def _portable(text: str, files: list[str]) -> str:
    """An expression without the folders of this machine."""
    for file in files:
        text = text.replace(f"@{file}", f"@{Path(file).name}")
    return text


def _state_calls(model: ir.Model, original: bytes) -> None:
    """Note what our calls are, so that kernels may run them for as long as they are the same.

    Nothing is said of a model whose own calls were changed, or not noted, before.
    """
    before, digest = calls(original)
    if before and model.metadata_props.pop(CALLS, None) != digest:
        return
    data = ir.to_proto(model).SerializeToString(deterministic=True)
    _, model.metadata_props[CALLS] = calls(data)


def _checked(out: Path, model: ir.Model) -> bytes:
    """The bytes of a model that the checker, the guard and onnxruntime accept."""
    data: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    try:
        onnx.checker.check_model(data)
    except Exception as error:  # any exception of its C++ code
        raise LossexportError(f"{out}: would not be valid: {one_line(error)}") from error
    open_session(Source(out, data, None), "ort", "cpu")
    return data
