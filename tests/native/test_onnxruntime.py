"""The library in sessions of onnxruntime: every kernel and type, refusals, threads, the C API."""

import ctypes
import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import AttributeProto, TensorProto, helper

from lossexport.runtime import native, ort
from tests.native.calls import KERNELS, OK, call, declared, op_of

pytestmark = pytest.mark.skipif(not KERNELS, reason="no library of native kernels")

Array = np.ndarray[Any, np.dtype[Any]]
FLOATS = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}
TYPES = FLOATS | {
    "uint16": TensorProto.BFLOAT16,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
}
TASKS = Path("/proc/self/task")
HEADER = Path(__file__).resolve().parents[2] / "plugins" / "host" / "onnxruntime_api.h"
BOXES = np.array([[0, 0, 4, 4], [1, 1, 3, 3], [5, 5, 5, 5]], np.float32)
SCORES = np.array([0.5, 0.75, 0.25], np.float32)
NO_NUMBERS = helper.make_attribute("beta", [], attr_type=AttributeProto.FLOATS)
PICKS = {"iou_threshold": 0.5, "max_output": 3}


def node_type(kernel: str) -> str:
    return op_of(kernel).class_name + ("WithGrad" if kernel.endswith(".grad") else "")


def session(
    node: str,
    inputs: Mapping[str, tuple[int, Sequence[Any] | None]],
    outputs: Sequence[str],
    attributes: Mapping[str, Any],
    threads: int = 1,
) -> onnxruntime.InferenceSession:
    """A session with one node, no function and the library. Types of outputs are left to it."""
    made = helper.make_node(node, list(inputs), outputs, domain="lossexport")
    made.attribute.extend(
        value if isinstance(value, AttributeProto) else helper.make_attribute(name, value)
        for name, value in attributes.items()
    )
    graph = helper.make_graph(
        [made],
        "one",
        [helper.make_tensor_value_info(name, *given) for name, given in inputs.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("lossexport", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.register_custom_ops_library(str(native.path()))
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, ["CPUExecutionProvider"]
    )


def nms(
    shapes: Sequence[Any] = (("N", 4), ("N",)), **attributes: Any
) -> onnxruntime.InferenceSession:
    inputs = {n: (TensorProto.FLOAT, s) for n, s in zip(("boxes", "scores"), shapes, strict=True)}
    return session("NMS", inputs, ("indices", "count"), PICKS | attributes)


def of_kernel(
    kernel: str, dtype: str, values: Mapping[str, Any], threads: int = 1
) -> onnxruntime.InferenceSession:
    tensors = declared(kernel, dict(values))
    inputs = {
        t.name: (
            TYPES[dtype if t.dtype == "float" else t.dtype],
            [values.get(dim, dim) if isinstance(dim, str) else dim for dim in t.shape],
        )
        for t in tensors["inputs"]
    }
    given = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value is not None
    }
    outputs = [tensor.name for tensor in tensors["outputs"]]
    return session(node_type(kernel), inputs, outputs, given, threads)


def run(found: onnxruntime.InferenceSession, arrays: Mapping[str, Array]) -> list[Array]:
    values = {}
    kind = onnxruntime.OrtValue.ortvalue_from_numpy
    for info in found.get_inputs():
        array = np.ascontiguousarray(arrays[info.name])
        values[info.name] = (
            onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, TensorProto.BFLOAT16)
            if info.type == "tensor(bfloat16)"
            else kind(array)
        )
    names = [info.name for info in found.get_outputs()]
    types = {info.name: info.type for info in found.get_outputs()}
    return [
        ort._bits(value) if types[name] == "tensor(bfloat16)" else value.numpy()
        for name, value in zip(names, found.run_with_ort_values(names, values), strict=True)
    ]


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint16"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_every_kernel_gives_its_own_bits(kernel: str, dtype: str) -> None:
    """And its outputs have the types and shapes that follow from the inputs and attributes."""
    op = op_of(kernel)
    values = op.resolve({"max_output": 6} if "max_output" in op.resolve({}) else {})
    good = call(
        kernel, attributes={n: v for n, v in values.items() if n == "max_output"}, dtype=dtype
    )
    found = of_kernel(kernel, dtype, values)
    assert good.run() == (OK, "")
    for output, wanted, info, tensor in zip(
        run(found, good.arrays),
        good.written.values(),
        found.get_outputs(),
        declared(kernel, values)["outputs"],
        strict=True,
    ):
        assert (output.dtype, output.shape) == (wanted.dtype, wanted.shape)
        assert output.tobytes() == wanted.tobytes()
        assert info.shape == [
            values.get(dim, dim) if isinstance(dim, str) else dim for dim in tensor.shape
        ]
        declared_type = dtype if tensor.dtype == "float" else tensor.dtype
        assert (
            info.type
            == {
                "float32": "tensor(float)",
                "float16": "tensor(float16)",
                "uint16": "tensor(bfloat16)",
                "int64": "tensor(int64)",
                "bool": "tensor(bool)",
            }[declared_type]
        )


