"""Small expressions over a detector's tensors: `output[0,:,4] * max(output[0,:,5:])`.

They read like NumPy: subscripts with constants, arithmetic, comparisons and the functions of
`FUNCTIONS`. A tensor whose name is no identifier is quoted, `'input.1'`, and so is a constant from
a file, `'@anchors.npy'`; neither needs quotes if it is the whole expression. The text is parsed by
`ast` and compiled to ONNX operators, never evaluated.
"""

import ast
import inspect
import io
import math
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx_ir as ir

from lossexport.errors import LossexportError, one_line, printable, shown
from lossexport.files import read_bytes
from lossexport.wiring.functions import FUNCTIONS, TYPES, as_float
from lossexport.wiring.graph import MAX_RANK, Term, Wiring, WiringError

Value = Term | int | str | Sequence["Value"] | None
"""What a name may stand for: a tensor, a whole number, a word, several of them, or nothing."""

MAX_CONSTANT_BYTES = 64 * 2**20
MAX_LENGTH = 1000
_MAX_DEPTH = 50
_MAX_NUMBER = 2**62
_SHOWN = 20
_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "Add",
    ast.Sub: "Sub",
    ast.Mult: "Mul",
    ast.Div: "Div",
    ast.BitAnd: "And",
    ast.BitOr: "Or",
}
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "Less",
    ast.LtE: "LessOrEqual",
    ast.Gt: "Greater",
    ast.GtE: "GreaterOrEqual",
    ast.Eq: "Equal",
    ast.NotEq: "Equal",  # and its opposite
}
_WHOLE: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}
"""The arithmetic of whole numbers that are known here, as of sizes."""
_KINDS: dict[object, str] = {Term: "a tensor", int: "a whole number", str: "a word"}


