"""Follows the nodes of a graph and bounds every result in the type in which it is computed."""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress

import numpy as np
import onnx
from onnx import inliner, numpy_helper, shape_inference

from lossexport.catalog.variant import MAX_ELEMENTS, Variant
from lossexport.ranges import domain as domains
from lossexport.ranges import grid
from lossexport.ranges.expression import MINUS, NAN, PLUS, Expression, Value
from lossexport.ranges.interval import KINDS, TRUTH, WHOLE, Interval, Kind, kind_of
from lossexport.ranges.levels import Levels
from lossexport.ranges.make import Maker, has_one
from lossexport.ranges.reach import Reach
from lossexport.ranges.rules import RULES

_SINGLE = 24  # digits of float32


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model without functions, its types and shapes inferred."""
    plain = inliner.inline_local_functions(model)
    return shape_inference.infer_shapes(plain, data_prop=True)


class Walk:
    """The values of a graph that was inlined."""

    def __init__(self, model: onnx.ModelProto, variant: Variant, domain: domains.Domain) -> None:
        self._make = Maker()
        self._values: dict[str, Value] = {}
        self._reaches: list[Reach] = []
        graph = model.graph
        infos = [*graph.value_info, *graph.input, *graph.output]
        self._types = {info.name: info.type.tensor_type for info in infos}
        self._most = {name: size.max for name, size in variant.ranges.items()}
        by_name = {tensor.name: tensor for tensor in variant.op.inputs}
        for info in graph.input:
            if info.name in by_name:
                tensor = by_name[info.name]
                self._values[info.name] = domains.value(tensor, variant, domain, self._make)
        for constant in graph.initializer:
            self._values[constant.name] = self._constant(numpy_helper.to_array(constant))
        self._results = {info.name for info in graph.output}
        for place, node in enumerate(graph.node):
            self._node(node, place)
        levels = Levels(graph, self.value)
        self._reaches = [
            reach
            for reach in self._reaches
            if reach.part <= 1.0 or reach.kind.digits < _SINGLE or not levels.out(reach.output)
        ]

    @property
    def reaches(self) -> list[Reach]:
        """Every result that is computed in a float type, in the order of the nodes."""
        return self._reaches

    def value(self, name: str) -> Value:
        """The value of a name in the graph."""
        return self._values[name]

    def _shape(self, name: str) -> list[int]:
        """The largest sizes of a tensor's dimensions."""
        shape = self._types[name].shape if name in self._types else None
        if shape is None:
            return []
        return [
            dim.dim_value if dim.HasField("dim_value") else self._most.get(dim.dim_param, 0)
            for dim in shape.dim
        ]

    def _rank(self, name: str) -> int | None:
        known = name in self._types and self._types[name].HasField("shape")
        return len(self._types[name].shape.dim) if known else None

    def _kind(self, name: str, node: onnx.NodeProto) -> Kind:
        number = self._types[name].elem_type if name in self._types else 0
        if not number and node.input and node.input[0] in self._values:
            return self._values[node.input[0]].every.kind
        return kind_of(number)

    def _constant(self, array: np.ndarray) -> Value:
        kind = kind_of(onnx.helper.np_dtype_to_tensor_dtype(array.dtype))
        whole = None
        if kind is WHOLE and array.size <= 64:
            whole = tuple(int(x) for x in array.ravel())
        numbers = array.astype(np.float64)

        def expression(values: np.ndarray) -> Expression:
            finite = values[np.isfinite(values)]
            low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
            odd = {w for w, x in ((PLUS, np.inf), (MINUS, -np.inf)) if (values == x).any()}
            odd |= {NAN} if np.isnan(values).any() else set()
            step = grid.of_numbers(values)
            return self._make.constant(float(low), float(high), kind, frozenset(odd), step)

        parts = None
        if array.ndim and 1 < array.shape[-1] <= 16 and kind is not WHOLE:
            parts = tuple(expression(numbers[..., place]) for place in range(array.shape[-1]))
        return Value(expression(numbers), parts, whole)

    def _node(self, node: onnx.NodeProto, place: int) -> None:
        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant":
            array = self._literal(given)
            self._values[node.output[0]] = self._constant(array)
            return
        handler = _SHAPED.get(node.op_type)
        missing = any(name and name not in self._values for name in node.input)
        found: Value | list[Value] | None = None
        with suppress(LookupError, TypeError, ValueError, AttributeError):  # an odd node of a file
            if not missing and handler is not None:
                found = handler(self, node, given)
            elif not missing and (node.op_type in RULES or node.op_type == "Clip"):
                found = self._elementwise(node)
        several = found if isinstance(found, list) else [found] * len(node.output)
        for output, one in zip(node.output, several, strict=True):
            if not output:
                continue
            value = one if one is not None else self._unknown(node, output)
            self._values[output] = value
            self._note(node, output, value, place, one is not None)

    @staticmethod
    def _literal(given: Mapping[str, object]) -> np.ndarray:
        if "value" in given:
            return numpy_helper.to_array(given["value"])  # type: ignore[arg-type]
        ((name, value),) = given.items()
        dtype = np.float32 if "float" in name else np.int64
        return np.asarray(value, dtype)

    def _unknown(self, node: onnx.NodeProto, output: str) -> Value:
        """The result of an operator without a rule: any number of its type, or none."""
        kind = self._kind(output, node)
        if kind is TRUTH:
            return Value(self._make.opaque(output, Interval(0.0, 1.0), kind, frozenset()))
        wide = Interval(-math.inf, math.inf) if kind.digits else Interval(-(2.0**63), 2.0**63)
        return Value(self._make.opaque(output, wide, kind, frozenset()))

    def _note(
        self, node: onnx.NodeProto, output: str, value: Value, place: int, known: bool
    ) -> None:
        expressions = value.parts or (value.every,)
        kind, bound = expressions[0].kind, math.inf
        if kind.digits:
            bound = min(value.every.raw.size, max(one.raw.size for one in expressions))
        elif known or not any(attribute.HasField("g") for attribute in node.attribute):
            return
        else:  # what is computed inside the node is not known either
            kind = KINDS[1]
        name = node.name or output or f"node {place}"
        converts = node.op_type == "Cast" and output in self._results
        self._reaches.append(Reach(name, node.op_type, output, bound, kind, converts, known))

    def _elementwise(self, node: onnx.NodeProto) -> Value:
        values = [self._values[name] for name in node.input if name]
        kind = self._kind(node.output[0], node)
        counts = {len(value.parts) for value in values if value.parts}
        if len(counts) > 1:
            counts -= {1}  # one place meets every other
        every = self._apply(node, [value.every for value in values], kind)
        if counts == {1} and not all(
            value.parts or self._rank(name) == 0 or self._shape(name)[-1:] == [1]
            for value, name in zip(values, filter(None, node.input), strict=True)
        ):
            return Value(every)  # one place meets any number of places
        if len(counts) != 1 or node.op_type == "Softmax":
            return Value(every)
        parts = []
        for place in range(max(counts)):
            arguments = [self._part(v, n, place) for v, n in zip(values, node.input, strict=False)]
            if any(one is None for one in arguments):
                return Value(every)
            parts.append(self._apply(node, [one for one in arguments if one is not None], kind))
        joined = self._make("any", parts, parts[0].kind)
        narrower = every.raw.size < joined.raw.size or every.operator == "Exp"
        return Value(every if narrower else joined, tuple(parts))

    def _part(self, value: Value, name: str, place: int) -> Expression | None:
        if value.parts:
            return value.parts[place if len(value.parts) > 1 else 0]
        if value.every.known is not None:
            return value.every
        return self._make.view(value.every, ("place", place, self._rank(name)))

    def _apply(self, node: onnx.NodeProto, arguments: list[Expression], kind: Kind) -> Expression:
        if node.op_type == "Clip":
            result = arguments[0]
            names = [name for name in node.input[1:] if name]
            for name, bound in zip(names, arguments[1:], strict=False):
                low = len(node.input) > 1 and name == node.input[1]
                result = self._make("Max" if low else "Min", [result, bound], kind)
            return result
        if node.op_type in ("Min", "Max") and len(arguments) != 2:
            result = arguments[0]
            for one in arguments[1:]:
                result = self._make(node.op_type, [result, one], kind)
            return result
        return self._make(node.op_type, arguments, kind)

    # Operators that move elements, or join several.

    def _axes(self, node: onnx.NodeProto, given: Mapping[str, object]) -> tuple[int, ...] | None:
        if isinstance(axes := given.get("axes"), list | tuple):
            return tuple(axes)
        if len(node.input) > 1 and node.input[1]:
            return self._values[node.input[1]].whole
        return None

    def _is_last(self, name: str, axis: int) -> bool:
        rank = self._rank(name)
        return axis == -1 or (rank is not None and axis == rank - 1)

    def _moved(self, value: Value, how: tuple[object, ...]) -> Value:
        return Value(self._make.view(value.every, how), None, value.whole)

    def moved(self, node: onnx.NodeProto, given: Mapping[str, object]) -> Value:
        """Elements at other places, of which no more is known."""
        value = self._values[node.input[0]]
        return self._moved(value, (node.op_type, node.output[0]))

    def unsqueezed(self, node: onnx.NodeProto, given: Mapping[str, object]) -> Value:
        """A new axis."""
        value, axes = self._values[node.input[0]], self._axes(node, given)
        rank = self._rank(node.input[0])
        if axes is None or rank is None or len(axes) != 1:
            return self.moved(node, given)
        axis = axes[0] % (rank + 1)
        how = ("Unsqueeze", axis, rank)
        if axis == rank:
            return Value(self._make.view(value.every, how), (value.every,), value.whole)
        parts = None
        if value.parts:
            of = ("Unsqueeze", axis, rank - 1)
            parts = tuple(self._make.view(one, of) for one in value.parts)
        return Value(self._make.view(value.every, how), parts, value.whole)

    def squeezed(self, node: onnx.NodeProto, given: Mapping[str, object]) -> Value:
        """One axis less; a single place in the last axis is its part."""
        value, axes = self._values[node.input[0]], self._axes(node, given)
        if value.whole is not None and len(value.whole) == 1:
            return value
        single = axes is not None and len(axes) == 1 and self._is_last(node.input[0], axes[0])
        if single and value.parts and len(value.parts) == 1:
            return Value(value.parts[0])
        return self.moved(node, given)

    def sliced(self, node: onnx.NodeProto, given: Mapping[str, object]) -> Value:
        """Some of the places in the last axis, or any elements."""
        value = self._values[node.input[0]]
        wholes = [self._values[name].whole for name in node.input[1:] if name]
        if value.parts and len(wholes) >= 3 and all(w and len(w) == 1 for w in wholes):
            start, end, axis, step = ([w[0] for w in wholes if w] + [1])[:4]
            if self._is_last(node.input[0], axis):
                parts = value.parts[slice(start, end if abs(end) < 2**31 else None, step)]
                if parts:
                    return Value(self._make("any", parts, parts[0].kind), parts)
        return self.moved(node, given)

    def split(self, node: onnx.NodeProto, given: Mapping[str, object]) -> list[Value]:
        """Several outputs, each with its places in the last axis, or any elements."""
        value = self._values[node.input[0]]
        axis = given.get("axis", 0)
        last = isinstance(axis, int) and self._is_last(node.input[0], axis)
        if last and value.parts and len(value.parts) == len(node.output):
            return [Value(part, (part,)) for part in value.parts]
        return [self._moved(value, (node.op_type, output)) for output in node.output]

    def gathered(self, node: onnx.NodeProto, given: Mapping[str, object]) -> Value:
        """One place in the last axis, or any elements."""
        value, at = self._values[node.input[0]], self._values[node.input[1]].whole
        axis = given.get("axis", 0)
        if (
            (
                value.parts
                and at
                and len(at) == 1
                and self._rank(node.input[1]) == 0
                and at[0] < len(value.parts)
            )
            and isinstance(axis, int)
            and self._is_last(node.input[0], axis)
        ):
            return Value(value.parts[at[0]])
        return self.moved(node, given)

    def expanded(self, node: onnx.NodeProto, given: Mapping[str, object]) -> Value:
        """Repeated elements, which are equal where they meet others."""
        ranks = self._rank(node.input[0]), self._rank(node.output[0])
        if ranks[0] is not None and ranks[0] == ranks[1]:
            value = self._values[node.input[0]]
            return Value(value.every, None, value.whole)
        return self.moved(node, given)

    def joined(self, node: onnx.NodeProto, given: Mapping[str, object]) -> Value:
        """Several tensors, one after the other."""
        values = [self._values[name] for name in node.input]
        axis = given.get("axis", 0)
        every = self._make("any", [value.every for value in values], values[0].every.kind)
        parts: tuple[Expression, ...] | None = None
        known = all(value.parts for value in values)
        if known and isinstance(axis, int) and self._is_last(node.output[0], axis):
            parts = sum((value.parts or () for value in values), ())
            every = self._make("any", parts, parts[0].kind)
        # The same place of two joins holds elements of different places of what is joined.
        return Value(self._make.view(every, ("Concat", node.output[0])), parts)

    def chosen(self, node: onnx.NodeProto, given: Mapping[str, object]) -> list[Value]:
        """The largest or smallest elements, and where they are."""
        value = self._values[node.input[0]]
        most = Interval(0.0, float(MAX_ELEMENTS))
        places = self._make.opaque(node.output[1], most, WHOLE, frozenset())
        return [self._moved(value, (node.op_type, node.output[0])), Value(places)]

    def scattered(self, node: onnx.NodeProto, given: Mapping[str, object]) -> Value:
        """A tensor of which some elements are replaced."""
        if given.get("reduction", b"none") != b"none":
            raise ValueError
        both = [self._values[node.input[place]].every for place in (0, 2)]
        every = self._make("any", both, both[0].kind)
        return Value(self._make.view(every, (node.op_type, node.output[0])))

    def summed(self, node: onnx.NodeProto, given: Mapping[str, object]) -> Value:
        """Sums of the first elements along an axis."""
        value, axes = self._values[node.input[0]].every, self._values[node.input[1]].whole
        most = self._count(node.input[0], axes)
        how = {"least": 0, "most": most, "how": (node.output[0],)}
        return Value(self._make("sum", [value], value.kind, how))

    def reduced(self, node: onnx.NodeProto, given: Mapping[str, object]) -> Value:
        """A sum, mean, maximum or minimum."""
        value, axes = self._values[node.input[0]], self._axes(node, given)
        kind = value.every.kind
        alone = axes and len(axes) == 1 and self._is_last(node.input[0], axes[0])
        operator = node.op_type
        how = {"how": (axes, given.get("keepdims", 1), self._rank(node.input[0]))}
        if operator in ("ReduceMax", "ReduceMin"):
            name = "most" if operator == "ReduceMax" else "fewest"
            return Value(self._make(name, [value.every], kind, how))
        if alone and value.parts and not has_one(value.every, how):
            total = value.parts[0]
            for part in value.parts[1:]:
                total = self._make("Add", [total, part], kind)
            if operator == "ReduceMean":
                share = self._make.constant(1.0 / len(value.parts), 1.0 / len(value.parts), kind,
                                            frozenset())  # fmt: skip
                total = self._make("Mul", [total, share], kind)
            parts = (total,) if given.get("keepdims", 1) else None
            every = total if parts is None else self._make.view(total, ("Unsqueeze", "kept"))
            return Value(every, parts)
        if operator == "ReduceMean":
            return self.moved(node, given)
        most = self._count(node.input[0], axes)
        least = 0 if most != 1 else 1
        return Value(self._make("sum", [value.every], kind, {"least": least, "most": most, **how}))

    def _count(self, name: str, axes: tuple[int, ...] | None) -> int:
        shape = self._shape(name)
        known = axes is not None and all(-len(shape) <= axis < len(shape) for axis in axes)
        chosen = [shape[axis] for axis in axes] if axes and known else shape
        return min(math.prod(chosen), MAX_ELEMENTS) if chosen and all(chosen) else MAX_ELEMENTS


Handler = Callable[[Walk, onnx.NodeProto, Mapping[str, object]], Value | list[Value]]
_SHAPED: dict[str, Handler] = {
    **dict.fromkeys(("Reshape", "Transpose", "Flatten", "Gather", "GatherElements"), Walk.moved),
    "Unsqueeze": Walk.unsqueezed,
    "Squeeze": Walk.squeezed,
    "Slice": Walk.sliced,
    "Split": Walk.split,
    "TopK": Walk.chosen,
    "CumSum": Walk.summed,
    "ScatterElements": Walk.scattered,
    "Gather": Walk.gathered,
    "Expand": Walk.expanded,
    "Concat": Walk.joined,
    **dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"), Walk.reduced),
}
