"""What a declaration leaves out follows; what is wrong in it is one line, and how to mend it."""

import math
import re
from typing import Any

import pytest

from lossexport.catalog import CATALOG
from lossexport.catalog.checks import check_function
from lossexport.catalog.spec import Attribute, Deferred, Op, Reference, Tensor
from lossexport.catalog.variant import Variant
from lossexport.errors import LossexportError


def tilted_loss(pred: Any, target: Any, width: float = 640.0) -> Any:
    """Loss of boxes that are tilted.

    More about it.
    """


def declared(**fields: Any) -> Op:
    """The least that an op needs, with other fields over it."""
    given: dict[str, Any] = {
        "name": "tilted_loss",
        "function": tilted_loss,
        "inputs": (Tensor("pred", ("N", 4), "boxes"), Tensor("target", ("N", 4), "boxes")),
        "outputs": (Tensor("loss", ("N",)),),
        "attributes": (Attribute("width", 640.0),),
    }
    return Op(**given | fields)


def test_what_is_left_out_follows() -> None:
    op = declared()
    assert op.summary == "Loss of boxes that are tilted."
    assert (op.formula, op.references, op.notes, op.gradient) == ("", (), (), ())
    assert (op.kind, op.class_name) == ("loss", "TiltedLoss")
    assert op.dims == {"N": (1, 256, 65536)}
    assert list(op.samplers) == ["ordinary", "structured", "adversarial", "nonfinite"]
    assert (op.attributes[0].doc, op.attributes[0].bounds) == ("", "any finite number")
    (loss,) = op.outputs
    assert (loss.text, loss.dtype) == ("real numbers", "float")


def test_what_is_given_stays() -> None:
    op = declared(summary="A.", kind="transform", class_name="Tilted", dims={"N": (2, 3, 4)})
    assert (op.summary, op.kind, op.class_name) == ("A.", "transform", "Tilted")
    assert op.dims == {"N": (2, 3, 4)}


def test_lists_will_do() -> None:
    fields = ("inputs", "outputs", "attributes", "gradient")
    op = declared(gradient=["pred"])
    again = declared(**{field: list(getattr(op, field)) for field in fields})
    assert all(getattr(again, field) == getattr(op, field) for field in fields)


def test_the_summary_of_a_function_without_a_docstring_is_the_name() -> None:
    assert declared(function=lambda pred, target, width=640.0: pred).summary == "Tilted loss."


@pytest.mark.parametrize(
    ("outputs", "gradient", "kind"),
    [
        (("loss",), (), "loss"),
        (("score",), (), "metric"),
        (("score",), ("pred",), "loss"),
        (("score", "loss"), (), "loss"),
    ],
)
def test_the_kind_follows(outputs: tuple[str, ...], gradient: tuple[str, ...], kind: str) -> None:
    tensors = tuple(Tensor(name, ("N",)) for name in outputs)
    assert declared(outputs=tensors, gradient=gradient).kind == kind


@pytest.mark.parametrize(
    ("name", "class_name"),
    [
        ("mpdiou_loss", "MPDIoULoss"),
        ("box_inner_iou", "BoxInnerIoU"),
        ("alphaiou_loss", "AlphaIoULoss"),
        ("nwd2_loss", "Nwd2Loss"),
        ("l1_loss", "L1Loss"),
    ],
)
def test_class_names(name: str, class_name: str) -> None:
    assert declared(name=name).class_name == class_name


def test_class_names_of_the_catalogue_are_those_of_the_contract() -> None:
    names = {op.name: op.class_name for op in CATALOG.values()}
    assert names["ciou_loss"] == "CIoULoss"
    assert names["pairwise_giou"] == "PairwiseGIoU"
    assert names["ghm_c_loss"] == "GHMCLoss"
    assert names["smooth_l1_loss"] == "SmoothL1Loss"
    assert names["diou_nms"] == "DIoUNMS"


