"""Every way in which a function cannot be exported is one line: where, what, what to write."""

import collections
import functools
import importlib
import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import lossexport
from lossexport.catalog.spec import Op, Tensor
from lossexport.catalog.variant import Range, Variant
from lossexport.errors import LossexportError
from lossexport.exporter import refusals, rtx, run
from lossexport.exporter.eager import blamed
from lossexport.exporter.onnx_file import onnx_bytes
from lossexport.exporter.trace import body
from lossexport.parity.quick import check
from tests.exporter import refused_data, refused_declarations, refused_operators
from tests.exporter.refused import Refused

HERE = Path(__file__)
PLACE = HERE.relative_to(Path.cwd()) if HERE.is_relative_to(Path.cwd()) else HERE
PAGE = HERE.parents[2] / "docs" / "untraceable.md"
REFUSED = [
    case
    for module in (refused_data, refused_operators, refused_declarations)
    for case in vars(module).values()
    if isinstance(case, Refused)
]
INPUTS = "pred [5, 4] and target [5, 4]"
CONSTANT = torch.tensor([1.0, -1.0, 1.0, -1.0])
WEIGHTS = torch.linspace(1.0, 2.0, 300)


def draw(rng: np.random.Generator, dims: Any, attributes: Any) -> dict[str, np.ndarray]:
    return {name: rng.uniform(0, 2, (dims["N"], 4)) for name in ("pred", "target")}


def own(function: Callable[..., Any], gradient: bool = False) -> Variant:
    """A variant of an op of two boxes and a loss, in fields that every declaration has."""
    op = Op(
        name="own",
        function=function,
        summary="An op of one's own.",
        formula="f",
        inputs=(Tensor("pred", ("N", 4), "real"), Tensor("target", ("N", 4), "real")),
        outputs=(Tensor("loss", ("N",), "real"),),
        attributes=(),
        samplers={"any": draw},
        references=(),
        kind="loss",
        gradient=("pred",) if gradient else (),
    )
    return Variant.make(op, gradient=gradient)


def marked(function: Callable[..., Any]) -> tuple[int, str]:
    """The line with the mark: in the function, or where there is none the last before it."""
    lines, first = inspect.getsourcelines(function)
    source = Path(inspect.getfile(function)).read_text("utf-8").splitlines()
    last = first + len(lines) - 1
    line = max(i for i, text in enumerate(source[:last], 1) if text.endswith("# here"))
    return line, source[line - 1].strip()


