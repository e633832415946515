"""The example of docs/error_bars.md."""

import shutil
from pathlib import Path

import pytest

from tests.test_docs import DOCS, blocks


def test_the_example_runs(
    shared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shared / "data/coco_val2017_100"
    for name, source in (
        ("gt.json", "gt.json"),
        ("old.json", "dets_yolact_resnet50.json"),
        ("new.json", "dets_yolact_base.json"),
    ):
        shutil.copy(folder / source, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    (code,) = blocks(DOCS / "error_bars.md", "python")
    exec(code, {})
    difference, lower, upper, better = map(float, capsys.readouterr().out.split())
    assert lower < difference < upper
    assert difference == pytest.approx(0.0398, abs=1e-4)
    assert better > 0.9