@pytest.mark.parametrize(
    ("shapes", "dims"),
    [
        ((("N", 4), ("M", 4)), {"N": (1, 256, 65536), "M": (1, 256, 16384)}),
        ((("N", "C"),), {"N": (1, 256, 65536), "C": (1, 80, 512)}),
        ((("B", "N", 4),), {"B": (1, 16, 1024), "N": (1, 256, 65536)}),
        # A tensor of 2^28 elements at most.
        ((("N", "M"),), {"N": (1, 256, 16384), "M": (1, 256, 16384)}),
        ((("B", "H", "W", "D"),), dict.fromkeys("BHWD", (1, 16, 128))),
    ],
)
def test_sizes_follow(shapes: tuple[tuple[Any, ...], ...], dims: dict[str, Any]) -> None:
    inputs = tuple(Tensor(f"x{i}", shape) for i, shape in enumerate(shapes))
    op = Op("sizes", lambda *x: x, inputs, (Tensor("y", shapes[0]),))
    assert op.dims == dims
    Variant.make(op)


def test_given_sizes_keep_the_others_within_reach() -> None:
    op = Op(
        "sizes",
        lambda x: x,
        (Tensor("x", ("N", "M")),),
        (Tensor("y", ("N",)),),
        dims={"N": (1, 64, 2**20)},
    )
    assert op.dims == {"N": (1, 64, 2**20), "M": (1, 256, 256)}


def test_a_dimension_that_an_attribute_decides_has_no_range() -> None:
    op = Op(
        "top",
        lambda x, k=3: x,
        (Tensor("x", ("N",)),),
        (Tensor("y", ("k",)),),
        attributes=(Attribute("k", 3),),
    )
    assert op.dims == {"N": (1, 256, 65536)}
    with pytest.raises(LossexportError, match=r"^top: k=-1: is a dimension of y: at least 0$"):
        Variant.make(op, {"k": -1})


def test_attributes_that_are_switches() -> None:
    op = declared(
        function=lambda pred, target, wide=True: pred, attributes=(Attribute("wide", True),)
    )
    assert op.resolve({"wide": False}) == {"wide": False}
    with pytest.raises(LossexportError, match=r"^tilted_loss: wide=1: must be true or false$"):
        op.resolve({"wide": 1})


