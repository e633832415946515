"""The stubs, what Python says of functions and modules, and the catalogue agree on every op."""

import dataclasses
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from torch import Tensor

import lossexport
from lossexport import nn, ops
from lossexport.catalog import CATALOG
from lossexport.catalog.spec import Attribute, Deferred, Op
from lossexport.ops import signature
from tests.ops.inputs import draw

PACKAGE = Path(lossexport.__file__).parent


def stub(name: str) -> dict[str, Any]:
    """The names of a stub, which is Python too."""
    names: dict[str, Any] = {}
    exec((PACKAGE / name).read_text("utf-8"), names)
    return names


FUNCTIONS, MODULES = stub("ops/__init__.pyi"), stub("nn.pyi")
every_op = pytest.mark.parametrize("op", CATALOG.values(), ids=CATALOG)


def test_stubs_have_the_ops_and_a_way_to_those_of_users() -> None:
    imported = {"Any", "Literal", "Sequence", "Tensor", "__builtins__", "__doc__", "__getattr__"}
    assert set(FUNCTIONS) - imported == set(CATALOG)
    classes = {op.class_name for op in CATALOG.values()}
    assert set(MODULES) - imported == {"CataloguedModule"} | classes
    for names in (FUNCTIONS, MODULES):
        assert inspect.signature(names["__getattr__"]).return_annotation is Any


@every_op
def test_the_stub_is_what_python_says(op: Op) -> None:
    assert inspect.signature(FUNCTIONS[op.name]) == inspect.signature(getattr(ops, op.name))
    stated, found = MODULES[op.class_name], getattr(nn, op.class_name)
    assert inspect.signature(stated) == inspect.signature(found)
    assert inspect.signature(stated.forward) == inspect.signature(found.forward)
    assert inspect.signature(stated.__call__) == inspect.signature(found.__call__)
    assert stated.__annotations__ == dict.fromkeys(op.state, Tensor)
    for a, b in ((FUNCTIONS[op.name], getattr(ops, op.name)), (stated, found),
                 (stated.forward, found.forward)):  # fmt: skip
        assert inspect.getdoc(a) == inspect.getdoc(b)


def accepts(annotation: Any, value: Any) -> bool:
    """Whether a value is of a type as `Attribute.check` gives it."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return value in parts
    if origin is tuple:
        return isinstance(value, tuple) and [*map(type, value)] == [*parts]
    if parts:  # a number, or one for every class
        return parts == (float, Sequence[float]) and type(value) is float
    return type(value) is annotation


def wanted(item: Attribute) -> Any:
    """A value other than the default."""
    if item.choices:
        return item.choices[-1]
    if isinstance(item.default, tuple):
        return [2] * len(item.default)
    if isinstance(item.default, bool):
        return not item.default
    return item.minimum if item.minimum > -1e9 else 0


@every_op
def test_python_says_what_the_catalogue_declares(op: Op) -> None:
    function = inspect.signature(getattr(ops, op.name))
    names = [tensor.name for tensor in op.inputs] + [item.name for item in op.attributes]
    assert list(function.parameters) == names
    constructor = inspect.signature(getattr(nn, op.class_name))
    assert list(constructor.parameters) == [item.name for item in op.attributes]
    for item in op.attributes:
        parameter = constructor.parameters[item.name]
        assert parameter.kind is parameter.KEYWORD_ONLY
        assert parameter.default == function.parameters[item.name].default == item.default
        assert parameter.annotation == function.parameters[item.name].annotation
        assert accepts(parameter.annotation, item.default)
        assert accepts(parameter.annotation, item.check(op.name, wanted(item)))
        assert not accepts(parameter.annotation, "median")
        assert get_args(parameter.annotation) == item.choices or not item.choices

    forward = inspect.signature(getattr(nn, op.class_name)().forward)
    inputs = [tensor.name for tensor in op.inputs if tensor.name not in op.state]
    assert list(forward.parameters) == inputs
    assert {p.annotation for p in forward.parameters.values()} == {Tensor}
    assert {function.parameters[name].annotation for name in inputs} == {Tensor}
    for result, count in (
        (function.return_annotation, len(op.outputs)),
        (forward.return_annotation, len(op.outputs) - len(op.state)),
    ):
        assert get_args(result) == ((Tensor,) * count if count > 1 else ())
        assert (result is Tensor) == (count == 1)


@every_op
def test_the_torch_function_has_the_parameters_of_the_declaration(op: Op) -> None:
    function = op.function.resolve() if isinstance(op.function, Deferred) else op.function
    own = inspect.signature(function).parameters.values()
    shown = inspect.signature(getattr(ops, op.name)).parameters.values()
    assert {p.name: p.default for p in own} == {p.name: p.default for p in shown}
    assert op.resolve({}) == {item.name: item.default for item in op.attributes}


@every_op
def test_modules_take_inputs_by_name(op: Op) -> None:
    drawn = draw(op.name)
    inputs = {t.name: drawn[t.name] for t in op.inputs if t.name not in op.state}
    module = getattr(nn, op.class_name)()
    results = [module(**inputs), module(*inputs.values())]
    first, *rest = inputs
    if rest:
        results.append(module(inputs[first], **{name: inputs[name] for name in rest}))
    for result in results[1:]:
        for a, b in zip(*(r if isinstance(r, tuple) else (r,) for r in (result, results[0])),
                        strict=True):  # fmt: skip
            assert torch.equal(a, b)


def test_an_attribute_without_a_default_is_a_whole_number_or_none() -> None:
    limit = Attribute("limit", None, "most boxes", minimum=1)
    nms = CATALOG["nms"]
    op = dataclasses.replace(nms, attributes=(*nms.attributes, limit))
    parameter = signature.of_constructor(op).parameters["limit"]
    assert str(parameter) == "limit: int | None = None"
    assert (limit.check("nms", None), limit.check("nms", 3.0)) == (None, 3)
