"""Adds a recipe's inputs, expressions and ops to the graph of a detector."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from lossexport import arguments
from lossexport.catalog import find
from lossexport.catalog.spec import Dim, Op
from lossexport.catalog.variant import Variant
from lossexport.errors import LossexportError, shown, within
from lossexport.exporter import checked
from lossexport.exporter.versions import DOMAIN
from lossexport.names import BOX_FORMATS, Precision
from lossexport.wiring import fit
from lossexport.wiring.expression import Compiler, Value
from lossexport.wiring.functions import TYPES
from lossexport.wiring.graph import MAX_RANK, Size, Term, Wiring, WiringError
from lossexport.wiring.recipe import Recipe, Step

_MAX_SIDE = 1e6
_MAX_SIZE = 2**31 - 1
_PRECISIONS: dict[ir.DataType, Precision] = {
    ir.DataType.FLOAT: "fp32",
    ir.DataType.FLOAT16: "fp16",
    ir.DataType.BFLOAT16: "bf16",
}
_EXPRESSIONS = "expressions"
_MAX_NAME = 200
_SIZE = r"(?:[A-Za-z_]\w{0,99}|\d{1,10})"


@dataclass(frozen=True, slots=True)
class Added:
    """An op in the graph: its node, which calls nothing yet, and what it is to call."""

    node: ir.Node
    variant: Variant
    facts: Mapping[str, Any]
    """What the metadata say about it."""


class Chain:
    """The graph of the detector `path`, to which a recipe is added.

    `prefix` begins the names of new inputs and outputs. `added` are the ops, `inputs` and `outputs`
    the new ones of the file. In expressions, what the recipe adds goes by its name without prefix.
    """

    def __init__(self, path: Path, model: ir.Model, prefix: str) -> None:
        self.path, self.model, self.prefix = path, model, prefix
        self.wiring = Wiring(model.graph, prefix + _EXPRESSIONS)
        self.compiler = Compiler(self.wiring)
        self.added: list[Added] = []
        self.inputs: list[ir.Value] = []
        self.outputs: list[ir.Value] = []
        self._nodes = {str(node.name) for node in model.graph}

    def add(self, recipe: Recipe, expressions: Mapping[str, str]) -> None:
        """Add everything but the functions that ops call; `expressions` are those with names.

        Raises LossexportError on what does not fit the graph.
        """
        names = self.compiler.names
        for name, text in recipe.inputs.items():
            if text:
                names[name] = self._input(name, *_type(name, text))
        for name, text in expressions.items():
            names[name] = self._value(name, text)
        for step in recipe.steps:
            self._add_step(step, recipe)
        unused = [name for name in recipe.inputs if name not in names]
        if unused:
            raise LossexportError(
                f"input {unused[0]}: no op has an input of that name; an input for expressions "
                f"needs a type, as {unused[0]}=float32[80]"
            )
        terms = {name: self._term(name, text) for name, text in recipe.outputs.items()}
        self.wiring.stem = self.prefix + _EXPRESSIONS
        for name, term in terms.items():
            self._check_free(self.prefix + name)
            self.outputs.append(self.wiring.output(self.prefix + name, term))

    def define(self) -> None:
        """Export the ops and add the functions that their nodes call."""
        opset = self.model.opset_imports[""]
        for added in self.added:
            exported = checked.graph(added.variant, opset).model
            _define(self.model, ir.from_proto(onnx.load_from_string(exported)), added.node)

    def _add_step(self, step: Step, recipe: Recipe) -> None:
        spec = find(step.op)
        base = Variant.make(spec, step.attributes, gradient=step.gradient)
        self.wiring.stem = stem = self._free(f"{self.prefix}{step.prefix}{step.op}")
        self._nodes.add(stem)
        wiring, names = self.wiring, self.compiler.names
        terms: dict[str, Term] = {}
        bound: dict[Dim, Size] = {}
        for tensor in spec.inputs:
            text = step.inputs.get(tensor.name, tensor.name)
            if tensor.name not in step.inputs and tensor.name not in names:
                continue  # a new input, made below
            term = self._term(tensor.name, text)
            try:
                if fit.is_box(tensor) and tensor.name in step.inputs:
                    term = fit.xyxy(wiring, term, step.box_format, step.image_size)
                terms[tensor.name] = fit.fit(wiring, term, tensor, base.shape(tensor), bound)
            except WiringError as error:
                raise LossexportError(f"{self.path}: {tensor.name}={text}: {error}") from None
            bound |= zip(base.shape(tensor), terms[tensor.name].shape, strict=True)
        try:
            floats = [t.name for t in spec.inputs if t.dtype == "float" and t.name in terms]
            terms |= zip(floats, wiring.alike(*(terms[name] for name in floats)), strict=True)
            sizes = fit.bind(spec, base, terms)
        except WiringError as error:
            raise LossexportError(f"{self.path}: {step.op}: {error}") from None
        precision = _PRECISIONS[terms[floats[0]].dtype] if floats else "fp32"
        variant = Variant.make(
            spec, step.attributes, precision, step.gradient, fit.ranges(spec, sizes)
        )
        for tensor in spec.inputs:
            if tensor.name not in terms:
                dtype = TYPES[variant.numpy_dtype(tensor)]
                shape = [_named(stem, dim, sizes) for dim in variant.shape(tensor)]
                names[tensor.name] = terms[tensor.name] = self._input(tensor.name, dtype, shape)
        if not checked.known(variant, self.model.opset_imports[""]):
            from lossexport.parity.trial import trial  # imports torch

            trial(variant)
        self._call(step, variant, terms, sizes, recipe)

    def _call(
        self,
        step: Step,
        variant: Variant,
        terms: Mapping[str, Term],
        sizes: Mapping[str, Size],
        recipe: Recipe,
    ) -> None:
        """Append the node, whose outputs are outputs of the file unless others take their place."""
        stem, outputs = self.wiring.stem, []
        for tensor in variant.outputs:
            name, replaced = step.prefix + tensor.name, step.prefix + tensor.name in recipe.outputs
            full = f"{stem}.{tensor.name}" if replaced else self.prefix + name
            self._check_free(full)
            shape = [_named(stem, dim, sizes) for dim in variant.shape(tensor)]
            dtype = TYPES[variant.numpy_dtype(tensor)]
            value = ir.Value(name=full, shape=ir.Shape(shape), type=ir.TensorType(dtype))
            self.wiring.values[full] = value
            self.compiler.names[name] = Term.of(value)
            outputs.append(value)
            if not replaced:
                self.model.graph.outputs.append(value)
                self.outputs.append(value)
        values = [self.wiring.materialise(terms[tensor.name]) for tensor in variant.op.inputs]
        node = ir.Node(DOMAIN, variant.node_type, values, outputs=outputs, name=stem)
        self.model.graph.append(node)
        facts: dict[str, Any] = {
            "op": step.op,
            "attributes": dict(variant.attributes),
            "precision": variant.precision,
            "map": {name: self.portable(text) for name, text in step.inputs.items()},
            "box_format": step.box_format,
            "image_size": step.image_size,
        }
        facts |= {"gradient": True} if step.gradient else {}
        self.added.append(Added(node, variant, facts))

    def portable(self, text: str) -> str:
        """An expression without the folders of this machine."""
        for file in self.compiler.files:
            text = text.replace(f"@{file}", f"@{Path(file).name}")
        return text

    def _term(self, name: str, text: str) -> Term:
        with within(self.path):
            try:
                return self.compiler.compile(text)
            except WiringError as error:
                raise LossexportError(f"{name}={text}: {error}") from None

    def _value(self, name: str, text: str) -> Value:
        with within(self.path):
            try:
                return self.compiler.value(text)
            except WiringError as error:
                raise LossexportError(f"{name}={text}: {error}") from None

    def _input(self, name: str, dtype: ir.DataType, shape: list[int | str]) -> Term:
        full = self.prefix + name
        if full in self.wiring.values:
            raise LossexportError(
                f"{self.path}: already has a tensor {full}, so that no input can have that name; "
                f"take it as {name}={full}, or name the inputs with a prefix"
            )
        term = self.wiring.input(full, dtype, shape)
        self.inputs.append(self.wiring.values[full])
        return term

    def _check_free(self, name: str) -> None:
        if name in self.wiring.values:
            raise LossexportError(
                f"{self.path}: already has a tensor {name}; name the outputs with --prefix"
            )

    def _free(self, name: str) -> str:
        """`name`, or `name_2` and so on if a node has it."""
        number, found = 1, name
        while found in self._nodes:
            number += 1
            found = f"{name}_{number}"
        return found


def check(recipe: Recipe) -> None:
    """Refuse ops, attributes, names and options that do not fit each other."""
    for step in recipe.steps:
        spec = find(step.op)
        Variant.make(spec, step.attributes, gradient=step.gradient)
        _check_step(spec, step, recipe.inputs)
    for kind, names in (("input", recipe.inputs), ("output", recipe.outputs)):
        for name, text in names.items():
            if not (isinstance(name, str) and 0 < len(name) <= _MAX_NAME and name.isprintable()):
                raise LossexportError(f"{kind} {shown(name)}: is no name of a tensor")
            arguments.text(f"{kind} {name}", text)


def _check_step(op: Op, step: Step, new: Mapping[str, str]) -> None:
    names = [tensor.name for tensor in op.inputs]
    for name in step.inputs:
        if name not in names:
            raise LossexportError(
                f"{op.name}: has no input {shown(name)}; it has: {', '.join(names)}"
            )
    for tensor in op.inputs:
        if tensor.name in new and tensor.name in step.inputs and not new[tensor.name]:
            raise LossexportError(
                f"{op.name}: input {tensor.name} is mapped to a tensor and a new input as well"
            )
        if tensor.name not in step.inputs and tensor.name not in new:
            raise LossexportError(f"{op.name}: input {fit.shown(tensor)} is not mapped to a tensor")
    arguments.choice("box format", step.box_format, BOX_FORMATS)
    size = step.image_size
    sides = (1, 1) if size is None else arguments.several("image_size", size)
    if len(sides) != 2:
        raise arguments.refuse("image_size", size, "a width and a height")
    if not all(0 < arguments.number("image_size", side) <= _MAX_SIDE for side in sides):
        raise LossexportError(f"image size {shown(size)}: must be above 0, at most 1e6")
    if not any(map(fit.is_box, op.inputs)) and (step.box_format != "xyxy" or size is not None):
        raise LossexportError(f"{op.name}: has no box input for a box format or an image size")


def _type(name: str, text: str) -> tuple[ir.DataType, list[int | str]]:
    """The type and the shape that `float32[N,4]` states."""
    found = re.fullmatch(rf"(\w+)\[({_SIZE}(?:,{_SIZE})*)?\]", text.replace(" ", ""), re.ASCII)
    sizes = (found[2] or "").split(",") if found and found[2] else []
    shape = [int(size) if size.isdigit() else size for size in sizes]
    large = any(isinstance(size, int) and size > _MAX_SIZE for size in shape)
    if found is None or found[1] not in TYPES or large or len(shape) > MAX_RANK:
        raise LossexportError(
            f"input {name}={shown(text)}: expected TYPE[SIZE,...], as float32[80] or int64[N], "
            f"with a type of {', '.join(TYPES)}"
        )
    return TYPES[found[1]], shape


def _named(stem: str, dim: Dim, sizes: Mapping[str, Size]) -> int | str:
    """A dimension of a new tensor: its size if that is known, else a name of its own."""
    size = sizes.get(dim) if isinstance(dim, str) else dim
    return f"{stem}.{dim}" if size is None else size


def _define(model: ir.Model, exported: ir.Model, node: ir.Node) -> None:
    """Copy the function of `exported` to `model` and let `node` call it."""
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
    node.op_type = names[call.op_type]
    node.attributes.update(call.attributes)
    model.opset_imports[DOMAIN] = 1


def _equal(a: ir.Function, b: ir.Function) -> bool:
    first, second = (ir.to_proto(x).SerializeToString(deterministic=True) for x in (a, b))
    return bool(first == second)
