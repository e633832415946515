"""The assertions: they pass what is right, and say of what is wrong where, by how much and why."""

import re
import shlex
import subprocess
import sys
import unittest
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

import lossexport
from lossexport import ops
from lossexport.catalog import CATALOG
from lossexport.catalog.variant import Range, Variant
from lossexport.errors import LossexportError
from lossexport.exporter import onnx_file
from lossexport.runtime import available, trt
from lossexport.runtime.native import kernels
from lossexport.runtime.session import Availability
from lossexport.testing import assert_parity

pytestmark = pytest.mark.xdist_group("testing")

SHAPES = {"N": "1:4:64"}
WITHOUT_GPU = pytest.mark.skipif(available()["rtx"].runs, reason="engines run here")


def model_of(name: str, shapes: dict[str, Range] | None = None) -> onnx.ModelProto:
    data = onnx_file.onnx_bytes(Variant.make(CATALOG[name], ranges=shapes))
    return onnx.load_from_string(data)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("testing") / "out"
    lossexport.export("box_iou", out, formats=["onnx", "engine"], shapes=SHAPES)
    return out


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    """A file that says that it is `box_iou`, and takes the smaller of two areas for the larger."""
    model = model_of("box_iou")
    (first, *_) = (node for node in model.functions[0].node if node.op_type == "Max")
    first.op_type = "Min"
    path = tmp_path / "a wrong.onnx"
    onnx.save(model, path)
    return path


def port(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """IoU loss as many write it: right where boxes are finite and have an area."""
    low = torch.maximum(pred[:, :2], target[:, :2])
    high = torch.minimum(pred[:, 2:], target[:, 2:])
    width, height = (high - low).clamp(min=0).unbind(1)
    areas = [(box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]) for box in (pred, target)]
    return 1 - width * height / (areas[0] + areas[1] - width * height + 1e-7)


def test_importing_it_is_light() -> None:
    code = "import sys, lossexport.testing; print({'torch', 'pytest', 'onnx'} & {*sys.modules})"
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_an_op_passes() -> None:
    assert_parity("box_iou", shapes=SHAPES)
    assert_parity("box_iou", shapes=SHAPES, backends=["ort"], replay="adversarial:N=33:1")
    if kernels():
        assert_parity("box_iou", shapes=SHAPES, backends="native")


def test_an_op_whose_graph_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("box_iou", {"N": Range(1, 4, 64)})
    graph = model.functions[0].node
    (last,) = (node for node in graph if model.functions[0].output[0] in node.output)
    scaled = onnx.helper.make_node("Constant", [], ["scale"], value_float=1.001)
    graph.insert(len(graph), scaled)
    graph.insert(len(graph), onnx.helper.make_node("Mul", ["raw", "scale"], [last.output[0]]))
    last.output[0] = "raw"
    monkeypatch.setattr(onnx_file, "onnx_bytes", lambda _: model.SerializeToString())
    with pytest.raises(AssertionError, match=r"score\[0\] is 1\.001\d*, expected exactly 1\.0 "):
        assert_parity("box_iou", shapes=SHAPES, backends="ort")
    with pytest.raises(AssertionError) as caught:
        assert_parity("box_iou", shapes=SHAPES, backends="ort", families="ordinary")
    found = re.fullmatch(
        r"box_iou on ort-cpu: score beyond tolerance\n  score\[(\d+)\] is (\S+), expected (\S+), "
        r"off by (\S+) times its tolerance \((\d+) of (\d+) elements are beyond\); "
        r"replay='(\w+:N=\d+:\d)' runs this case alone",
        str(caught.value),
    )
    assert found, str(caught.value)
    index, actual, expected, times, beyond, elements, case = found.groups()
    assert float(actual) / float(expected) == pytest.approx(1.001, rel=1e-5)
    assert float(times) > 1000
    assert 100 < int(beyond) <= int(elements)
    with pytest.raises(AssertionError, match=rf"score\[{index}\] is {re.escape(actual)}, expected"):
        assert_parity("box_iou", shapes=SHAPES, backends="ort", replay=case)


def test_an_op_that_is_not_in_the_catalogue() -> None:
    mine = replace(
        CATALOG["iou_loss"],
        name="my_iou_loss",
        function=lambda pred, target, eps=1e-7, reduction="none": port(pred, target),
    )
    assert_parity(mine, shapes=SHAPES, gradient=True)
    with pytest.raises(AssertionError, match=r"^native: nothing that was to be checked is for it$"):
        assert_parity(mine, shapes=SHAPES, backends="native")
    with pytest.raises(LossexportError, match=r"^my_iou_loss: is not in the catalogue, and has no"):
        assert_parity(mine, shapes=SHAPES, backends="rtx")