def test_attributes_are_the_decimal_numbers_that_were_meant() -> None:
    """ONNX has float32: differences on the edges of GHM-R's bins tell 0.02 from 0.0199999996."""
    places = np.arange(1, 9)
    ends = (0.02 * places / np.sqrt(100 - places**2.0)).astype(np.float32)
    edges: Array = np.stack([np.nextafter(ends, np.float32(0)), ends]).reshape(-1, 4)
    arrays: dict[str, Array] = {
        "pred": edges,
        "target": np.zeros_like(edges),
        "weight": np.ones_like(edges),
        "bin_count": np.zeros(10, np.float32),
    }
    counts = []
    for mu in (0.02, float(np.float32(0.02))):
        counts.append(np.empty(10, np.float32))
        loss = np.empty((), np.float32)
        values = {"momentum": 0.5, "mu": mu}
        native.run("ghm_r_loss", values, list(arrays.values()), [loss, counts[-1]])
    assert counts[0].tobytes() != counts[1].tobytes()
    values = op_of("ghm_r_loss").resolve({"momentum": 0.5, "mu": 0.02})
    assert run(of_kernel("ghm_r_loss", "float32", values), arrays)[1].tolist() == counts[0].tolist()


def test_attributes_of_plugins_are_ignored_and_left_out_ones_have_defaults() -> None:
    arrays = {"boxes": BOXES, "scores": SCORES}
    plain = run(nms(), arrays)
    assert [array.tolist() for array in plain] == [[1, 0, 2], 3]
    told = run(nms(plugin_namespace="lossexport", plugin_version="1", aot=1, beta=1.0), arrays)
    assert [array.tolist() for array in told] == [array.tolist() for array in plain]


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"iou_threshold": float("nan")}, "attribute iou_threshold is not a finite number"),
        ({"iou_threshold": "high"}, 'attribute iou_threshold is "high", which is no choice'),
        ({"iou_threshold": [0.5, 0.5]}, "attribute iou_threshold is a list, expected a number"),
        ({"beta": NO_NUMBERS}, "attribute beta is a list, expected a number"),
    ],
)
def test_a_wrong_attribute_ends_the_loading(attributes: dict[str, Any], problem: str) -> None:
    with pytest.raises(Exception, match=re.escape(f"nms: {problem}")):
        nms(**attributes)


@pytest.mark.parametrize(
    ("attributes", "changes", "problem"),
    [
        ({"max_output": -3}, {}, "attribute max_output is -3, expected 0 to 2147483647"),
        ({"max_output": 2.5}, {}, "attribute max_output is 2.5, expected 0 to 2147483647"),
        (
            {"max_output": 2**40},
            {},
            "attribute max_output is 1.09951e+12, expected 0 to 2147483647",
        ),
        ({}, {"boxes": BOXES[None]}, "boxes has rank 3, expected 2"),
        ({}, {"boxes": BOXES[None, None, None]}, "boxes has rank 5, expected 2"),
        ({}, {"boxes": BOXES[:, :3]}, "boxes has size 3 on axis 1, expected 4"),
        ({}, {"scores": SCORES[:2]}, "scores has size 2 on axis 0, expected 3"),
    ],
)
def test_a_wrong_call_is_a_status(
    attributes: dict[str, Any], changes: dict[str, Array], problem: str
) -> None:
    found = nms((None, None), **attributes)
    arrays = {"boxes": BOXES, "scores": SCORES}
    with pytest.raises(Exception, match=re.escape(f"Status Message: nms: {problem}")):
        run(found, arrays | changes)
    if not attributes:
        assert run(found, arrays)[1] == 3


def test_what_is_too_large_is_refused_before_its_memory_is_asked_for() -> None:
    inputs = dict.fromkeys(("pred", "target"), (TensorProto.FLOAT16, ("N", 4)))
    found = session("PairwiseIoU", inputs, ["score"], {})
    many = np.zeros((2**16, 4), np.float16)
    with pytest.raises(Exception, match="pairwise_iou: score has more than 2147483647 elements"):
        run(found, {"pred": many, "target": many})


def test_types_without_a_kernel_are_refused() -> None:
    inputs = dict.fromkeys(("pred", "target"), (TensorProto.DOUBLE, ("N", 4)))
    with pytest.raises(Exception, match=r"Type 'tensor\(double\)' of input parameter"):
        session("BoxIoU", inputs, ["score"], {})
    inputs["pred"] = (TensorProto.FLOAT, ("N", 4))
    inputs["target"] = (TensorProto.FLOAT16, ("N", 4))
    with pytest.raises(Exception, match="BoxIoU"):
        session("BoxIoU", inputs, ["score"], {})


