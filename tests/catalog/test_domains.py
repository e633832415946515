"""What domains say of values, and what is drawn from them."""

import math
from typing import Any

import numpy as np
import pytest
import torch

import lossexport.ops
from lossexport.catalog import CATALOG, DOMAINS
from lossexport.catalog.drawing import samplers
from lossexport.catalog.spec import Arrays, Op, Tensor
from lossexport.errors import LossexportError
from lossexport.ops.binding import bind

SIZES = {"N": 512, "M": 64, "C": 7, "B": 3}


def draw(*inputs: Tensor, family: str = "ordinary", **sizes: int) -> Arrays:
    return samplers(inputs)[family](np.random.default_rng(0), SIZES | sizes, {})


def one(domain: str, family: str = "ordinary", **more: Any) -> np.ndarray:
    last = DOMAINS[domain].last if domain in DOMAINS else None
    return draw(Tensor("x", ("N", last or 3), domain, **more), family=family)["x"]


def test_the_catalogue_names_its_domains() -> None:
    named = {t.domain for op in CATALOG.values() for t in (*op.inputs, *op.outputs)}
    assert {"boxes", "labels", "logits", "real"} <= named
    texts = {domain.text for domain in DOMAINS.values()}
    for op in CATALOG.values():
        for tensor in op.inputs:
            assert (tensor.text in texts) == (tensor.domain in DOMAINS), (op.name, tensor.name)


@pytest.mark.parametrize("name", DOMAINS)
def test_draws_have_the_type_and_keep_the_bounds(name: str) -> None:
    domain = DOMAINS[name]
    last = domain.last or 3
    tensor = Tensor("x", ("N", last), name)
    assert (tensor.text, tensor.dtype, tensor.low) == (domain.text, domain.dtype, domain.low)
    dtype = {"float": np.float64, "int64": np.int64, "bool": np.bool_}[domain.dtype]
    assert next(iter(domain.draws)) == "ordinary"
    assert ("nonfinite" in domain.draws) == (domain.dtype == "float")
    for family in domain.draws:
        for sizes in ({}, {"N": 1}, {"N": 0}):
            values = draw(tensor, family=family, **sizes)["x"]
            assert values.shape == (sizes.get("N", 512), last)
            assert values.dtype == dtype
            finite = values[np.isfinite(values)]
            assert (finite >= domain.low).all()
            assert (finite <= tensor.upper(SIZES)).all()
            if domain.dtype == "float" and not sizes:
                assert (len(finite) < values.size) == (family == "nonfinite")


def test_boxes_are_upright_and_near_each_other() -> None:
    pair = Tensor("pred", ("N", 4), "boxes"), Tensor("target", ("N", 4), "boxes")
    for family in ("ordinary", "structured", "adversarial"):
        drawn = draw(*pair, Tensor("third", ("M", 4), "boxes"), family=family)
        for boxes in drawn.values():
            assert (boxes[:, :2] <= boxes[:, 2:]).all()
        width = np.minimum(drawn["pred"], drawn["target"])[:, 2:]
        overlap = (width > np.maximum(drawn["pred"], drawn["target"])[:, :2]).all(1)
        assert overlap.mean() > 0.3
    near = draw(*pair, Tensor("third", ("M", 4), "boxes"))
    assert near["third"].shape == (64, 4)
    assert np.median(np.abs(near["third"] - near["target"][:64])) < 50


def test_boxes_of_several_images_are_rows() -> None:
    drawn = draw(Tensor("pred", ("B", "M", 4), "boxes"), Tensor("target", ("N", 4), "boxes"))
    assert (drawn["pred"].shape, drawn["target"].shape) == ((3, 64, 4), (512, 4))


def test_rotated_boxes_have_sides_and_lie_near_each_other() -> None:
    pair = Tensor("pred", ("N", 5), "rotated"), Tensor("target", ("N", 5), "rotated")
    drawn = draw(*pair)
    assert (drawn["pred"][:, 2:4] > 0).all()
    shift = np.abs(drawn["pred"] - drawn["target"])[:, :2] / drawn["target"][:, 2:4]
    assert np.median(shift) < 0.5
    odd = draw(*pair, family="adversarial")
    assert (odd["target"][:, 2:4] >= 0).all()
    assert (odd["target"][:, 2:4] == 0).any()
    assert (odd["pred"] == odd["target"]).all(1).any()


