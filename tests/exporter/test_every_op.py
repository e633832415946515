"""Every op, value and gradient, in every precision: exported, checked, built by TensorRT-RTX."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

import lossexport
from lossexport.catalog import CATALOG
from lossexport.catalog.variant import Variant
from lossexport.exporter import onnx_file
from lossexport.exporter.engine import build
from lossexport.manifest import load_manifest
from lossexport.names import Precision
from lossexport.parity import quick
from tests.conftest import slow
from tests.exporter.conftest import EVERY_OP, exported

# What TensorRT-RTX has no implementation for; it refuses a scatter with a reduction.
REFUSED = {"NonZero", "Unique", "NonMaxSuppression"}

# One op of each way to reach float32 and back, in both types; the others are built in one of the
# two, which differ in nothing but the types of the same casts.
NARROW = ("box_ciou", "ciou_loss", "sigmoid_focal_loss", "diou_nms")


OTHERS = [name for name in CATALOG if name not in NARROW]


def _rest(*values: Any, place: int) -> Any:
    """A case of the slow tests, if its place is a multiple of 4; all run before a release."""
    return pytest.param(*values, marks=pytest.mark.exhaustive if place % 4 else pytest.mark.slow)


def _built() -> list[Any]:
    return [*NARROW, *(_rest(name, place=place) for place, name in enumerate(OTHERS))]


def _narrow() -> list[Any]:
    return [
        *((name, "fp16") for name in NARROW),
        *(slow(name, "bf16") for name in NARROW),
        *(
            _rest(name, ("fp16", "bf16")[place // 4 % 2], place=place + 1)
            for place, name in enumerate(OTHERS)
        ),
    ]


def _axes_of_reductions(model: onnx.ModelProto) -> Iterator[int]:
    """Onnxruntime before 1.32 ignores a negative one if the tensor has no elements."""
    for function in model.functions:
        constants = {
            node.output[0]: onnx.numpy_helper.to_array(node.attribute[0].t)
            for node in function.node
            if node.op_type == "Constant"
        }
        for node in function.node:
            if node.op_type.startswith("Reduce") and len(node.input) > 1:
                yield from constants[node.input[1]].tolist()


@pytest.mark.parametrize("name", EVERY_OP)
def test_value_and_gradient(name: str) -> None:
    # `export` compares every graph with float64 PyTorch before it writes it.
    folder = exported(name)
    manifest = load_manifest(folder)
    assert manifest is not None
    assert len(manifest.artifacts) == (2 if CATALOG[name].gradient else 1)
    for entry in manifest.artifacts:
        path = folder / entry.file
        model = onnx.load(path, load_external_data=False)
        nodes = [node for function in model.functions for node in function.node]
        assert not {node.op_type for node in nodes} & REFUSED, path.name
        scatters = [node for node in nodes if node.op_type.startswith("Scatter")]
        assert min(_axes_of_reductions(model), default=0) >= 0, path.name
        reductions = [a.s for node in scatters for a in node.attribute if a.name == "reduction"]
        assert set(reductions) <= {b"none"}, path.name
        assert {o.name for o in model.graph.output} == {o.name for o in entry.outputs}


@pytest.mark.parametrize("name", _built())
def test_engines_build(name: str, tmp_path: Path) -> None:
    gradient = bool(CATALOG[name].gradient)
    manifest = lossexport.export(name, tmp_path, formats=["engine"], gradient=gradient)
    assert len(manifest.artifacts) == (2 if gradient else 1)
    for entry in manifest.artifacts:
        assert (tmp_path / entry.file).read_bytes()[:4] == b"vtrt"


@pytest.mark.parametrize(("name", "precision"), _narrow())
def test_narrow_boundaries_build(name: str, precision: Precision, tmp_path: Path) -> None:
    op = CATALOG[name]
    variant = Variant.make(op, precision=precision, gradient=bool(op.gradient))
    model = onnx_file.onnx_bytes(variant)
    quick.check(variant, model)
    shapes = {tensor.name: variant.shape(tensor) for tensor in op.inputs}
    assert build(model, shapes, variant.ranges)[:4] == b"vtrt"