BOXES = ("N", 4)
BAD: list[tuple[dict[str, Any], str]] = [
    ({"name": "TiltedLoss"}, "name of an op is 'TiltedLoss': lower-case words joined by _,"),
    ({"name": "tilted loss"}, "name of an op is 'tilted loss': lower-case words"),
    ({"name": "2_loss"}, "name of an op is '2_loss': lower-case words"),
    ({"name": "lambda"}, "name of an op is 'lambda': lower-case words joined by _, as"),
    ({"name": 3}, "name of an op is 3: lower-case words"),
    ({"name": "a" * 101}, "name of an op, 101 letters, is"),
    ({"name": "shapes"}, "name of an op is 'shapes': lossexport.ops.shapes is a module"),
    ({"inputs": ["pred", "target"]}, "inputs[0] is 'pred': a Tensor is expected"),
    ({"inputs": Tensor("pred", BOXES)}, "a tuple of Tensor of one at least: in ( ,) even where"),
    ({"inputs": ()}, "inputs is (): a tuple of Tensor of one at least is expected"),
    ({"outputs": {"loss": 1}}, "outputs is {'loss': 1}: a tuple of Tensor of one at least"),
    ({"attributes": {"width": 640}}, "attributes is {'width': 640}: a tuple of Attribute is"),
    ({"attributes": ("width",)}, "attributes[0] is 'width': an Attribute is expected"),
    ({"gradient": "pred"}, "gradient is 'pred': a tuple of str: in ( ,) even where"),
    ({"gradient": (0,)}, "gradient[0] is 0: a str is expected"),
    ({"gradient": ("prd",)}, "gradient: 'prd' is no input; they are: pred, target; did you mean"),
    ({"references": ("arXiv",)}, "references[0] is 'arXiv': a Reference is expected"),
    ({"references": (Reference("a", 1),)}, "references[0].link is 1: a line of at most 4096"),
    ({"notes": "fast"}, "notes is 'fast': a tuple of str: in ( ,)"),
    ({"summary": "two\nlines"}, r"summary is 'two\\nlines': a line of at most 4096 characters"),
    ({"formula": 1}, "formula is 1: a line of at most 4096 characters is expected"),
    ({"kind": "score"}, "kind is 'score': one of metric, loss, transform, suppression is"),
    ({"class_name": "no name"}, "class_name is 'no name': a name in CamelCase is expected"),
    ({"function": "tilted_loss"}, "function is 'tilted_loss': a function is expected"),
    ({"any_shape": 1}, "any_shape is 1: True or False is expected"),
    ({"work": "NM"}, "work is 'NM': a tuple of sizes is expected"),
    ({"work": ("K",)}, "work is ('K',): dimensions of inputs is expected"),
    ({"state": {"pred": "new"}}, "state is {'pred': 'new'}: a mapping of inputs to outputs is"),
    ({"kernel": "fast.cu"}, "kernel is 'fast.cu': a Launch is expected"),
    ({"stages": []}, "stages is []: a tuple of Stage is expected"),
    ({"samplers": {"ordinary": 1}}, "samplers is {'ordinary': 1}: a mapping of names to functions"),
    ({"dims": 5}, 'dims is 5: a mapping, as {"N": (1, 256, 65536)}, is expected'),
    ({"dims": {"K": (1, 2, 3)}}, "dims: no input has a dimension 'K'; they have: N"),
    ({"dims": {"N": (3, 2, 1)}}, "dims['N'] is (3, 2, 1): (smallest, tuned for, largest), in this"),
    ({"dims": {"N": "1:2:3"}}, "dims['N'] is '1:2:3': (smallest, tuned for, largest)"),
]


@pytest.mark.parametrize(("fields", "message"), BAD)
def test_a_wrong_field_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(LossexportError) as caught:
        declared(**fields)
    text = str(caught.value)
    assert message.replace(r"\\n", "\\n") in text
    assert text.startswith("name of an op" if "name" in fields else "op 'tilted_loss': ")
    assert "\n" not in text


TENSORS: list[tuple[Tensor, str]] = [
    (Tensor("the pred", BOXES), "inputs[0].name is 'the pred': a name, as pred, is expected"),
    (Tensor("in", BOXES), "inputs[0].name is 'in': a name, as pred, is expected"),
    (Tensor(1, BOXES), "inputs[0].name is 1: a name"),
    (Tensor("pred", "N4"), "inputs[0] 'pred': shape is 'N4': a tuple of sizes, as (\"N\", 4), is"),
    (Tensor("pred", ("N", 4.0)), "inputs[0] 'pred': shape ('N', 4.0): 4.0 is 4.0: a number from 1"),
    (Tensor("pred", (0, 4)), "inputs[0] 'pred': shape (0, 4): 0 is 0: a number from 1, or a name"),
    (
        Tensor("pred", BOXES, "boxs"),
        "inputs[0] 'pred': domain is 'boxs': one of boxes, rotated, labels, logits, probabilities, "
        "mask, positive, real, or several words with low and high, is expected; did you mean box",
    ),
    (Tensor("pred", BOXES, 4), "inputs[0] 'pred': domain is 4: a line of at most 4096"),
    (
        Tensor("pred", ("N", 5), "boxes"),
        "inputs[0] 'pred': shape is ('N', 5): boxes have 4 numbers: the last dimension has to be 4",
    ),
    (Tensor("pred", BOXES, "rotated"), "rotated have 5 numbers: the last dimension has to be 5"),
    (
        Tensor("pred", BOXES, dtype="float64"),
        "inputs[0] 'pred': dtype is 'float64': one of float, float32, int64, bool; did you mean",
    ),
    (Tensor("pred", BOXES, "a number", low="0"), "inputs[0] 'pred': low is '0': a number is"),
    (Tensor("pred", BOXES, "a number", low=math.nan), "inputs[0] 'pred': low is nan: a number is"),
    (Tensor("pred", BOXES, "a number", low=2, high=1), "inputs[0] 'pred': low 2 is above high 1"),
    (Tensor("pred", BOXES, "a number", high=[1]), "inputs[0] 'pred': high is [1]: a number or the"),
    (Tensor("pred", BOXES, "a number", high="C+1"), "inputs[0] 'pred': high is 'C+1': a number or"),
    (
        Tensor("pred", BOXES, "a number", high="C"),
        "inputs[0] 'pred': high is 'C', and no input has a dimension 'C'; they have: N",
    ),
    (Tensor("pred", BOXES, "a number", whole=1), "inputs[0] 'pred': whole is 1: True or False"),
    (
        Tensor("pred", BOXES, "boxes", where="target"),
        "inputs[0] 'pred': where is 'target': a bool input alike is expected",
    ),
]


