"""Checks declarations. Messages name the op, the field, its value and the remedy."""

import inspect
import keyword
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from lossexport.arguments import did_you_mean
from lossexport.catalog.domains import DOMAINS, DType
from lossexport.catalog.launch import Launch
from lossexport.catalog.parts import Attribute, Deferred, Reference, Tensor
from lossexport.errors import LossexportError, shown

if TYPE_CHECKING:
    from lossexport.catalog.spec import Op

KINDS = ("metric", "loss", "transform", "suppression")
_OPS = Path(__file__).resolve().parents[1] / "ops"
_NAME = r"[a-z][a-z0-9]*(_[a-z0-9]+)*"
_MOST_LETTERS = 100  # names of files begin with the name of the op
_MOST_TEXT = 4096  # as in a manifest
_MOST_SIZE = 2**31 - 1
# Fields that are sequences: the type of their items, and whether at least one is needed.
_SEVERAL: dict[str, tuple[type, bool]] = {
    "inputs": (Tensor, True),
    "outputs": (Tensor, True),
    "attributes": (Attribute, False),
    "gradient": (str, False),
    "references": (Reference, False),
    "notes": (str, False),
}
_ONE: dict[type, str] = {Attribute: "an Attribute"}


def check(op: "Op") -> None:
    """Raise LossexportError if a field of `op` is not valid."""
    _check_name(op.name)
    where = f"op {op.name!r}: "
    for field, (kind, needed) in _SEVERAL.items():
        _check_several(f"{where}{field}", getattr(op, field), kind, needed)
    _check_texts(where, op)
    for field, tensors in (("inputs", op.inputs), ("outputs", op.outputs)):
        for place, tensor in enumerate(tensors):
            _check_tensor(f"{where}{field}[{place}]", tensor)
    for place, attribute in enumerate(op.attributes):
        _check_attribute(f"{where}attributes[{place}]", attribute, op.name)
    _check_unique(where, op)
    _check_dimensions(where, op)
    _check_gradient(where, op)
    _check_mappings(where, op)
    if not callable(op.function):
        raise _wrong(f"{where}function", op.function, "a function")
    if not isinstance(op.function, Deferred):
        check_function(op, op.function)