def test_another_op_of_a_name_does_not_run_on_the_kernel_of_that_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel of `box_iou` would give another result."""
    mine = replace(CATALOG["box_iou"], function=lambda pred, target, eps: pred[:, 0] - target[:, 0])
    # The traces that tests share go by the name.
    monkeypatch.setattr(onnx_file, "onnx_bytes", onnx_file.onnx_bytes.__wrapped__)  # type: ignore[attr-defined]
    assert_parity(mine, shapes=SHAPES)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("name", ["giou_loss", "kl_loss", "ghm_r_loss"])
def test_an_op_is_the_same_as_itself(name: str, precision: Any) -> None:
    function = getattr(ops, name)
    assert_parity(function, name, shapes=SHAPES, precision=precision)
    if precision == "fp32":
        assert_parity(function, name, shapes=SHAPES, gradient=True, seeds=1)


def test_a_port_is_told_where_it_differs() -> None:
    assert_parity(port, "iou_loss", shapes=SHAPES, families="ordinary", gradient=True)
    assert_parity(port, CATALOG["iou_loss"], shapes=SHAPES, families=["ordinary"])
    with pytest.raises(AssertionError) as caught:
        assert_parity(port, "iou_loss", shapes=SHAPES)
    assert re.fullmatch(
        r"port as iou_loss on torch: loss beyond tolerance\n  loss\[0\] is 1.0, expected NaN or "
        r"infinite \(\d+ of \d+ elements are beyond\); "
        r"replay='nonfinite:N=1:0' runs this case alone",
        str(caught.value),
    )


def test_a_port_of_another_factor() -> None:
    def scaled(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return 1.001 * port(pred, target)

    expected = r"scaled as iou_loss\.grad on torch: grad_pred, loss beyond tolerance\n"
    with pytest.raises(AssertionError, match=expected) as caught:
        assert_parity(scaled, "iou_loss", shapes=SHAPES, families="ordinary", gradient=True)
    numbers = re.search(r" is (\S+), expected (\S+), off by (\S+) times", str(caught.value))
    assert numbers
    actual, wanted, times = map(float, numbers.groups())
    assert actual / wanted == pytest.approx(1.001, rel=1e-4)
    assert times > 100


def test_attributes_are_of_the_op_and_modules_are_functions() -> None:
    module = torch.nn.SmoothL1Loss(reduction="mean", beta=0.5)
    options: dict[str, Any] = {"shapes": {"N": "1:4:64", "D": "1:4:8"}, "gradient": True}
    attributes = {"reduction": "mean", "beta": 0.5}
    families = [name for name in CATALOG["smooth_l1_loss"].samplers if name != "nonfinite"]
    assert_parity(module, "smooth_l1_loss", attributes=attributes, families=families, **options)
    with pytest.raises(AssertionError, match=r"^SmoothL1Loss as smooth_l1_loss.grad on torch: "):
        assert_parity(module, "smooth_l1_loss", attributes={"reduction": "mean"}, **options)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda p, t: port(p, t)[:, None], r"loss has shape \[1, 1\] instead of \[1\] in case "),
        (lambda p, t: 1.0, "it returns float, not tensors: loss$"),
        (lambda p, t: (port(p, t), t), "it returns Tensor, Tensor, not tensors: loss$"),
    ],
)
def test_a_function_that_returns_something_else(function: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=f"^<lambda> as iou_loss on torch: {message}"):
        assert_parity(function, "iou_loss", shapes=SHAPES)


def test_what_a_function_raises_has_the_case() -> None:
    with pytest.raises(IndexError) as caught:
        assert_parity(lambda pred, target: pred[1000], "iou_loss", shapes=SHAPES)
    assert caught.value.__notes__ == ["in case ordinary:N=1:0"]


def test_files(exported: Path, wrong: Path) -> None:
    assert_parity(exported / "box_iou.onnx")
    assert_parity(str(exported), backends=["ort"])
    with pytest.raises(AssertionError) as caught:
        assert_parity(wrong, backends="ort")
    first, second = str(caught.value).split("\n")
    assert first == f"{wrong} (box_iou) on ort-cpu: score beyond tolerance"
    command = shlex.split(second.partition("; ")[2])
    assert command[:3] == ["lossexport", "verify", str(wrong)]
    with pytest.raises(AssertionError, match="score beyond tolerance"):
        assert_parity(wrong, replay=command[-1], backends="ort")


@WITHOUT_GPU
def test_what_did_not_run_has_not_passed(exported: Path) -> None:
    reason = re.escape(str(available()["rtx"].reason))
    engine = exported / "box_iou.engine"
    message = rf"^{re.escape(str(engine))} \(box_iou\) on rtx: not run here: {reason}$"
    for subject in (engine, exported):
        with pytest.raises(AssertionError, match=message):
            assert_parity(subject)
        with pytest.raises(unittest.SkipTest, match=message):
            assert_parity(subject, not_run="skip")
    with pytest.raises(AssertionError, match=f"^box_iou on rtx: not run here: {reason}$"):
        assert_parity("box_iou", shapes=SHAPES, backends=["ort", "rtx"])
    with pytest.raises(AssertionError, match=r"^tensorrt: nothing that was to be checked is for"):
        assert_parity(exported, backends=["ort", "tensorrt"])


def test_what_failed_is_not_skipped(wrong: Path) -> None:
    with pytest.raises(AssertionError, match="score beyond tolerance"):
        assert_parity(wrong, backends=["ort", "ort-cuda"], not_run="skip")


@pytest.mark.skipif(available()["rtx"].version is None, reason="no builder")
@WITHOUT_GPU
def test_an_engine_is_built_where_it_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Path] = []

    def opened(source: Any, backend: str, provider: str) -> Any:
        built.append(source.path)
        assert source.artifact.profile["N"].max == 64
        raise LossexportError("stand-in for a GPU")

    here = Availability("rtx", runs=True, version="1.0")
    monkeypatch.setattr(trt, "availability", lambda name: replace(here, runs=name == "rtx"))
    monkeypatch.setattr(trt, "open_session", opened)
    with pytest.raises(AssertionError, match=r"^box_iou on rtx: stand-in for a GPU$"):
        assert_parity("box_iou", shapes=SHAPES)
    assert [path.name for path in built] == ["box_iou.engine"]


def foreign(path: Path, names: list[str], order: list[int]) -> Path:
    """`encode_boxes` as another exporter may write it, its inputs under `names` and in `order`."""
    model = model_of("encode_boxes", {"N": Range(8, 8, 8)})
    del model.metadata_props[:]
    model.graph.node[0].input[:] = names
    for value, name in zip(model.graph.input, names, strict=True):
        value.name = name
    inputs = [onnx.ValueInfoProto.FromString(x.SerializeToString()) for x in model.graph.input]
    del model.graph.input[:]
    model.graph.input.extend(inputs[place] for place in order)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("names", "order", "same"),
    [
        (["boxes", "anchors"], [0, 1], True),
        (["boxes", "anchors"], [1, 0], True),
        (["in.0", "in.1"], [0, 1], True),
        (["in.0", "in.1"], [1, 0], False),
    ],
)
def test_a_file_of_any_origin(
    names: list[str], order: list[int], same: bool, tmp_path: Path
) -> None:
    path = foreign(tmp_path / "theirs.onnx", names, order)
    if same:
        assert_parity(path, "encode_boxes")
    else:
        message = rf"^{re.escape(str(path))} as encode_boxes on ort-cpu: deltas beyond tolerance\n"
        with pytest.raises(AssertionError, match=message):
            assert_parity(path, "encode_boxes", not_run="skip")
    with pytest.raises(LossexportError, match="outputs are deltas, those of the op are loss, grad"):
        assert_parity(path, "iou_loss", gradient=True)


BAD: list[tuple[Callable[[Path], None], str]] = [
    (lambda _: assert_parity("ciou_los"), "^unknown op 'ciou_los'; did you mean ciou_loss"),
    (lambda _: assert_parity("none/"), "^none: cannot be read: No such file or directory$"),
    (lambda _: assert_parity(port), "^port: a function needs the op that it is to be$"),
    (lambda _: assert_parity(3), "^subject is 3: the path of a file or folder, "),  # type: ignore[arg-type]
    (lambda _: assert_parity(port, "iou_loss", backends="ort"), "^backends: port is a function"),
    (
        lambda out: assert_parity(out, precision="fp16"),
        "says itself which attributes",
    ),
    (lambda out: assert_parity(out, families="usual"), "^box_iou: family 'usual' is not one of "),
    (lambda out: assert_parity(out, replay="usual:N=1:0"), "^case 'usual:N=1:0': family 'usual' "),
    (
        lambda out: assert_parity(out, backends="gpu"),
        "^backend 'gpu': not one of native, ort-kernels, ort, ",
    ),
    (lambda out: assert_parity(out, seeds=0), "^seeds is 0: a whole number from 1 up is expected$"),
    (lambda out: assert_parity(out, not_run="pass"), "^not_run 'pass' is not one of fail, skip"),  # type: ignore[arg-type]
    (lambda out: assert_parity(out.with_suffix(".engine"), "box_iou"), "expected .onnx$"),
    (lambda _: assert_parity("box_iou", precision="fp8"), "^precision 'fp8' is not one of fp32"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_usage(call: Callable[[Path], None], message: str, exported: Path) -> None:
    with pytest.raises(LossexportError, match=message):
        call(exported / "box_iou.onnx")