def test_labels_belong_to_their_logits() -> None:
    given = Tensor("logits", ("N", "C"), "logits"), Tensor("labels", ("N",), "labels")
    found = samplers(given)
    assert list(found) == ["ordinary", "tails", "special", "nonfinite", "right", "wrong"]
    rows = np.arange(512)
    for family, share in (("right", 1.0), ("wrong", 0.0)):
        drawn = found[family](np.random.default_rng(0), SIZES, {})
        assert set(drawn["labels"]) == set(range(7))
        best = drawn["logits"].argmax(1) == drawn["labels"]
        assert best.mean() == share
        assert abs(drawn["logits"][rows, drawn["labels"]].mean()) > 20


def test_real_numbers_of_one_shape_are_near_each_other() -> None:
    drawn = draw(*(Tensor(name, ("N", 3)) for name in "ab"), Tensor("c", ("N",)))
    difference = np.abs(drawn["a"] - drawn["b"])
    assert np.median(difference) < 0.2
    assert difference.max() > 2
    odd = draw(*(Tensor(name, ("N", 3)) for name in "ab"), family="adversarial")
    assert (odd["a"] == odd["b"]).any()


def test_words_with_bounds() -> None:
    values = one("a share", low=-2, high=3.0)
    assert -2 <= values.min() < -1.9
    assert 2.9 < values.max() <= 3
    ends = one("a share", "adversarial", low=-2, high=3.0)
    assert ((ends == -2).any(), (ends == 3).any()) == (True, True)
    assert (ends >= -2).all()
    assert (ends <= 3).all()
    assert one("a size", low=1.0).min() >= 1
    assert one("a debt", high=1.0).max() <= 1
    assert set(one("a grade", low=1, high=4, whole=True).ravel()) == {1.0, 2.0, 3.0, 4.0}
    assert set(one("a grade", low=1, high="C", dtype="int64").ravel()) == set(range(1, 8))
    assert one("any words").std() > 0.3
    assert set(one("on or off", dtype="bool").ravel()) == {False, True}


def test_an_input_without_a_family_has_ordinary_values_in_it() -> None:
    drawn = draw(
        Tensor("pred", ("N", 4), "boxes"), Tensor("keep", ("N",), "mask"), family="structured"
    )
    assert 0.4 < drawn["keep"].mean() < 0.6


def test_eager_pytorch_checks_the_bounds_of_a_domain() -> None:
    inputs = (
        Tensor("logits", ("N", "C"), "logits"),
        Tensor("labels", ("N",), "labels"),
        Tensor("share", ("N",), "probabilities"),
        Tensor("weight", ("N",), "positive"),
        Tensor("keep", ("N",), "mask"),
    )
    outputs = (Tensor("out", ("N", "C")),)
    op = Op("checked", lambda logits, labels, share, weight, keep: logits, inputs, outputs)
    good = {
        "logits": torch.zeros(2, 3),
        "labels": torch.tensor([0, 2]),
        "share": torch.tensor([0.0, 1.0]),
        "weight": torch.tensor([1e-6, math.inf]),
        "keep": torch.tensor([True, False]),
    }
    assert bind(op)(**good).shape == (2, 3)
    for name, values, message in (
        ("labels", [0, 3], "labels holds 3, expected class indices 0 to C-1"),
        ("share", [0.5, 1.5], "share holds 1.5, expected 0 to 1"),
        ("weight", [1.0, 0.0], "weight holds 0, expected above 0"),
        ("keep", [1.0, 0.0], "keep has dtype torch.float32, expected bool"),
    ):
        with pytest.raises(LossexportError, match=rf"^checked: {message}$"):
            bind(op)(**good | {name: torch.tensor(values)})


def test_boxes_are_not_checked() -> None:
    boxes = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    assert lossexport.ops.box_iou(boxes, boxes).shape == (1,)
