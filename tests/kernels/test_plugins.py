"""Every plugin in TensorRT's own plugin layer: registered, and asked for what an engine holds."""

import dataclasses
import re
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import onnx
import pytest

from lossexport.catalog import CATALOG
from lossexport.catalog.variant import Variant
from lossexport.errors import LossexportError
from lossexport.exporter import engine
from lossexport.exporter.onnx_file import onnx_bytes
from lossexport.kernels import declared, plugins, ptx
from lossexport.names import Precision
from tests.conftest import ROOT
from tests.kernels import plugin_layer

KERNELS = declared()
TYPES: dict[str, Precision] = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16"}
SIZES = [
    dict(zip("NMCKPDBAT", sizes, strict=True))
    for sizes in (
        (1,) * 9,
        (17, 256, 80, 256, 2, 4, 3, 300, 2),
        (16384, 257, 3, 257, 256, 5, 64, 8400, 17),
        (0,) * 9,
    )
]


@pytest.fixture(scope="module")
def registered() -> None:
    plugins.register(*plugin_layer.modules(), "8.6")


@pytest.mark.parametrize("name", KERNELS)
def test_registered_under_the_name_of_the_node(registered: None, name: str) -> None:
    tensorrt, layer = plugin_layer.modules()
    creator = tensorrt.get_plugin_registry().get_creator(name, "1", "lossexport")
    kernel = KERNELS[name]
    assert (creator.name, creator.plugin_version) == (name, "1")
    assert creator.plugin_namespace == "lossexport"
    assert [field.name for field in creator.field_names] == [a.name for a in kernel.attributes]
    assert hasattr(layer.op.lossexport, name)


def test_a_kernel_of_every_op_that_declares_one() -> None:
    alone = [op for op in CATALOG.values() if op.kernel is not None]
    assert {Variant.make(op).node_type for op in alone} <= set(KERNELS)
    assert {"pairwise_ciou", "nms", "best_match"} <= {op.name for op in alone}
    assert {"APLossPositives", "GHMCLossTerms", "GHMRLossTermsWithGrad"} <= set(KERNELS)


@pytest.mark.parametrize("float_type", TYPES)
@pytest.mark.parametrize("name", KERNELS)
def test_all_that_an_engine_would_hold(registered: None, name: str, float_type: str) -> None:
    kernel, launch = KERNELS[name], KERNELS[name].launch
    attributes = {a.name: a.default for a in kernel.attributes}
    built = plugin_layer.build(kernel, attributes, float_type)
    for sizes in SIZES:
        known = sizes | attributes
        shapes = [[expression.value(sizes) for expression in shape] for shape in built.shapes]
        assert shapes == [
            [dim if isinstance(dim, int) else known[dim] for dim in tensor.shape]
            for tensor in kernel.written(attributes)
        ]
        grid = [max(extent, 1) for extent in launch.grid(known)]
        grid += [1] * (3 - len(grid))
        assert [expression.value(sizes) for expression in built.grid] == grid
        assert [expression.value(sizes) for expression in built.block] == [launch.block, 1, 1]
        arguments = [argument.expr.value(sizes) for argument in built.arguments]
        assert arguments == list(launch.sizes(known))
    tensorrt, _ = plugin_layer.modules()
    assert {argument.dtype for argument in built.arguments} <= {tensorrt.PluginArgDataType.INT32}
    assert built.shared.value({}) == 0
    assert built.entry == launch.entry
    assert f".entry {built.entry}(" in built.ptx
    macros = ptx.definitions(kernel, attributes, TYPES[float_type])
    assert built.ptx == ptx.compile_ptx(launch, macros, "8.6")


def test_types_and_attributes_reach_the_kernel(registered: None) -> None:
    kernel = KERNELS["ClusterNMS"]
    attributes = {a.name: a.default for a in kernel.attributes}
    texts = {
        plugin_layer.build(kernel, attributes | changed, float_type).ptx
        for changed in ({}, {"metric": "diou"}, {"iou_threshold": 0.7}, {"max_output": 7})
        for float_type in ("FLOAT", "HALF")
    }
    assert len(texts) == 8


