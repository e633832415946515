"""Two COCO files that are read at once: the same boxes, errors and steps as one after the other."""

import json
from pathlib import Path

import numpy as np
import pytest

from lossexport import formats, score
from lossexport.errors import LossexportError
from lossexport.formats import beside
from lossexport.runtime import binding, rows

pytestmark = pytest.mark.skipif(not rows.available(), reason="needs the native kernels")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    box = rng.uniform(1, 90, (60, 4)).round(2).tolist()
    truth = {
        "images": [{"id": i} for i in range(6)],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [
            {"id": i + 1, "image_id": i % 6, "category_id": 1, "bbox": b, "iscrowd": 0}
            for i, b in enumerate(box)
        ],
    }
    found = [
        {"image_id": i % 6, "category_id": 1, "bbox": b, "score": i / 60} for i, b in enumerate(box)
    ]
    pred, ref = tmp_path / "dets.json", tmp_path / "gt.json"
    pred.write_text(json.dumps(found))
    ref.write_text(json.dumps(truth))
    return pred, ref


@pytest.fixture(params=[True, False], ids=["at once", "in turn"])
def at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(beside, "worth_while", lambda *_: request.param)
    return bool(request.param)


@pytest.mark.usefixtures("at_once")
def test_boxes_and_steps(files: tuple[Path, Path]) -> None:
    steps: list[str] = []

    def tell(step: str, part: float) -> None:
        assert 0 <= part <= 1
        if step not in steps[-1:]:
            steps.append(step)

    summary = score(*files, progress=tell)
    assert summary["counts"]["matched"] == 60
    assert summary["AP"] == pytest.approx(1)
    assert steps[:3] == ["reading references", "reading predictions", "matching"]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("broken", "named"), [((0,), 0), ((1,), 1), ((0, 1), 1)])
def test_the_error_of_the_references_comes_first(
    files: tuple[Path, Path], broken: tuple[int, ...], named: int
) -> None:
    for i in broken:
        files[i].write_text(files[i].read_text()[:-30])
    with pytest.raises(LossexportError, match=f"^{files[named]}: the file ends early"):
        formats.read(*files, "coco")


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("at", ["reading references", "reading predictions"])
def test_an_exception_of_the_progress_ends_the_run(files: tuple[Path, Path], at: str) -> None:
    def tell(step: str, _: float) -> None:
        if step == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(*files, progress=tell)


def test_one_thread_reads_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "most_threads", lambda: 1)
    assert not beside.worth_while("coco", "coco")
    monkeypatch.setattr(binding, "most_threads", lambda: 2)
    assert not beside.worth_while("coco", "yolo")
