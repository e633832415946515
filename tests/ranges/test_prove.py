"""Proofs of ranges: bounds hold, sound files are proved, and a planted overflow is found."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import lossexport
from lossexport.catalog import CATALOG
from lossexport.catalog.variant import Variant
from lossexport.errors import LossexportError
from lossexport.exporter.onnx_file import onnx_bytes
from lossexport.names import Precision
from lossexport.ranges import image_size, prove
from lossexport.ranges.domain import Domain
from lossexport.ranges.walk import inlined
from tests.ranges.sampling import check


def variant(name: str, gradient: bool = False, precision: Precision = "fp16") -> Variant:
    return Variant.make(CATALOG[name], precision=precision, gradient=gradient)


def planted(data: bytes) -> bytes:
    """The file with the product of two coordinates in float16, which are added to the loss times 0.

    On a CPU, onnxruntime computes it in float32.
    """
    model = onnx.load_from_string(data)
    (function,) = model.functions
    last = function.node[-1]
    result, last.output[0] = last.output[0], "sound"
    place = [
        helper.make_tensor(n, TensorProto.INT64, [], [i]) for i, n in ((2, "two"), (3, "three"))
    ]
    zero = helper.make_tensor("zero", TensorProto.FLOAT16, [], [0.0])
    make = helper.make_node
    function.node.extend(
        [
            *(make("Constant", [], [one.name], value=one) for one in (*place, zero)),
            make("Gather", ["pred", "two"], ["x2"], axis=1),
            make("Gather", ["pred", "three"], ["y2"], axis=1),
            make("Mul", ["x2", "y2"], ["area"], name="planted"),
            make("Abs", ["area"], ["positive"]),
            make("Min", ["positive", "zero"], ["nothing"]),
            make("Add", ["sound", "nothing"], [result]),
        ]
    )
    return model.SerializeToString()


@pytest.mark.parametrize("name", ["box_iou", "iou_loss", "best_match", "box_nwd"])
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_sound_file_is_proved(name: str, precision: Precision) -> None:
    one = variant(name, precision=precision)
    record = prove(onnx_bytes(one), one)
    assert record.status == "proved"
    assert record.bound is not None
    assert record.bound <= record.largest


def test_a_planted_product_in_float16_overflows(tmp_path: Path) -> None:
    one = variant("iou_loss")
    data = planted(onnx_bytes(one))
    record = prove(data, one)
    assert (record.status, record.type, record.largest) == ("overflows", "float16", 65504.0)
    assert "planted" in record.node
    path = tmp_path / "iou_loss.fp16.onnx"
    path.write_bytes(data)
    report = lossexport.verify(path, backends=["ort-cpu"])
    assert [r.status for r in report.files[0].results] == ["passed"]  # the numbers do not show it
    assert report.failed
    assert report.files[0].edited


def test_a_small_image_keeps_the_planted_product_in_range() -> None:
    one = variant("iou_loss")
    data = planted(onnx_bytes(one))
    assert prove(data, one, image_size((250, 250))).status == "proved"  # 62500 < 65504
    assert prove(data, one, image_size((260, 260))).status == "overflows"


FILES = [(name, gradient) for name in CATALOG for gradient in (False, True)
         if not gradient or CATALOG[name].gradient]  # fmt: skip


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "gradient"), FILES)
def test_every_result_of_every_op_lies_within_its_bounds(name: str, gradient: bool) -> None:
    one = variant(name, gradient)
    model = inlined(onnx.load_from_string(onnx_bytes(one)))
    assert check(model, one, Domain(640.0, 480.0, 1.0 if gradient else 0.0), (1, 6)) > 0


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("name", ["iou_loss", "smooth_l1_loss", "softmax_focal_loss"])
def test_every_result_lies_within_its_bounds(name: str, gradient: bool) -> None:
    one = variant(name, gradient)
    model = inlined(onnx.load_from_string(onnx_bytes(one)))
    assert check(model, one, Domain(640.0, 480.0, 1.0 if gradient else 0.0), (1, 6)) > 100


def narrowed(data: bytes) -> bytes:
    """The file without the conversion to float32: all that it computes is in float16."""
    model = onnx.load_from_string(data)
    (function,) = model.functions
    del function.value_info[:]
    for node in function.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
            if attribute.name == "value" and attribute.t.data_type == TensorProto.FLOAT:
                numbers = onnx.numpy_helper.to_array(attribute.t).astype(np.float16)
                attribute.t.CopyFrom(onnx.numpy_helper.from_array(numbers, attribute.t.name))
    return model.SerializeToString()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["iou_loss", "giou_loss", "ciou_loss", "box_nwd"])
def test_a_file_without_its_conversions_overflows_at_a_shown_input(
    name: str, tmp_path: Path
) -> None:
    one = variant(name)
    path = tmp_path / f"{name}.fp16.onnx"
    path.write_bytes(narrowed(onnx_bytes(one)))
    report = lossexport.verify(path, backends=["ort-cpu"])
    record = report.files[0].proof
    assert report.failed
    assert record is not None
    assert (record.status, record.type, record.largest) == ("overflows", "float16", 65504.0)
    assert record.example is not None
    assert "pred = [[" in record.example
    assert "640.0" in record.example


def test_the_image_of_the_manifest_is_what_verify_proves_for(tmp_path: Path) -> None:
    lossexport.export("iou_loss", tmp_path, precision="fp16", prove=True, image_size=(320, 200))
    proof = lossexport.verify(tmp_path, backends=["ort-cpu"]).files[0].proof
    assert proof is not None
    assert (proof.width, proof.height, proof.status) == (320.0, 200.0, "proved")
    assert "320 x 200" in proof.domain


def test_a_large_result_is_told_apart_from_an_overflow() -> None:
    one = variant("smooth_l1_loss")
    assert prove(onnx_bytes(one), one).large == {}
    summed = Variant.make(CATALOG["smooth_l1_loss"], {"reduction": "sum"}, "fp16")
    record = prove(onnx_bytes(summed), summed)
    assert record.status == "proved"
    assert set(record.large) == {"loss"}


@pytest.mark.parametrize("size", [(0, 5), (640,), (640, float("nan")), (70000, 640), "640"])
def test_an_image_has_two_sizes_above_0(size: object) -> None:
    with pytest.raises(LossexportError, match=r"image_size .*: must be a width and a height"):
        image_size(size)


def test_only_a_narrow_precision_is_proved(tmp_path: Path) -> None:
    with pytest.raises(LossexportError, match="the precision of iou_loss is fp32"):
        lossexport.export("iou_loss", tmp_path / "out", prove=True)
    assert not (tmp_path / "out").exists()