def test_truth_values_reach_the_kernel(registered: None) -> None:
    kernel = KERNELS["BatchedNMS"]
    attributes = {a.name: a.default for a in kernel.attributes}
    for changed in ({}, {"class_aware": False}, {"multi_label": True}):
        given = attributes | changed
        built = plugin_layer.build(kernel, given, "FLOAT")
        macros = ptx.definitions(kernel, given, "fp32")
        assert macros["LX_CLASS_AWARE"] == str(int(bool(given["class_aware"])))
        assert macros["LX_MULTI_LABEL"] == str(int(bool(given["multi_label"])))
        assert built.ptx == ptx.compile_ptx(kernel.launch, macros, "8.6")


def test_the_grid_of_the_pairs_covers_them_exactly() -> None:
    grid = KERNELS["PairwiseIoU"].launch.grid
    assert [grid({"N": n, "M": m}) for n, m in ((1, 1), (16, 256), (17, 257), (4096, 4096))] == [
        (1, 1),
        (1, 1),
        (2, 2),
        (16, 256),
    ]


def test_the_page_states_the_limits() -> None:
    page = (ROOT / "docs" / "plugins.md").read_text()
    rows = [line for line in page.splitlines() if ".cuh`" in line and line.startswith("|")]
    limits: dict[str, set[tuple[str, str]]] = {}
    for kernel in KERNELS.values():
        found = {(dim, f"{limit:,}") for dim, limit in kernel.launch.largest.items()}
        limits.setdefault(kernel.launch.source, set()).update(found)
    for source, wanted in limits.items():
        (row,) = [line for line in rows if f"`{source}`" in line]
        assert set(re.findall(r"(\w+) up to ([\d,]*\d)", row)) == wanted
        assert row.endswith("| all |") == (not wanted)


@pytest.mark.parametrize("size", [32768, 32769])
def test_a_node_beyond_the_kernel_asks_for_no_plugin(size: int) -> None:
    ranges = {"N": dataclasses.replace(Variant.make(CATALOG["nms"]).ranges["N"], max=size)}
    model = onnx.load_from_string(onnx_bytes(Variant.make(CATALOG["nms"], ranges=ranges)))
    (node,), (function,) = model.graph.node, model.functions
    plugin = {"plugin_namespace", "plugin_version", "aot"}
    asked = plugin if size == 32768 else set()
    assert {a.name for a in node.attribute} & plugin == asked
    assert set(function.attribute) & plugin == asked


def test_registered_before_the_parser_looks_and_never_with_tensorrt_rtx(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = []

    class RefusedError(Exception):
        pass

    def parser(*_: object) -> None:
        events.append("parser")
        raise RefusedError

    fake = SimpleNamespace(
        ILogger=object,
        Builder=lambda log: SimpleNamespace(create_network=lambda flags: None),
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=0),
        OnnxParser=parser,
    )
    for name in ("tensorrt", "tensorrt.plugin", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, fake)
    monkeypatch.setattr(plugins, "register", lambda *modules: events.append("plugins"))
    for builder in ("tensorrt", "rtx"):
        with pytest.raises(RefusedError):
            engine.build(b"", {}, {}, builder)
    assert events == ["plugins", "parser", "parser"]


def test_without_nvrtc_nothing_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(LossexportError, match=r"NVRTC cannot be loaded: .*: pip install 'cuda"):
        plugins.register(ModuleType("tensorrt"), ModuleType("tensorrt.plugin"))


def test_without_a_capability_the_kernel_is_for_the_device_at_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    monkeypatch.setattr(plugins, "capability_at_hand", lambda: "9.5")
    monkeypatch.setattr(
        ptx, "compile_ptx", lambda launch, macros, capability: asked.append(capability)
    )
    kernel = KERNELS["NMS"]
    tensor = SimpleNamespace(shape_expr=[7, 4], dtype=SimpleNamespace(name="FLOAT"))
    layer: Any = SimpleNamespace(
        KernelLaunchParams=SimpleNamespace, SymIntExprs=lambda count: [None] * count, SymInt32=int
    )
    attributes = [attribute.default for attribute in kernel.attributes]
    for capability in (None, "8.6"):
        plugin = plugins._Plugin(kernel, ModuleType("tensorrt"), layer, capability)
        entry, _, params, extra = plugin._implement(tensor, tensor, *attributes, (), 0)
        assert (entry, extra, params.grid_x, params.block_x) == ("nms", [7], 1, 1024)
    assert asked == ["9.0", "8.6"]