@pytest.mark.parametrize("case", [pytest.param(x, id=x.function.__name__) for x in REFUSED])
def test_says_where_what_and_what_to_write(
    case: Refused, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = Path(inspect.getfile(case.function))
    monkeypatch.chdir(file.parent)
    line, code = marked(case.function)
    with pytest.raises(LossexportError) as caught:
        body(own(case.function, case.gradient))
    assert str(caught.value) == f"own: {file.name}:{line}: {case.whose}`{code}` {case.says}"
    assert capfd.readouterr() == ("", "")


class Traced(BaseException):
    """The trace has passed, and the exporter is not needed."""


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Ends every export behind its trace; has the inputs that were traced with."""
    given: list[Any] = []

    def stop(module: Any, example: Any, **_: Any) -> None:
        given.extend(example)
        raise Traced

    monkeypatch.setattr(torch.export, "export", stop)
    return given


def scatters_without_reduction(pred, target):
    out = torch.zeros_like(pred[:, 0]).scatter(0, target[:, 0].long() * 0, pred[:, 0])
    out[target[:, 1].long() * 0] = pred[:, 1]
    out = out.index_fill(0, target[:, 2].long() * 0, 0.0)
    return out + torch.histc(pred, 4, 0, 1).sum()


def writes_into_its_own(pred, target):
    out = pred * 1
    out[:, 0] = target[:, 0]
    out[:, [1, 2]] = target[:, [0, 3]]
    out += 1
    return out.clamp_(min=0).sum(1)


def sums_and_choices(pred, target):
    score = torch.where(pred > target, pred, 0.0).topk(2, 1).values
    ranks = pred.sort(1).values[:, 0] + pred.max(1).values + pred.amax(1)
    places = torch.nn.functional.cross_entropy(pred, target[:, 0].long().clamp(0, 3))
    return score.sum(1) + ranks + places + (pred[:, 2:] - pred[:, :2]).abs().sum(1)


def constants_of_its_own(pred, target):
    weights = CONSTANT.to(pred.dtype) * torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=pred.dtype)
    return (pred * weights * np.float64(2.0)).sum(1) + torch.arange(pred.shape[0]) * 0


def double_within(pred, target):
    return (pred.double() - target).square().sum(1).to(pred.dtype)


def chooses_by_rank_of_size(pred, target):
    if pred.dim() == 2 and pred.shape[1] == 4 and pred.shape[0] > 0:
        return torch.einsum("ni,ni->n", pred, target)
    return pred.sum()


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize(
    "function",
    [
        scatters_without_reduction,
        writes_into_its_own,
        sums_and_choices,
        constants_of_its_own,
        double_within,
        chooses_by_rank_of_size,
    ],
)
def test_what_every_runtime_takes_is_not_refused(
    function: Callable[..., Any], gradient: bool, traced: list[Any]
) -> None:
    with pytest.raises(Traced):
        body(own(function, gradient))


@pytest.mark.parametrize("name", ["branch_on_size", "loop_over_rows", "rows", "length"])
def test_a_fixed_size_may_be_looked_at(name: str, traced: list[Any]) -> None:
    (function,) = (x.function for x in REFUSED if x.function.__name__ == name)
    op = own(function).op
    with pytest.raises(Traced):
        body(Variant.make(op, ranges={"N": Range(12, 12, 12)}))


def test_no_dynamic_size_is_traced_as_a_size_that_a_shape_names(traced: list[Any]) -> None:
    rotated = own(lambda pred, target: (pred - target).sum(1)).op
    inputs = tuple(replace(tensor, shape=("N", 5)) for tensor in rotated.inputs)

    def five(rng: np.random.Generator, dims: Any, attributes: Any) -> dict[str, np.ndarray]:
        return {name: rng.uniform(0, 2, (dims["N"], 5)) for name in ("pred", "target")}

    with pytest.raises(Traced):
        body(Variant.make(replace(rotated, inputs=inputs, samplers={"any": five})))
    assert [list(x.shape) for x in traced] == [[7, 5], [7, 5]]


def best_five(pred, target):
    return (pred - target).sum(1) + pred[:, 0].topk(5).values.sum()


def weighed(pred, target):
    return (pred - target).sum(1) * WEIGHTS[: pred.shape[0]].to(pred.dtype)


@pytest.mark.parametrize(
    ("function", "range_"),
    [
        (best_five, Range(5, 6, 9)),
        (weighed, Range(1, 2, 3)),
        (weighed, Range(0, 8, 300)),
        (weighed, Range(299, 300, 300)),
    ],
)
def test_a_range_is_what_a_function_has_to_work_for(
    function: Callable[..., Any], range_: Range
) -> None:
    variant = Variant.make(own(function).op, ranges={"N": range_})
    model = onnx_bytes(variant)
    assert check(variant, model).status == "passed"
    found = onnx.load_model_from_string(model).graph.input[0].type.tensor_type.shape.dim[0]
    assert found.dim_param == "N"


@pytest.mark.parametrize(
    ("function", "range_", "condition"),
    [
        (best_five, Range(4, 6, 9), "N >= 5, and N may be 4 to 9"),
        (weighed, Range(1, 2, 301), "N <= 300, and N may be 1 to 301"),
    ],
)
def test_a_range_that_is_too_wide_is_named(
    function: Callable[..., Any], range_: Range, condition: str
) -> None:
    with pytest.raises(LossexportError, match=rf"holds only where {condition}; write the same"):
        body(Variant.make(own(function).op, ranges={"N": range_}))


def test_one_file_of_what_is_not_refused_passes_its_check() -> None:
    def function(pred, target):
        out = pred * CONSTANT
        out[:, 0] = target[:, 0]
        return out.sum(1) + (pred - target).max(1, keepdim=True).values[:, 0]

    variant = own(function, gradient=True)
    model = onnx_bytes(variant)
    assert check(variant, model).status == "passed"
    assert rtx.parse(model).status == "accepted"


def test_a_helper_is_named_with_the_line_that_calls_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_masks.py").write_text("def positive(x):\n    return x[x > 0].sum()\n")
    (tmp_path / "my_loss.py").write_text(
        "from my_masks import positive\n\n\n"
        "def loss(pred, target):\n    return pred[:, 0] + positive(target)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    function = importlib.import_module("my_loss").loss
    with pytest.raises(LossexportError) as caught:
        body(own(function))
    assert str(caught.value) == (
        "own: my_masks.py:2 (called at my_loss.py:5): `return x[x > 0].sum()` "
        "picks elements by a boolean mask, and how many depends on the data; "
        "write torch.where(mask, x, 0) and a sum, or a topk of fixed size"
    )


class Callables:
    """The ways in which a function may come."""

    def __call__(self, pred, target):
        return pred.nope(target)

    @staticmethod
    def three(pred, target, factor):
        return pred.nope(factor)

    class Module(torch.nn.Module):
        def forward(self, pred, target):
            return pred.nope(target)


@pytest.mark.parametrize(
    ("function", "code"),
    [
        (Callables(), "return pred.nope(target)"),
        (functools.partial(Callables.three, factor=2.0), "return pred.nope(factor)"),
        (Callables.Module(), "return pred.nope(target)"),
        (functools.cache(lambda pred, target: pred.nope()), "(functools.cache(lambda pred, targe"),
    ],
)
def test_any_callable_has_its_lines(function: Callable[..., Any], code: str) -> None:
    with pytest.raises(LossexportError, match=rf"test_untraceable.py:\d+: `{re.escape(code)}"):
        body(own(function))


def test_code_without_a_file_has_a_line_number() -> None:
    space: dict[str, Any] = {}
    exec("def f(pred, target):\n    return pred.nope()", space)
    with pytest.raises(LossexportError) as caught:
        body(own(space["f"]))
    error = "AttributeError: 'Tensor' object has no attribute 'nope'"
    assert str(caught.value) == (
        f"own: <string>:2: raises {error}, in plain PyTorch too, for {INPUTS}"
    )


def test_a_long_line_and_a_long_error_are_cut(tmp_path: Path) -> None:
    def function(pred, target):
        raise ValueError("a very long story " * 20) from KeyError("which begins with this error")

    with pytest.raises(LossexportError) as caught:
        body(own(function))
    line = inspect.getsourcelines(function)[1] + 1
    story = ("a very long story " * 20)[:157]
    assert str(caught.value) == (
        f"own: {PLACE}:{line}: "
        '`raise ValueError("a very long story " * 20) from KeyError("which begins with ...` '
        f"raises ValueError: {story}..., in plain PyTorch too, for {INPUTS}"
    )


def test_an_error_of_ours_stays_as_it_is() -> None:
    def function(pred, target):
        raise LossexportError("own: width=0: must be at least 1")

    with pytest.raises(LossexportError, match=r"^own: width=0: must be at least 1$"):
        body(own(function))


def test_whatever_else_the_exporter_says_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def function(pred, target):
        return (pred - target).sum(1)

    library: dict[str, Any] = {"__name__": "torch.export"}
    exec(
        "def fail(*_, **__):\n    raise RuntimeError('outer') from KeyError('odd\\nnews')", library
    )
    monkeypatch.setattr(torch.export, "export", library["fail"])
    with pytest.raises(LossexportError) as caught:
        body(own(function))
    line = inspect.getsourcelines(function)[1]
    assert str(caught.value) == (
        f"own: {PLACE}:{line}: `def function(pred, target):` cannot be traced: "
        "KeyError: 'odd\\nnews'; write operators of torch on its inputs"
    )


def test_a_size_at_which_the_function_fails_is_found_in_the_first_check(tmp_path: Path) -> None:
    def function(pred, target):
        return (pred - target).sum(1, keepdim=True).squeeze()

    variant = own(function)
    line = inspect.getsourcelines(function)[1] + 1
    with pytest.raises(LossexportError) as caught, blamed(variant):
        raise IndexError("too many indices for array")
    assert str(caught.value) == (
        f"own: {PLACE}:{line}: `return (pred - target).sum(1, keepdim=True).squeeze()` "
        "gives loss the shape [] for pred [1, 4] and target [1, 4], declared as [N]; "
        "write a sum over the rest, squeeze(1) for squeeze(), or declare its shape"
    )


def test_an_error_that_is_not_of_the_function_is_not_blamed_on_it() -> None:
    with pytest.raises(IndexError, match="of ours"), blamed(own(double_within)):
        raise IndexError("of ours")


def test_export_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    op = own(REFUSED[0].function).op
    monkeypatch.setattr(run, "find", lambda name: op)
    with pytest.raises(LossexportError, match="picks elements by a boolean mask"):
        lossexport.export("own", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_page_has_every_advice() -> None:
    page = " ".join(PAGE.read_text("utf-8").replace("`", "").split())
    for kind in refusals.KINDS:
        for advice in kind.write.format_map(collections.defaultdict(lambda: "N")).split("; "):
            assert advice in page or kind in (refusals.OPERATOR, refusals.TRACING), advice
    for operator, advice in refusals.INSTEAD.items():
        assert advice in page, operator