@pytest.mark.parametrize(("tensor", "message"), TENSORS)
def test_a_wrong_tensor_is_named(tensor: Tensor, message: str) -> None:
    with pytest.raises(LossexportError, match=rf"^op 'tilted_loss': .*{re.escape(message)}"):
        declared(inputs=(tensor, Tensor("target", BOXES, "boxes")))


def test_labels_of_logits_need_their_number_of_classes() -> None:
    labels = Tensor("labels", ("N",), "labels")
    logits = Tensor("logits", ("N", "K"), "logits")
    with pytest.raises(LossexportError, match="'labels': high is 'C-1', and no input has a dim"):
        Op("counted", lambda logits, labels: logits, (logits, labels), (Tensor("loss", ("N",)),))
    # Those of boxes have no largest one.
    assert labels.upper({"N": 3}) == math.inf
    Op("counted", lambda labels: labels, (labels,), (Tensor("loss", ("N",)),))


ATTRIBUTES: list[tuple[Attribute, str]] = [
    (Attribute("my width", 1.0), "attributes[0].name is 'my width': a name, as eps, is expected"),
    (Attribute("width", [1.0]), "attributes[0] 'width': default is [1.0]: a number, True or"),
    (Attribute("width", 1j), "attributes[0] 'width': default is 1j: a number, True or False"),
    (Attribute("width", ()), "attributes[0] 'width': default is (): a number, True or False"),
    (Attribute("width", ("a",)), "attributes[0] 'width': default is ('a',): must be a number"),
    (Attribute("width", math.inf), "attributes[0] 'width': default is inf: must be finite"),
    (
        Attribute("width", -1.0, minimum=0.0),
        "attributes[0] 'width': default is -1.0: must be at least 0",
    ),
    (
        Attribute("width", 3.0, "", 0.0, 2.0),
        "attributes[0] 'width': default is 3.0: must be in [0, 2]",
    ),
    (
        Attribute("width", "wide"),
        "attributes[0] 'width': default is 'wide': a word needs choices, as choices=('wide', ...)",
    ),
    (
        Attribute("width", "wide", choices=("high", "low")),
        "attributes[0] 'width': default is 'wide': must be one of high, low",
    ),
    (Attribute("width", "a", choices=["a"]), "attributes[0] 'width': choices is ['a']: a tuple of"),
    (Attribute("width", 1.0, 5), "attributes[0] 'width': doc is 5: a line of at most"),
    (Attribute("width", 1.0, minimum="0"), "attributes[0] 'width': minimum is '0': a number is"),
    (Attribute("width", 1.0, per_class=2), "attributes[0] 'width': per_class is 2: True or False"),
]