def check_function(op: "Op", function: Callable[..., Any]) -> None:
    """Raise LossexportError if `function` does not take the inputs, then the attributes.

    Any further parameters need a default, which is used.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some functions written in C have no signature
        return
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    where = f"op {op.name!r}: function {getattr(function, '__name__', type(function).__name__)!r}"
    wanted = [tensor.name for tensor in op.inputs] + [item.name for item in op.attributes]
    for place, name in enumerate(wanted):
        found = named[place] if place < len(named) else None
        if found is None and len(named) < len(parameters):
            return  # *args, **kwargs: it accepts everything
        if found is not None and found.kind is found.POSITIONAL_ONLY:
            raise LossexportError(f"{where}: parameter {found.name!r} has no name: drop the /")
        if found is None or found.name != name:
            given = "missing" if found is None else repr(found.name)
            raise LossexportError(
                f"{where}: parameter {place + 1} is {given}, {name!r} is expected: the inputs, "
                f"then the attributes, by name: ({', '.join(wanted)})"
            )
    for extra in named[len(wanted) :]:
        if extra.default is extra.empty:
            raise LossexportError(
                f"{where}: parameter {extra.name!r} is no input and no attribute: declare it as "
                f"one, as Attribute({extra.name!r}, VALUE), or give it a default"
            )
    defaults = {p.name: p.default for p in named if p.default is not p.empty}
    for item in op.attributes:
        own = defaults.get(item.name, item.default)
        own = tuple(own) if isinstance(own, list) else own
        if not item.graph_only and not (_plain(own) and own == item.default):
            raise LossexportError(
                f"{where}: {item.name} has the default {shown(own)}, its attribute "
                f"{shown(item.default)}: make them the same"
            )


def _wrong(field: str, value: object, wanted: str) -> LossexportError:
    return LossexportError(f"{field} is {shown(value)}: {wanted} is expected")


def _plain(value: object) -> bool:
    """Whether `value` is a number, a str, None, or a tuple of these."""
    if isinstance(value, tuple):
        return all(map(_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not re.fullmatch(_NAME, name) or keyword.iskeyword(name):
        raise _wrong(
            "name of an op", name, "lower-case words joined by _, as mpdiou_loss, and no keyword"
        )
    if len(name) > _MOST_LETTERS:
        raise _wrong(f"name of an op, {len(name)} letters,", name, f"at most {_MOST_LETTERS}")
    if (_OPS / f"{name}.py").exists():
        raise LossexportError(f"name of an op is {name!r}: lossexport.ops.{name} is a module")


def _check_several(field: str, values: object, kind: type, needed: bool) -> None:
    wanted = f"a tuple of {kind.__name__}" + (" of one at least" if needed else "")
    if isinstance(values, kind):
        raise _wrong(field, values, f"{wanted}: in ( ,) even where it is the only one")
    if not isinstance(values, tuple) or (needed and not values):
        raise _wrong(field, values, wanted)
    for place, value in enumerate(values):
        if not isinstance(value, kind):
            raise _wrong(f"{field}[{place}]", value, _ONE.get(kind, f"a {kind.__name__}"))


def _check_texts(where: str, op: "Op") -> None:
    texts = {"summary": op.summary, "formula": op.formula}
    texts |= {f"notes[{place}]": note for place, note in enumerate(op.notes)}
    for place, reference in enumerate(op.references):
        texts |= {
            f"references[{place}].text": reference.text,
            f"references[{place}].link": reference.link,
        }
    for field, value in texts.items():
        _check_text(f"{where}{field}", value)
    if not isinstance(op.kind, str) or op.kind not in ("", *KINDS):
        raise _wrong(f"{where}kind", op.kind, f"one of {', '.join(KINDS)}")
    if not isinstance(op.class_name, str) or not _is_identifier(op.class_name or "A"):
        raise _wrong(f"{where}class_name", op.class_name, "a name in CamelCase")


def _check_text(field: str, value: object) -> None:
    if not isinstance(value, str) or len(value) > _MOST_TEXT or not value.isprintable():
        raise _wrong(field, value, f"a line of at most {_MOST_TEXT} characters")


def _is_identifier(name: object) -> bool:
    return (
        isinstance(name, str)
        and name.isascii()
        and name.isidentifier()
        and not keyword.iskeyword(name)
        and len(name) <= _MOST_LETTERS
    )


def _check_tensor(field: str, tensor: Tensor) -> None:
    if not _is_identifier(tensor.name):
        raise _wrong(f"{field}.name", tensor.name, "a name, as pred,")
    where = f"{field} {tensor.name!r}: "
    if not isinstance(tensor.shape, tuple):
        raise _wrong(f"{where}shape", tensor.shape, 'a tuple of sizes, as ("N", 4),')
    for dim in tensor.shape:
        if not (type(dim) is int and 1 <= dim <= _MOST_SIZE) and not _is_identifier(dim):
            raise _wrong(
                f"{where}shape {tensor.shape}: {shown(dim)}",
                dim,
                'a number from 1, or a name, as "N",',
            )
    if not isinstance(tensor.dtype, str) or tensor.dtype not in get_args(DType):
        names = ", ".join(get_args(DType))
        near = did_you_mean(tensor.dtype, get_args(DType))
        raise LossexportError(f"{where}dtype is {shown(tensor.dtype)}: one of {names}{near}")
    if not isinstance(tensor.whole, bool):
        raise _wrong(f"{where}whole", tensor.whole, "True or False")
    if not isinstance(tensor.where, str):
        raise _wrong(f"{where}where", tensor.where, "the name of a bool input")
    _check_domain(where, tensor)


def _check_domain(where: str, tensor: Tensor) -> None:
    _check_text(f"{where}domain", tensor.domain)
    known = DOMAINS.get(tensor.domain)
    if known is None and not tensor.bounded and re.fullmatch(r"\w*", tensor.domain):
        raise LossexportError(
            f"{where}domain is {shown(tensor.domain)}: one of {', '.join(DOMAINS)}, or several "
            f"words with low and high, is expected{did_you_mean(tensor.domain, list(DOMAINS))}"
        )
    if known is not None and known.last and tensor.shape[-1:] != (known.last,):
        raise LossexportError(
            f"{where}shape is {tensor.shape}: {tensor.domain} have {known.last} numbers: the last "
            f"dimension has to be {known.last}"
        )
    if not _is_number(tensor.low):
        raise _wrong(f"{where}low", tensor.low, "a number")
    if isinstance(tensor.high, str):
        if not re.fullmatch(r"[A-Za-z]\w{0,99}(-\d{1,9})?", tensor.high):
            raise _wrong(f"{where}high", tensor.high, 'a number or a dimension, as "C" or "C-1",')
    elif not _is_number(tensor.high):
        raise _wrong(f"{where}high", tensor.high, "a number or the name of a dimension")
    elif tensor.low > tensor.high:
        raise LossexportError(f"{where}low {tensor.low:g} is above high {tensor.high:g}")


def _masks(op: "Op", shape: tuple[object, ...]) -> list[str]:
    """The inputs that are masks of tensors of this shape."""
    return [tensor.name for tensor in op.inputs if (tensor.dtype, tensor.shape) == ("bool", shape)]


def _is_number(value: object) -> bool:
    """Whether `value` is a float other than NaN, or a whole number that a float can hold."""
    if type(value) is int:
        return value.bit_length() < 1024
    return type(value) is float and value == value


def _check_attribute(field: str, item: Attribute, op: str) -> None:
    if not _is_identifier(item.name):
        raise _wrong(f"{field}.name", item.name, "a name, as eps,")
    where = f"{field} {item.name!r}: "
    _check_text(f"{where}doc", item.doc)
    for name in ("minimum", "maximum", "below"):
        if not _is_number(getattr(item, name)):
            raise _wrong(f"{where}{name}", getattr(item, name), "a number")
    for name in ("per_class", "any_length", "graph_only"):
        if not isinstance(getattr(item, name), bool):
            raise _wrong(f"{where}{name}", getattr(item, name), "True or False")
    if not isinstance(item.choices, tuple) or not all(isinstance(c, str) for c in item.choices):
        raise _wrong(f"{where}choices", item.choices, "a tuple of words")
    numbers = "a number, True or False, a word with choices, or a tuple of numbers"
    if not _plain(item.default) or item.default == ():
        raise _wrong(f"{where}default", item.default, numbers)
    if isinstance(item.default, str) and not item.choices:
        raise LossexportError(
            f"{where}default is {shown(item.default)}: a word needs choices, as "
            f"choices=({shown(item.default)}, ...)"
        )
    try:
        item.check(op, item.default)
    except LossexportError as error:
        reason = str(error).partition(": ")[2].partition(": ")[2]
        raise LossexportError(f"{where}default is {shown(item.default)}: {reason}") from None


def _check_unique(where: str, op: "Op") -> None:
    given = [f"input {t.name!r}" for t in op.inputs] + [
        f"attribute {a.name!r}" for a in op.attributes
    ]
    made = [f"output {t.name!r}" for t in op.outputs] + [f"output 'grad_{n}'" for n in op.gradient]
    inputs = [f"input {t.name!r}" for t in op.inputs]
    for names in (given, [*inputs, *made]):
        seen: dict[str, str] = {}
        for what in names:
            name = what.partition(" ")[2]
            if name in seen:
                raise LossexportError(
                    f"{where}{what} has the name of {seen[name]}: give each a name of its own"
                )
            seen[name] = what


def _check_dimensions(where: str, op: "Op") -> None:
    if not isinstance(op.work, tuple) or not all(isinstance(dim, int | str) for dim in op.work):
        raise _wrong(f"{where}work", op.work, "a tuple of sizes")
    attributes = {item.name: item for item in op.attributes}
    known = _names(t.shape for t in op.inputs)
    labelled = any(t.domain in ("logits", "probabilities") for t in op.inputs)
    for place, tensor in enumerate((*op.inputs, *op.outputs)):
        field = f"inputs[{place}]" if tensor in op.inputs else f"outputs[{place - len(op.inputs)}]"
        for dim in _names([tensor.shape]):
            if dim in attributes:
                default = attributes[dim].default
                if type(default) is not int or default < 1:
                    raise LossexportError(
                        f"{where}attributes: {dim!r} is a dimension of {tensor.name!r} and has the "
                        f"default {shown(default)}: a whole number from 1 is expected"
                    )
            elif dim not in known:
                raise LossexportError(
                    f"{where}{field} {tensor.name!r}: dimension {dim!r} is that of no input and no "
                    f"attribute; they have: {', '.join([*known, *attributes]) or 'none'}"
                )
        bound = tensor.high.partition("-")[0] if isinstance(tensor.high, str) else ""
        # Labels have no upper bound if no tensor has the dimension C.
        free = (tensor.domain, tensor.high) == ("labels", DOMAINS["labels"].high) and not labelled
        if bound and bound not in (*known, *attributes) and not free:
            raise LossexportError(
                f"{where}{field} {tensor.name!r}: high is {tensor.high!r}, and no input has a "
                f"dimension {bound!r}; they have: {', '.join(known) or 'none'}"
            )
        if tensor.where not in ("", *_masks(op, tensor.shape)):
            raise _wrong(
                f"{where}{field} {tensor.name!r}: where", tensor.where, "a bool input alike"
            )
    if not set(_names([op.work])) <= {*known, *attributes}:
        raise _wrong(f"{where}work", op.work, "dimensions of inputs")


def _names(shapes: Iterable[tuple[int | str, ...]]) -> list[str]:
    return list(dict.fromkeys(dim for shape in shapes for dim in shape if isinstance(dim, str)))


def _check_gradient(where: str, op: "Op") -> None:
    inputs = {tensor.name: tensor for tensor in op.inputs}
    for name in op.gradient:
        if name not in inputs:
            near = did_you_mean(name, list(inputs))
            raise LossexportError(
                f"{where}gradient: {shown(name)} is no input; they are: {', '.join(inputs)}{near}"
            )
        if inputs[name].dtype != "float":
            raise LossexportError(
                f"{where}gradient: {name!r} is {inputs[name].dtype}: only a float input has one"
            )
    if op.gradient and op.outputs[0].dtype not in ("float", "float32"):
        raise LossexportError(
            f"{where}gradient: it is that of the first output, {op.outputs[0].name!r}, which is "
            f"{op.outputs[0].dtype}: put a float output first"
        )


def _check_mappings(where: str, op: "Op") -> None:
    if not isinstance(op.samplers, Mapping) or not all(
        isinstance(name, str) and re.fullmatch(r"\w+", name) and callable(draw)
        for name, draw in op.samplers.items()
    ):
        raise _wrong(f"{where}samplers", op.samplers, "a mapping of names to functions")
    if not isinstance(op.dims, Mapping):
        raise _wrong(f"{where}dims", op.dims, 'a mapping, as {"N": (1, 256, 65536)},')
    fixed = {item.name for item in op.attributes}
    known = [name for name in _names(t.shape for t in op.inputs) if name not in fixed]
    for name, sizes in op.dims.items():
        if name not in known:
            raise LossexportError(
                f"{where}dims: no input has a dimension {shown(name)}; they have: "
                f"{', '.join(known) or 'none'}"
            )
        ordered = (
            isinstance(sizes, tuple)
            and len(sizes) == 3
            and all(type(size) is int for size in sizes)
            and 0 <= sizes[0] <= sizes[1] <= sizes[2] <= _MOST_SIZE
            and sizes[2] >= 1
        )
        if not ordered:
            raise _wrong(
                f"{where}dims[{name!r}]", sizes, "(smallest, tuned for, largest), in this order,"
            )
    inputs, outputs = ({t.name for t in tensors} for tensors in (op.inputs, op.outputs))
    if not isinstance(op.state, Mapping) or not (
        set(op.state) <= inputs and set(op.state.values()) <= outputs
    ):
        raise _wrong(f"{where}state", op.state, "a mapping of inputs to outputs")
    if not isinstance(op.any_shape, bool):
        raise _wrong(f"{where}any_shape", op.any_shape, "True or False")
    if op.kernel is not None and not isinstance(op.kernel, Launch):
        raise _wrong(f"{where}kernel", op.kernel, "a Launch")
    if not isinstance(op.stages, tuple):
        raise _wrong(f"{where}stages", op.stages, "a tuple of Stage")
