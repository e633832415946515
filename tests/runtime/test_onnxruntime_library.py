"""The backend `ort-kernels`: which files it takes, what it refuses, and that it gives our bits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from lossexport.catalog import BUILTIN, CATALOG
from lossexport.catalog.variant import Range, Variant
from lossexport.errors import LossexportError
from lossexport.exporter.onnx_file import onnx_bytes
from lossexport.kernels import kernels as stages_of
from lossexport.manifest import load_manifest
from lossexport.runtime import available, load, native, onnxruntime_library
from lossexport.runtime.guard.calls import CALLS
from lossexport.runtime.onnx_guard import CLAIM, claim
from lossexport.wiring.attach import attach
from tests.conftest import slow
from tests.native.calls import OK, SIZES, call, op_of
from tests.wiring.toy import IMAGES, arguments, toy, traced_once  # noqa: F401

pytestmark = pytest.mark.skipif(
    not available()["ort-kernels"].runs, reason="no library of native kernels, or no onnxruntime"
)

DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "uint16"}


def files(kernels: list[str]) -> list[Any]:
    """Kernels with the types of exported files of their ops; narrow ones are left to slow tests.

    Narrow graphs without a gradient differ from those with one by nothing that the library sees,
    and tests/native/test_onnxruntime.py takes their kernels in every type.
    """
    return [
        (kernel, precision) if precision == "fp32" else slow(kernel, precision)
        for kernel in kernels
        for precision in DTYPES
        if precision == "fp32" or kernel.endswith(".grad") or not op_of(kernel).gradient
    ]


EVERY = sorted(native.kernels())
STAGED = [kernel for kernel in EVERY if op_of(kernel).stages]
BOXES = np.array([[0, 0, 4, 4], [1, 1, 3, 3], [5, 5, 5, 5]], np.float32)
SCORES = np.array([0.5, 0.75, 0.25], np.float32)


@pytest.fixture(scope="module")
def nms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kernels") / "nms.onnx"
    path.write_bytes(onnx_bytes(Variant.make(CATALOG["nms"], {"max_output": 3})))
    return path


def edited(path: Path, edit: Callable[[onnx.ModelProto], None], claimed: bool = False) -> Path:
    """A copy beside a file, with a claim that fits where it is `claimed`."""
    model = onnx.load(path)
    edit(model)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    if claimed:
        facts[CLAIM] = claim(model.SerializeToString(), facts)
        helper.set_model_props(model, facts)
    copy = path.with_name("edited.onnx")
    onnx.save(model, copy)
    return copy


def refusal(path: Path, **choices: Any) -> str:
    with pytest.raises(LossexportError) as caught:
        load(path, "ort-kernels", **choices)
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize(("kernel", "precision"), files(EVERY))
def test_exported_files_give_the_bits_of_the_kernels(
    kernel: str, precision: Any, tmp_path: Path
) -> None:
    op, gradient = op_of(kernel), kernel.endswith(".grad")
    path = tmp_path / "file.onnx"
    fixed = {
        name: Range(SIZES[name], SIZES[name], SIZES[name])
        for name, sizes in op.dims.items()
        if name in SIZES and sizes[0] == sizes[2]
    }
    path.write_bytes(onnx_bytes(Variant.make(op, {}, precision, gradient, fixed)))
    session = load(path)
    assert session.backend == "ort-kernels"
    picks = {name: value for name, value in op.resolve({}).items() if name == "max_output"}
    good = call(kernel, attributes=picks, dtype=DTYPES[precision])
    assert good.run() == (OK, "")
    found = session(**good.arrays)
    assert {n: a.tobytes() for n, a in found.items()} == {
        n: a.tobytes() for n, a in good.written.items()
    }


def test_every_op_of_the_registry_has_kernels() -> None:
    """Its value, and value with gradient where it has one; each is offered in every precision."""
    wanted = {op.name for op in BUILTIN.values()}
    wanted |= {f"{op.name}.grad" for op in BUILTIN.values() if op.gradient}
    assert native.kernels() == wanted


def lossexport_nodes(path: Path, *libraries: Path) -> list[str]:
    """The types of our nodes that onnxruntime runs, once it has inlined and chosen."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    optimised = path.with_name("optimised.onnx")
    options.optimized_model_filepath = str(optimised)
    for library in libraries:
        options.register_custom_ops_library(str(library))
    onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    nodes = onnx.load(optimised).graph.node
    return [node.op_type for node in nodes if node.domain == "lossexport"]


@pytest.mark.parametrize(("kernel", "precision"), files(STAGED))
def test_an_op_of_stages_is_one_node(kernel: str, precision: Any, tmp_path: Path) -> None:
    """Nodes of stages are behind that of the op, which the kernel replaces as a whole."""
    op, gradient = op_of(kernel), kernel.endswith(".grad")
    path = tmp_path / "file.onnx"
    path.write_bytes(onnx_bytes(Variant.make(op, {}, precision, gradient)))
    functions = [function.name for function in onnx.load(path).functions]
    stages = [stage.name for stage in stages_of(op, gradient)]
    assert functions == [*stages, op.class_name + "WithGrad" * gradient]
    assert lossexport_nodes(path, onnxruntime_library()) == functions[-1:]
    assert lossexport_nodes(path) == []


