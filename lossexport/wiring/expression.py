"""Small expressions over a detector's tensors: `output[0,:,4] * max(output[0,:,5:])`.

They read like NumPy: subscripts with constants, + - * / and the functions of `FUNCTIONS`. A tensor
whose name is no identifier is quoted, `'input.1'`, and so is a constant from a file,
`'@anchors.npy'`; neither needs quotes if it is the whole expression. The text is parsed by `ast`
and compiled to ONNX operators, never evaluated.
"""

import ast
import inspect
import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from lossexport.errors import LossexportError, one_line, printable, shown
from lossexport.files import read_bytes
from lossexport.wiring.graph import FUNCTIONS, MAX_RANK, Term, Wiring, WiringError

MAX_CONSTANT_BYTES = 64 * 2**20
_MAX_LENGTH = 1000
_MAX_DEPTH = 50
_MAX_NUMBER = 2**62
_SHOWN = 20
_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "Add",
    ast.Sub: "Sub",
    ast.Mult: "Mul",
    ast.Div: "Div",
}


class Compiler:
    """Compiles expressions over the tensors of a graph; `files` are the constants it has read."""

    def __init__(self, wiring: Wiring) -> None:
        self.files: list[str] = []
        self._wiring = wiring

    def compile(self, text: str) -> Term:
        """The tensor that `text` stands for. Raises WiringError."""
        if text in self._wiring.values:
            return self._tensor(text)
        if text.startswith("@"):
            return self._file(text[1:])
        if len(text) > _MAX_LENGTH:
            raise WiringError(f"longer than {_MAX_LENGTH} characters")
        try:
            with warnings.catch_warnings():  # of escapes in a quoted name, say
                warnings.simplefilter("ignore")
                tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise WiringError(
                f"cannot be read: {getattr(error, 'msg', error)}; a tensor name that is no "
                "identifier goes in quotes"
            ) from error
        _check_depth(tree)
        return self._term(tree)

    def _visit(self, node: ast.expr) -> Term | int:
        match node:
            case ast.Name(id=name):
                return self._tensor(name)
            case ast.Constant(value=str(name)):
                return self._file(name[1:]) if name[:1] == "@" else self._tensor(name)
            case ast.Subscript(value=inner, slice=index):
                items = index.elts if isinstance(index, ast.Tuple) else [index]
                return self._wiring.subscript(self._term(inner), [_index(i) for i in items])
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
                terms = self._term(left), self._term(right)
                return self._wiring.arithmetic(_OPERATORS[type(operator)], *terms)
            case ast.Call(func=ast.Name(id=name)):
                return self._call(name, node)
            case ast.Attribute():
                raise WiringError(f"{_source(node)}: a tensor of that name goes in quotes")
        if (number := _number(node)) is not None:
            return number if isinstance(number, int) else Term.constant(number)
        raise WiringError(f"{_source(node)}: not part of the language")

    def _term(self, node: ast.expr) -> Term:
        found = self._visit(node)
        return found if isinstance(found, Term) else Term.constant(found)

    def _call(self, name: str, node: ast.Call) -> Term:
        if name not in FUNCTIONS:
            raise WiringError(f"no function {shown(name)}; there are: {', '.join(FUNCTIONS)}")
        signature = inspect.signature(FUNCTIONS[name])
        given = [self._visit(argument) for argument in node.args]
        named = {str(k.arg): self._visit(k.value) for k in node.keywords}
        try:
            bound = signature.bind(self._wiring, *given, **named)
        except TypeError as error:
            raise WiringError(f"{name}: {error}; it is {usage(name)}") from error
        for parameter, values in list(bound.arguments.items())[1:]:
            kind = signature.parameters[parameter].annotation
            for value in values if isinstance(values, tuple) else (values,):
                if not isinstance(value, kind):
                    wanted = "a tensor" if kind is Term else "a whole number"
                    raise WiringError(f"{name}: {parameter} must be {wanted}; it is {usage(name)}")
        return FUNCTIONS[name](*bound.args, **bound.kwargs)

    def _tensor(self, name: str) -> Term:
        value = self._wiring.values.get(name)
        if value is None:
            raise WiringError(f"no tensor {shown(name)}; {self._known()}")
        term = Term.of(value)
        # No op takes float64, so mapped tensors become float32.
        return self._wiring.as_float(term) if term.dtype is ir.DataType.DOUBLE else term

    def _known(self) -> str:
        """Names to choose from: the outputs, then the tensors nearest to them."""
        graph = self._wiring.graph
        outputs = [str(value.name) for value in graph.outputs]
        inner = [str(value.name) for node in reversed(graph) for value in node.outputs]
        names = list(dict.fromkeys((*outputs, *inner)))
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return f"there are: {', '.join(names[:_SHOWN])}{more}"

    def _file(self, path: str) -> Term:
        try:
            array = _array(read_bytes(Path(path), MAX_CONSTANT_BYTES))
        except LossexportError as error:
            raise WiringError(str(error)) from error
        except Exception as error:  # what tokenize and ast raise on the text of the header
            raise WiringError(f"{path}: not an array in .npy format: {one_line(error)}") from error
        if array.ndim > MAX_RANK:
            raise WiringError(f"{path}: has {array.ndim} axes, at most {MAX_RANK} are read")
        try:
            term = Term.constant(array)
        except WiringError as error:
            raise WiringError(f"{path}: {error}") from error
        self.files.append(path)
        return term


def usage(name: str) -> str:
    """A function as it is called: `max(x, axis=-1)`."""
    parameters: Sequence[inspect.Parameter] = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in list(inspect.signature(FUNCTIONS[name]).parameters.values())[1:]
    ]
    return f"{name}({', '.join(map(str, parameters))})"


def _source(node: ast.expr) -> str:
    """The text of a part; Python cannot write every tree that it reads, such as an f-string."""
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
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = -1, node.operand
    value = node.value if isinstance(node, ast.Constant) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = sign * value
    if not abs(number) < _MAX_NUMBER:
        raise WiringError(f"{shown(number)} is too large")
    return number


def _index(node: ast.expr) -> int | slice:
    """A constant subscript, or a slice of step 1."""
    if not isinstance(node, ast.Slice):
        return _edge(node)
    if node.step is not None:
        raise WiringError(f"subscript {_source(node)}: has a step")
    return slice(node.lower and _edge(node.lower), node.upper and _edge(node.upper))


def _edge(node: ast.expr) -> int:
    number = _number(node)
    if not isinstance(number, int):
        raise WiringError(f"subscript {_source(node)}: must be N, N:M, N:, :M or :")
    return number
