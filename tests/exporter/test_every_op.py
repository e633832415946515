"""Every op, value and gradient, in every precision: exported, checked, built by TensorRT-RTX."""

from pathlib import Path

import onnx
import pytest

import lossexport
from lossexport.artifact import Manifest
from lossexport.catalog import CATALOG
from lossexport.catalog.spec import Precision

# What TensorRT has no implementation for, or refuses with a reduction.
REFUSED = {"NonZero", "Unique", "NonMaxSuppression", "ScatterElements"}


def check(manifest: Manifest, folder: Path) -> None:
    for entry in manifest.artifacts:
        path = folder / entry.file
        if path.suffix == ".engine":
            assert path.read_bytes()[:4] == b"vtrt"
            continue
        model = onnx.load(path, load_external_data=False)
        types = {node.op_type for function in model.functions for node in function.node}
        assert not types & REFUSED, path.name
        assert {o.name for o in model.graph.output} == {o.name for o in entry.outputs}


@pytest.mark.parametrize("name", CATALOG)
def test_value_and_gradient_build(name: str, tmp_path: Path) -> None:
    # `export` compares every graph with float64 PyTorch before it writes it.
    gradient = bool(CATALOG[name].gradient)
    manifest = lossexport.export(name, tmp_path, formats=["onnx", "engine"], gradient=gradient)
    assert len(manifest.artifacts) == (4 if gradient else 2)
    check(manifest, tmp_path)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("name", CATALOG)
def test_narrow_boundaries_build(name: str, precision: Precision, tmp_path: Path) -> None:
    gradient = bool(CATALOG[name].gradient)
    manifest = lossexport.export(
        name, tmp_path, formats=["onnx", "engine"], gradient=gradient, precision=precision
    )
    check(manifest, tmp_path)
    assert all(f".{precision}." in entry.file for entry in manifest.artifacts)