class Compiler:
    """Compiles expressions over the tensors of a graph.

    `names` are those that stand for something else than a tensor of the graph of that name; in
    quotes, a name always is the tensor. `files` are the constants that were read.
    """

    def __init__(self, wiring: Wiring, names: Mapping[str, Value] | None = None) -> None:
        self.names: dict[str, Value] = dict(names or {})
        self.files: list[str] = []
        self._wiring = wiring

    def compile(self, text: str) -> Term:
        """The tensor that `text` stands for. Raises WiringError, with the place in the text."""
        found = self.value(text)
        if isinstance(found, int):
            return Term.constant(found)
        if not isinstance(found, Term):
            raise WiringError("is no tensor")
        return found

    def value(self, text: str) -> Value:
        """The same; whole numbers, words and lists of tensors stay what they are."""
        if text in self._wiring.values and text not in self.names:
            return self._tensor(text)
        if text.startswith("@"):
            return self._file(text[1:])
        if len(text) > MAX_LENGTH:
            raise WiringError(f"longer than {MAX_LENGTH} characters")
        line = "".join(" " if char in "\n\t" else char for char in text)
        try:
            with warnings.catch_warnings():  # for example about escapes in a quoted name
                warnings.simplefilter("ignore")
                tree = ast.parse(line.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            at = getattr(error, "offset", None)
            place = f", at character {at + len(line) - len(line.lstrip())}" if at else ""
            raise WiringError(
                f"cannot be read: {getattr(error, 'msg', error)}{place}; a tensor name that is no "
                "identifier goes in quotes"
            ) from error
        _check_depth(tree)
        try:
            return self._visit(tree)
        except WiringError as error:
            if error.node is None:
                raise
            place = line.strip().encode()[: error.node.col_offset].decode()
            first = len(line) - len(line.lstrip()) + 1
            raise WiringError(f"{error}, at character {len(place) + first}") from error

    def _visit(self, node: ast.expr) -> Value:
        with _about(node):
            return self._found(node)

    def _found(self, node: ast.expr) -> Value:
        match node:
            case ast.Name(id=name) if name in self.names:
                if self.names[name] is None:
                    raise WiringError(f"{name} is not known of this detector")
                return self.names[name]
            case ast.Name(id=name) if name in TYPES and name not in self._wiring.values:
                return name
            case ast.Name(id=name):
                return self._tensor(name)
            case ast.Constant(value=str(name)):
                return self._file(name[1:]) if name[:1] == "@" else self._tensor(name)
            case ast.Subscript(value=inner, slice=index):
                items = index.elts if isinstance(index, ast.Tuple) else [index]
                term = self._term(inner)
                return self._wiring.subscript(term, [self._index(item) for item in items])
            case ast.BinOp():
                return self._binary(node)
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                found = self._visit(inner)
                return -found if isinstance(found, int) else self._wiring.negative(_term(found))
            case ast.Compare(left=left, ops=[sign], comparators=[right]) if (
                type(sign) in _COMPARISONS
            ):
                terms = self._term(left), self._term(right)
                result = self._wiring.compare(_COMPARISONS[type(sign)], *terms)
                if isinstance(sign, ast.NotEq):
                    result = self._wiring.emit("Not", [result], result.shape)
                return result
            case ast.IfExp(test=test, body=body, orelse=other):
                return self._visit(body if self._holds(test) else other)
            case ast.Call(func=ast.Name(id=name)):
                return self._call(name, node)
            case ast.Attribute():
                raise WiringError(f"{_source(node)}: a tensor of that name goes in quotes")
        if (number := _number(node)) is not None:
            return number if isinstance(number, int) else Term.constant(number)
        raise WiringError(f"{_source(node)}: not part of the language")

    def _term(self, node: ast.expr) -> Term:
        with _about(node):
            return _term(self._visit(node))

    def _binary(self, node: ast.BinOp) -> Value:
        kind, (left, right) = type(node.op), (self._visit(x) for x in (node.left, node.right))
        if isinstance(left, int) and isinstance(right, int) and kind in _WHOLE:
            if kind is ast.FloorDiv and right == 0:
                raise WiringError(f"{_source(node)}: divides by 0")
            return _bounded(_WHOLE[kind](left, right))
        if kind not in _OPERATORS:
            raise WiringError(f"{_source(node)}: not part of the language")
        act = self._wiring.logic if kind in (ast.BitAnd, ast.BitOr) else self._wiring.arithmetic
        return act(_OPERATORS[kind], _term(left), _term(right))

    def _holds(self, test: ast.expr) -> bool:
        """`NAME if CONDITION else ...`: whether a name stands for something, or for that word."""
        match test:
            case ast.Name(id=name) if name in self.names:
                return not any(self.names[name] is nothing for nothing in (None, False))
            case ast.Compare(
                left=ast.Name(id=name), ops=[ast.Eq()], comparators=[ast.Name(id=word)]
            ) if name in self.names:
                return self.names[name] == word
        raise WiringError(f"{_source(test)}: is not known here; where(...) chooses by values")

    def _call(self, name: str, node: ast.Call) -> Value:
        if name not in FUNCTIONS:
            raise WiringError(f"no function {shown(name)}; there are: {', '.join(FUNCTIONS)}")
        signature = inspect.signature(FUNCTIONS[name])
        given: list[Value] = []
        for argument in node.args:
            starred = isinstance(argument, ast.Starred)
            found = self._visit(argument.value if isinstance(argument, ast.Starred) else argument)
            given += _several(found) if starred else [found]
        named = {str(k.arg): self._visit(k.value) for k in node.keywords}
        try:
            bound = signature.bind(self._wiring, *given, **named)
        except TypeError as error:
            raise WiringError(f"{name}: {error}; it is {usage(name)}") from error
        for parameter, value in list(bound.arguments.items())[1:]:
            kind = signature.parameters[parameter].annotation
            several = isinstance(value, tuple)
            values = [
                Term.constant(x) if kind is Term and isinstance(x, int) else x
                for x in (value if several else (value,))
            ]
            if not all(isinstance(x, kind) for x in values):
                raise WiringError(
                    f"{name}: {parameter} must be {_KINDS[kind]}; it is {usage(name)}"
                )
            bound.arguments[parameter] = tuple(values) if several else values[0]
        return FUNCTIONS[name](*bound.args, **bound.kwargs)

    def _tensor(self, name: str) -> Term:
        value = self._wiring.values.get(name)
        if value is None:
            raise WiringError(f"no tensor {shown(name)}; {self._known()}")
        term = Term.of(value)
        # No op takes float64, so mapped tensors become float32.
        return as_float(self._wiring, term) if term.dtype is ir.DataType.DOUBLE else term

    def _known(self) -> str:
        """Names to choose from: the outputs, then the tensors nearest to them."""
        graph = self._wiring.graph
        outputs = [str(value.name) for value in graph.outputs]
        inner = [str(value.name) for node in reversed(graph) for value in node.outputs]
        theirs = [name for name in (*outputs, *inner) if name in self._wiring.values]
        names = list(dict.fromkeys((*self.names, *theirs)))
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return f"there are: {', '.join(names[:_SHOWN])}{more}"

    def _file(self, path: str) -> Term:
        try:
            array = _array(read_bytes(Path(path), MAX_CONSTANT_BYTES))
        except LossexportError as error:
            raise WiringError(str(error)) from error
        except Exception as error:  # tokenize and ast raise many types on a bad header
            raise WiringError(f"{path}: not an array in .npy format: {one_line(error)}") from error
        if array.ndim > MAX_RANK:
            raise WiringError(f"{path}: has {array.ndim} axes, at most {MAX_RANK} are read")
        try:
            term = Term.constant(array)
        except WiringError as error:
            raise WiringError(f"{path}: {error}") from error
        self.files.append(path)
        return term

    def _index(self, node: ast.expr) -> int | slice:
        """A constant subscript, or a slice of step 1."""
        with _about(node):
            if not isinstance(node, ast.Slice):
                return self._edge(node)
            if node.step is not None:
                raise WiringError(f"subscript {_source(node)}: has a step")
            low, high = node.lower, node.upper
            return slice(low and self._edge(low), high and self._edge(high))

    def _edge(self, node: ast.expr) -> int:
        constant = not isinstance(node, ast.Name) or isinstance(self.names.get(node.id), int)
        number = self._visit(node) if constant else None
        if not isinstance(number, int):
            raise WiringError(f"subscript {_source(node)}: must be N, N:M, N:, :M or :")
        return number


@contextmanager
def _about(node: ast.expr) -> Iterator[None]:
    """Note the part of the expression that an error is about, if no smaller one is known."""
    try:
        yield
    except WiringError as error:
        error.node = error.node or node
        raise


def _term(value: Value) -> Term:
    if isinstance(value, int):
        return Term.constant(value)
    if not isinstance(value, Term):
        raise WiringError(f"{shown(value)} is no tensor")
    return value


def _several(value: Value) -> Sequence[Value]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return value
    raise WiringError("a star goes before a name that stands for several tensors")


def usage(name: str) -> str:
    """The usage of a function, such as `max(x, axis=-1)`."""
    parameters: Sequence[inspect.Parameter] = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in list(inspect.signature(FUNCTIONS[name]).parameters.values())[1:]
    ]
    return f"{name}({', '.join(map(str, parameters))})"


