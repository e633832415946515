"""Ops of several kernels: a function that is a chain of nodes, each with a body and a plugin."""

import functools
import inspect
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from lossexport import ops
from lossexport.catalog import CATALOG
from lossexport.catalog.variant import Variant
from lossexport.exporter import engine
from lossexport.exporter.onnx_file import onnx_bytes
from lossexport.kernels import kernels
from lossexport.names import Precision
from lossexport.runtime import load
from lossexport.runtime.onnx_guard import check_model
from lossexport.wiring.attach import attach
from tests.wiring.toy import IMAGES, OUTPUT, arguments, toy

# On one worker, so that every graph is exported once.
pytestmark = pytest.mark.xdist_group("stages")

STAGED = [name for name, op in CATALOG.items() if op.stages]
PLUGIN = {"plugin_namespace": b"lossexport", "plugin_version": b"1", "aot": 1}


@functools.cache
def exported(name: str, gradient: bool, precision: Precision = "fp32") -> bytes:
    return onnx_bytes(Variant.make(CATALOG[name], precision=precision, gradient=gradient))


def attributes(node: onnx.NodeProto) -> dict[str, object]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("name", STAGED)
def test_the_plugins_stand_at_the_stages(name: str, gradient: bool) -> None:
    data = exported(name, gradient)
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    check_model(data, name)
    *stages, outer = model.functions
    (node,) = model.graph.node
    assert node.op_type == outer.name
    assert not PLUGIN.keys() & {*attributes(node), *outer.attribute}
    wanted = kernels(CATALOG[name], gradient)
    assert [function.name for function in stages] == [kernel.name for kernel in wanted]
    assert [part.op_type for part in outer.node] == [kernel.name for kernel in wanted]
    for part, function, kernel in zip(outer.node, stages, wanted, strict=True):
        assert list(part.input) == list(function.input) == [t.name for t in kernel.inputs]
        assert list(part.output) == list(function.output) == [t.name for t in kernel.outputs]
        given = attributes(part)
        assert {key: given[key] for key in PLUGIN} == PLUGIN
        assert set(given) == {a.name for a in kernel.attributes} | set(PLUGIN)
        assert set(function.attribute) == set(given)


@pytest.mark.parametrize("name", STAGED)
def test_no_two_functions_name_a_value_alike(name: str) -> None:
    # TensorRT's parser keeps the values of all functions in one place.
    model = onnx.load_from_string(exported(name, True))
    seen: set[str] = set()
    for function in model.functions:
        inner = {value for node in function.node for value in node.output} - set(function.output)
        if function.name != model.graph.node[0].op_type:
            assert not inner & seen
            seen |= inner


def test_the_same_bytes_every_time() -> None:
    again = inspect.unwrap(onnx_bytes)(Variant.make(CATALOG["ghm_r_loss"], gradient=True))
    assert again == exported("ghm_r_loss", True)


def test_a_narrow_loss_is_rounded_behind_its_stage() -> None:
    model = onnx.load_from_string(exported("ap_loss", True, "fp16"))
    outer = model.functions[-1]
    (cast,) = [node for node in outer.node if node.op_type == "Cast"]
    assert attributes(cast) == {"to": onnx.TensorProto.FLOAT16}
    assert (cast.input[0], cast.output[0]) == ("loss.wide", "loss")
    types = {o.name: o.type.tensor_type.elem_type for o in model.graph.output}
    assert types == dict.fromkeys(("loss", "grad_logits"), onnx.TensorProto.FLOAT16)


def test_attached_twice_the_stages_keep_their_attributes(tmp_path: Path) -> None:
    path = toy(tmp_path)
    tensors = {
        "pred": "output[0,:,:4]",
        "target": "output[0,:,4:]",
        "weight": "output[0,:,:4]",
        "bin_count": "output[0,0]",
    }
    more = {"op": "ghm_r_loss", "inputs": tensors}
    attach(**arguments(path, **more, attributes={"bins": 8, "mu": 0.02}))
    first = path.with_name("out.onnx")
    again = path.with_name("again.onnx")
    wide = {"bins": 8, "mu": 0.5}
    attach(**arguments(first, **more, attributes=wide, prefix="wide_") | {"out": again})
    model = onnx.load(again)
    names = [function.name for function in model.functions]
    # The bins differ with mu, their weights and the total do not.
    assert {"GHMRLossCounts_2", "GHMRLossTerms_2", "GHMRLoss_2"} <= set(names)
    assert "GHMRLossWeights_2" not in names
    assert engine.build(again.read_bytes(), {"images": IMAGES.shape}, {})[:4] == b"vtrt"
    found = load(again)(images=IMAGES)
    boxes = torch.tensor(OUTPUT[0], dtype=torch.float64)
    given = (boxes[:, :4], boxes[:, 4:], boxes[:, :4], boxes[0])
    losses = [ops.ghm_r_loss(*given, bins=8, mu=mu)[0].item() for mu in (0.02, 0.5)]
    np.testing.assert_allclose([found["loss"], found["wide_loss"]], losses, rtol=1e-5)
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)
