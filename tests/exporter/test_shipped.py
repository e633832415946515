"""The artifacts inside the package are what the recipe gives today."""

from importlib.metadata import version
from pathlib import Path

import pytest

import lossexport
from lossexport.artifact import load_manifest

SHIPPED = Path(lossexport.__file__).parent / "artifacts"


def test_shipped_artifacts_are_verified() -> None:
    manifest = load_manifest(SHIPPED)
    assert manifest is not None
    assert len(manifest.artifacts) == 8
    for entry in manifest.artifacts:
        assert entry.parity is not None
        status = {result.backend: result.status for result in entry.parity}
        assert status["ort-cpu"] == "passed"


def test_shipped_artifacts_are_reproducible(tmp_path: Path) -> None:
    manifest = load_manifest(SHIPPED)
    assert manifest is not None
    made_with = manifest.generator
    if version("torch").split("+")[0] != made_with["torch"].split("+")[0]:
        pytest.skip(f"made with torch {made_with['torch']}: other versions give other bytes")
    fresh = lossexport.export(None, tmp_path, recipe_file="box-quality", formats=["onnx"])
    assert {a.file: a.sha256 for a in fresh.artifacts} == {
        a.file: a.sha256 for a in manifest.artifacts
    }