def test_any_session_of_onnxruntime_takes_the_library(nms: Path) -> None:
    """Here the body of the function is none of NMS, so that its result is the kernel's."""

    def spoil(model: onnx.ModelProto) -> None:
        (function,) = model.functions
        del function.node[:]
        for name, source in zip(function.output, function.input, strict=True):
            function.node.add(op_type="Size", input=[source], output=[name])

    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(onnxruntime_library()))
    path = edited(nms, spoil)
    arrays = {"boxes": BOXES, "scores": SCORES}
    plain = onnxruntime.InferenceSession(path).run(None, arrays)
    assert [array.tolist() for array in plain] == [12, 3]
    kernels = onnxruntime.InferenceSession(path, options).run(None, arrays)
    assert [array.tolist() for array in kernels] == [[1, 0, 2], 3]
    assert load(path).backend == "ort"
    message = "the graph is not what its metadata say; backend 'ort' runs it as it is"
    assert refusal(path) == message


def test_it_comes_second_and_the_bodies_can_be_asked_for(nms: Path) -> None:
    shipped = Path(native.__file__).parents[1] / "graphs"
    manifest = load_manifest(shipped)
    assert manifest is not None
    file = shipped / manifest.artifacts[0].file
    assert [load(file).backend, load(nms).backend] == ["native", "ort-kernels"]
    kernels, bodies = load(nms), load(nms, "ort")
    assert (kernels.inputs, kernels.outputs) == (bodies.inputs, bodies.outputs)
    assert kernels.providers == ("CPUExecutionProvider",)
    found, wanted = (session(boxes=BOXES, scores=SCORES) for session in (kernels, bodies))
    assert {n: a.tolist() for n, a in found.items()} == {n: a.tolist() for n, a in wanted.items()}


def test_what_it_refuses(nms: Path, add_file: Path) -> None:
    assert refusal(add_file) == "no node has a native kernel; backend 'ort' runs it as it is"
    assert load(add_file).backend == "ort"
    assert refusal(nms, provider="cuda") == (
        "provider 'cuda': backend 'ort-kernels' runs on the cpu alone"
    )


def test_a_version_or_an_attribute_of_a_later_release(nms: Path) -> None:
    """onnxruntime itself would not mind either of them."""

    def later(model: onnx.ModelProto) -> None:
        next(opset for opset in model.opset_import if opset.domain == "lossexport").version = 2

    def more(model: onnx.ModelProto) -> None:
        model.graph.node[0].attribute.append(helper.make_attribute("margin", 0.5))

    path = edited(nms, later, claimed=True)
    assert refusal(path).startswith("version 2 of the domain lossexport is unknown; ")
    path = edited(nms, more, claimed=True)
    assert refusal(path).startswith("attribute margin of NMS is unknown; ")
    assert load(path).backend == "ort"
    assert load(edited(nms, lambda model: None, claimed=True)).backend == "ort-kernels"


# Files with more than the op in them


@pytest.fixture
def attached(tmp_path: Path) -> Path:
    """`pairwise_giou` behind a detector."""
    attach(**arguments(toy(tmp_path)))
    return tmp_path / "out.onnx"


def test_attached_files_run_on_the_kernels(attached: Path) -> None:
    session = load(attached)
    assert session.backend == "ort-kernels"
    found, bodies = session(images=IMAGES), load(attached, "ort")(images=IMAGES)
    assert found["output"].tobytes() == bodies["output"].tobytes()
    score, output = np.empty((6, 6), np.float32), bodies["output"][0]
    boxes = [np.ascontiguousarray(part) for part in (output[:, :4], output[:, 4:])]
    native.run("pairwise_giou", {}, boxes, [score])
    assert found["score"].tobytes() == score.tobytes()
    np.testing.assert_allclose(score, bodies["score"], rtol=0, atol=2e-6)


def weights(model: onnx.ModelProto) -> None:
    """What is not ours may change, and so may names."""
    model.graph.node[0].op_type = "Abs"
    model.graph.node[-1].name = "mine"


def attribute(model: onnx.ModelProto) -> None:
    next(a for a in model.graph.node[-1].attribute if a.name == "eps").f = 0.5


def body(model: onnx.ModelProto) -> None:
    next(n for n in model.functions[0].node if n.op_type == "Min").op_type = "Max"


def unclaimed(model: onnx.ModelProto) -> None:
    del model.metadata_props[[e.key for e in model.metadata_props].index(CALLS)]


@pytest.mark.parametrize(
    ("edit", "backend"),
    [(weights, "ort-kernels"), (attribute, "ort"), (body, "ort"), (unclaimed, "ort")],
)
def test_only_calls_as_they_were_written(
    attached: Path, edit: Callable[[onnx.ModelProto], None], backend: str
) -> None:
    assert load(edited(attached, edit)).backend == backend


def test_attaching_again_does_not_vouch_for_what_was_edited(attached: Path) -> None:
    more = {"op": "pairwise_iou", "prefix": "second_"}
    for edit, backend in ((weights, "ort-kernels"), (body, "ort"), (unclaimed, "ort")):
        path = edited(attached, edit)
        attach(**arguments(path, **more))
        session = load(path.with_name("out.onnx"))
        assert session.backend == backend
        assert [info.name for info in session.outputs] == ["output", "score", "second_score"]
        attach(**arguments(toy(path.parent)))


def test_the_path_of_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert onnxruntime_library() == native.path().absolute()
    monkeypatch.setenv(native.ENVIRONMENT, str(tmp_path / "none.so"))
    native.library.cache_clear()
    try:
        with pytest.raises(LossexportError, match=r"^no library of native kernels at "):
            onnxruntime_library()
        found = available()["ort-kernels"]
        assert (found.runs, found.fix) == (False, f"unset {native.ENVIRONMENT}")
    finally:
        monkeypatch.undo()
        native.library.cache_clear()
