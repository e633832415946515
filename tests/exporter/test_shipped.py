"""The artifacts inside the package were verified before they were shipped."""

from pathlib import Path

import lossexport
from lossexport.manifest import load_manifest

SHIPPED = Path(lossexport.__file__).parent / "graphs"


def test_shipped_artifacts_are_verified() -> None:
    manifest = load_manifest(SHIPPED)
    assert manifest is not None
    assert len(manifest.artifacts) == 11
    for entry in manifest.artifacts:
        assert entry.parity is not None
        status = {result.backend: result.status for result in entry.parity}
        assert status["ort-cpu"] == "passed"