def _source(node: ast.expr) -> str:
    """The text of a part. Python cannot unparse every tree, for example some f-strings."""
    try:
        return printable(ast.unparse(node))
    except Exception:
        return f"a part of type {type(node).__name__}"


def _check_depth(tree: ast.expr) -> None:
    """Refuse deep nesting before anything recurses."""
    level: list[ast.AST] = [tree]
    for _ in range(_MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    if level:
        raise WiringError(f"nested deeper than {_MAX_DEPTH}")


def _array(data: bytes) -> np.ndarray:
    """An array in .npy format; the size in its header is not trusted."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"version {version}")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.kind not in "fiu" or dtype.shape:
        raise ValueError(f"{dtype} is no type of whole or floating-point numbers")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"bad header: shape {shown(shape)}")
    stated, held = math.prod(shape) * dtype.itemsize, len(data) - stream.tell()
    if stated != held:
        raise ValueError(f"bad header: {shown(stated)} bytes of numbers, the file has {held}")
    array = np.frombuffer(data, dtype, offset=stream.tell())
    return array.reshape(shape, order="F" if fortran else "C")


def _number(node: ast.expr) -> int | float | None:
    value = node.value if isinstance(node, ast.Constant) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return _bounded(value)


_Number = TypeVar("_Number", int, float)


def _bounded(number: _Number) -> _Number:
    if not abs(number) < _MAX_NUMBER:
        raise WiringError(f"{shown(number)} is too large")
    return number