def test_nothing_and_nan() -> None:
    none = {"boxes": BOXES[:0], "scores": SCORES[:0]}
    assert [array.tolist() for array in run(nms(), none)] == [[-1, -1, -1], 0]
    inputs = dict.fromkeys(("pred", "target"), (TensorProto.FLOAT, ("N", 4)))
    found = session("BoxIoU", inputs, ["score"], {})
    broken = BOXES.copy()
    broken[1, 2] = np.nan
    assert run(found, {"pred": broken, "target": BOXES})[0].tolist()[::2] == [1, 0]
    assert np.isnan(run(found, {"pred": broken, "target": BOXES})[0][1])


def test_shapes_that_cannot_be_known_are_left_open() -> None:
    inputs = {"pred": (TensorProto.FLOAT, (None, 4)), "target": (TensorProto.FLOAT, ("M", 4))}
    found = session("PairwiseIoU", inputs, ["score"], {})
    assert run(found, {"pred": BOXES[:2], "target": BOXES})[0].shape == (2, 3)
    named = inputs | {"pred": (TensorProto.FLOAT, (7, 4))}
    assert session("PairwiseIoU", named, ["score"], {}).get_outputs()[0].shape == [7, "M"]


def test_sessions_and_threads_do_not_disturb_each_other() -> None:
    kernels = ["pairwise_ciou", "soft_nms", "ap_loss.grad", "best_match"]
    sizes = {"N": 700, "M": 300, "K": 900}
    calls = {kernel: call(kernel, sizes) for kernel in kernels}
    sessions = {
        (kernel, threads): of_kernel(
            kernel,
            "float32",
            op_of(kernel).resolve({"max_output": 6} if kernel == "soft_nms" else {}),
            threads,
        )
        for kernel in kernels
        for threads in (1, 3)
    }
    for good in calls.values():
        assert good.run() == (OK, "")

    def work(offset: int) -> None:
        order = list(sessions)
        for kernel, threads in order[offset:] + order[:offset]:
            found = run(sessions[kernel, threads], calls[kernel].arrays)
            wanted = calls[kernel].written.values()
            assert [a.tobytes() for a in found] == [a.tobytes() for a in wanted]

    with ThreadPoolExecutor(6) as pool:
        assert len(list(pool.map(work, range(6)))) == 6


@pytest.mark.skipif(not TASKS.is_dir(), reason="no list of threads")
def test_a_session_of_one_thread_starts_no_other() -> None:
    found = of_kernel("pairwise_ciou", "float32", {"eps": 1e-7})
    boxes = np.tile(BOXES, (2000, 1))
    done = threading.Event()

    def work() -> None:
        run(found, {"pred": boxes, "target": boxes})
        done.set()

    worker = threading.Thread(target=work)
    worker.start()
    seen = []
    while not done.is_set():
        seen.append(len(list(TASKS.iterdir())))
    worker.join()
    assert seen
    assert max(seen) == seen[0]


class ApiBase(ctypes.Structure):
    """`OrtApiBase`."""

    _fields_ = (
        ("get_api", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32)),
        ("version", ctypes.CFUNCTYPE(ctypes.c_char_p)),
    )


def function_at(table: int | None, place: int) -> int:
    """The address of a function of a version of the API."""
    assert table
    address = (ctypes.c_void_p * (place + 1)).from_address(table)[place]
    assert address
    return int(address)


def api_base() -> ApiBase:
    """That of the onnxruntime which is installed."""
    folder = Path(onnxruntime.__file__).parent / "capi"
    for file in folder.glob("libonnxruntime.so.*"):
        get = ctypes.CDLL(str(file)).OrtGetApiBase
        get.restype = ctypes.POINTER(ApiBase)
        base: ApiBase = get().contents
        return base
    pytest.skip(f"no library of onnxruntime in {folder}")


def test_the_places_of_the_api() -> None:
    """The version in use is there, and there is a function at each place in use."""
    text = HEADER.read_text("utf-8")
    version = int(re.findall(r"API_VERSION = (\d+);", text)[0])
    places = [int(place) for place in re.findall(r"constexpr Slot<(\d+),", text)]
    assert len(places) == len(set(places)) == text.count("constexpr Slot<")
    base = api_base()
    minor = int(base.version().split(b".")[1])
    assert version <= 25 <= minor
    table = base.get_api(version)
    assert all(function_at(table, place) for place in places)


def test_an_onnxruntime_that_is_too_old_is_told_so() -> None:
    real = api_base()
    old = ApiBase(
        type(real.get_api)(lambda version: real.get_api(1) if version == 1 else None), real.version
    )
    register = native.library().RegisterCustomOps
    register.restype = ctypes.c_void_p
    status = register(None, ctypes.byref(old))
    table = real.get_api(1)
    get_message = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p)(function_at(table, 2))
    message = get_message(status)
    assert message == b"lossexport: this onnxruntime is too old, 1.17 or later is needed"
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(function_at(table, 93))(status)
