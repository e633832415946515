"""Every attribute at both ends of its range, and values at the edge of a narrow type."""

import math
from pathlib import Path
from typing import Any

import pytest

import lossexport
from lossexport.catalog import CATALOG
from lossexport.catalog.spec import Attribute
from lossexport.catalog.variant import Variant
from lossexport.errors import CheckFailedError, LossexportError
from lossexport.exporter.onnx_file import onnx_bytes
from lossexport.parity import quick
from lossexport.parity.report import verdict


def ends(attribute: Attribute) -> list[Any]:
    """The least and the largest value, or every choice."""
    if attribute.choices:
        return list(attribute.choices)
    if isinstance(attribute.default, bool):
        return [False, True]
    below = attribute.below < math.inf
    found = [attribute.minimum, math.nextafter(attribute.below, 0) if below else attribute.maximum]
    if isinstance(attribute.default, tuple):
        return [(value,) * len(attribute.default) for value in found]
    return [int(v) for v in found] if isinstance(attribute.default, int) else found


# Without eps its gradient is inf at infinite coordinates, where PyTorch gives NaN: not exported.
REFUSED = {("diou_loss", "eps"): 0.0, ("eiou_loss", "eps"): 0.0}

# Of millions of values, some lie where float16 turns to infinity. tests/exporter/test_every_op.py
# checks every op in both types on fewer.
AT_THE_EDGE = ("encode_boxes", "kl_loss")

ATTRIBUTES = [(op.name, item) for op in CATALOG.values() for item in op.attributes]

# For each name and range of an attribute the first op, of those with a gradient if there are any.
KINDS: dict[tuple[Any, ...], tuple[str, Attribute]] = {}
for op_name, one in sorted(ATTRIBUTES, key=lambda given: not CATALOG[given[0]].gradient):
    kind = (one.name, one.minimum, one.maximum, one.below, one.choices)
    if not op_name.endswith(("detection_loss", "retinanet_loss", "fcos_loss")):
        KINDS.setdefault(kind, (op_name, one))
# A part of them is for every run, with those that are refused.
CHOSEN = [*KINDS.values()][::4]
CHOSEN += [(n, i) for n, i in ATTRIBUTES if (n, i.name) in REFUSED and (n, i) not in CHOSEN]


@pytest.mark.parametrize(("name", "item"), ATTRIBUTES, ids=lambda x: getattr(x, "name", x))
def test_every_attribute_has_two_ends(name: str, item: Attribute) -> None:
    for value in ends(item):
        assert CATALOG[name].resolve({item.name: value})
    if item.choices or isinstance(item.default, bool):
        return
    assert math.isfinite(item.minimum)
    assert math.isfinite(min(item.maximum, item.below))
    for beyond in (item.minimum - 1, min(item.maximum, item.below) + 1):
        value = (beyond,) * len(item.default) if isinstance(item.default, tuple) else beyond
        with pytest.raises(LossexportError, match=rf"{name}: {item.name}=.*: must be in \["):
            CATALOG[name].resolve({item.name: value})


@pytest.mark.parametrize(
    ("name", "item"),
    [
        pytest.param(*given, marks=pytest.mark.slow if given in CHOSEN else pytest.mark.exhaustive)
        for given in ATTRIBUTES
    ],
    ids=lambda x: getattr(x, "name", x),
)
def test_an_attribute_at_its_ends_is_exported(name: str, item: Attribute, tmp_path: Path) -> None:
    op = CATALOG[name]
    # Other tests export every op with its defaults.
    for value in (value for value in ends(item) if value != item.default):
        variant = Variant.make(op, {item.name: value}, gradient=bool(op.gradient))
        if REFUSED.get((name, item.name)) == value:
            with pytest.raises(CheckFailedError, match="is inf instead of nan in case nonfinite"):
                quick.check(variant, onnx_bytes(variant))
            continue
        result = quick.check(variant, onnx_bytes(variant))
        assert result.status == "passed"
        assert set(result.outputs) == {tensor.name for tensor in variant.outputs}


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("name", AT_THE_EDGE)
def test_values_at_the_edge_of_a_narrow_type_pass(
    name: str, precision: Any, tmp_path: Path
) -> None:
    op = CATALOG[name]
    paths = []
    for gradient in (False, True) if op.gradient else (False,):
        variant = Variant.make(op, {}, precision, gradient)
        paths.append(tmp_path / f"{variant.stem}.onnx")
        paths[-1].write_bytes(onnx_bytes(variant))
    report = lossexport.verify(paths, store=False)
    assert report.passed, verdict(report)