@pytest.mark.parametrize(("attribute", "message"), ATTRIBUTES)
def test_a_wrong_attribute_is_named(attribute: Attribute, message: str) -> None:
    with pytest.raises(LossexportError, match=rf"^op 'tilted_loss': {re.escape(message)}"):
        declared(attributes=(attribute,))


PRED, TARGET, LOSS = Tensor("pred", BOXES), Tensor("target", BOXES), Tensor("loss", ("N",))
CLASHES: list[tuple[dict[str, Any], str]] = [
    ({"inputs": (PRED, PRED)}, "input 'pred' has the name of input 'pred': give each a name of"),
    (
        {"attributes": (Attribute("width", 1.0), Attribute("width", 2.0))},
        "attribute 'width' has the name of attribute 'width'",
    ),
    ({"attributes": (Attribute("pred", 1.0),)}, "attribute 'pred' has the name of input 'pred'"),
    ({"outputs": (LOSS, LOSS)}, "output 'loss' has the name of output 'loss'"),
    ({"outputs": (Tensor("pred", BOXES),)}, "output 'pred' has the name of input 'pred'"),
    (
        {"outputs": (LOSS, Tensor("grad_pred", BOXES)), "gradient": ("pred",)},
        "output 'grad_pred' has the name of output 'grad_pred'",
    ),
    (
        {"outputs": (Tensor("loss", ("K",)),)},
        "outputs[0] 'loss': dimension 'K' is that of no input and no attribute; they have: N, wi",
    ),
    (
        {"outputs": (Tensor("loss", ("width",)),)},
        "attributes: 'width' is a dimension of 'loss' and has the default 640.0: a whole number",
    ),
    (
        {"inputs": (PRED, Tensor("target", ("N",), "labels")), "gradient": ("target",)},
        "gradient: 'target' is int64: only a float input has one",
    ),
    (
        {"outputs": (Tensor("place", ("N",), dtype="int64"),), "gradient": ("pred",)},
        "gradient: it is that of the first output, 'place', which is int64: put a float output",
    ),
]


@pytest.mark.parametrize(("fields", "message"), CLASHES)
def test_fields_that_do_not_fit_each_other_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(LossexportError, match=rf"^op 'tilted_loss': {re.escape(message)}"):
        declared(**fields)


FUNCTIONS: list[tuple[Any, str]] = [
    (lambda pred, width: pred, "parameter 2 is 'width', 'target' is expected: the inputs, then"),
    (lambda pred, target: pred, "parameter 3 is missing, 'width' is expected"),
    (lambda target, pred, width=640.0: pred, "parameter 1 is 'target', 'pred' is expected"),
    (lambda pred, target, /, width=640.0: pred, "parameter 'pred' has no name: drop the /"),
    (
        lambda pred, target, width=640.0, *, eps: pred,
        "parameter 'eps' is no input and no attribute: declare it as one, as Attribute('eps', ",
    ),
    (
        lambda pred, target, width=320.0: pred,
        "width has the default 320.0, its attribute 640.0: make them the same",
    ),
]


@pytest.mark.parametrize(("function", "message"), FUNCTIONS)
def test_a_function_of_other_parameters_is_refused(function: Any, message: str) -> None:
    with pytest.raises(LossexportError) as caught:
        declared(function=function)
    assert f"op 'tilted_loss': function '<lambda>': {message}" in str(caught.value)


def test_functions_that_take_what_comes_and_extra_defaults_will_do() -> None:
    declared(function=lambda *tensors, **attributes: tensors[0])
    declared(function=lambda pred, target, width=640.0, eps=1e-7: pred)
    declared(function=lambda pred, target, width: pred)


@pytest.mark.parametrize("name", CATALOG)
def test_the_functions_of_the_catalogue_fit_their_declarations(name: str) -> None:
    op = CATALOG[name]
    assert isinstance(op.function, Deferred)
    check_function(op, op.function.resolve())
