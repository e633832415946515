"""Numbers under weights are those of a set whose images are truly there so many times."""

from pathlib import Path

import numpy as np
import pytest

from lossexport import formats
from lossexport.bootstrap.coco import Coco, Outcome
from lossexport.bootstrap.scored import Sample
from lossexport.boxes.gates import value_of
from lossexport.errors import LossexportError
from lossexport.runtime import weighted as native
from lossexport.scoring.protocol import RECALLS
from lossexport.scoring.summary import INTERVALS, summarize
from tests.bootstrap.helpers import copied_set, data_of, draws, random_set, run_of, same
from tests.boxes.helpers import coco, found, pycocotools, truth


@pytest.fixture(params=["library", "NumPy"])
def counted_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "NumPy":
        monkeypatch.setattr(native, "available", lambda: False)
    elif not native.available():
        pytest.skip("no library of native kernels")
    return str(request.param)


@pytest.mark.usefixtures("counted_by")
@pytest.mark.parametrize("seed", range(6))
def test_the_numbers_are_those_of_pycocotools_on_copies(tmp_path: Path, seed: int) -> None:
    references, detections = random_set(seed)
    run = run_of(data_of(tmp_path, references, detections))
    weights = draws(12, 5, seed)
    numbers, _ = Coco(Outcome.of(run.results))(weights)
    for draw, weight in enumerate(weights):
        theirs = pycocotools(*copied_set(references, detections, weight))
        ours = {name: values[draw] for name, values in numbers.items()}
        assert same(list(ours.values()), list(theirs.values())), (ours, theirs)


@pytest.mark.usefixtures("counted_by")
@pytest.mark.parametrize("seed", range(3))
def test_every_number_is_that_of_the_copies(tmp_path: Path, seed: int) -> None:
    references, detections = random_set(seed + 10)
    sample = Sample(run_of(data_of(tmp_path, references, detections)).results)
    weights = draws(12, 4, seed)
    numbers, categories = sample.numbers(weights)
    assert set(numbers) == set(INTERVALS)
    for draw, weight in enumerate(weights):
        summary = summarize(run_of(data_of(tmp_path, *copied_set(references, detections, weight))))
        for name, values in numbers.items():
            value = value_of(summary, name)
            assert same(values[draw], np.nan if value is None else value), (name, value)
        for ours, row in zip(categories[draw], summary["categories"], strict=True):
            assert same(ours, [row["AP"], row["AP50"], row["AP75"]])


@pytest.mark.usefixtures("counted_by")
def test_weights_of_one_change_nothing(shared: Path) -> None:
    folder = shared / "data/coco_val2014_crowd"
    run = run_of(formats.read(folder / "dets_synthetic.json", folder / "gt.json", "coco"))
    numbers, _ = Coco(Outcome.of(run.results))(np.ones((1, 100), np.int32))
    assert same([values[0] for values in numbers.values()], list(run.coco.values.values()))


def test_a_block_of_equal_scores_comes_once_for_each_copy(tmp_path: Path) -> None:
    """Right, wrong, right, wrong: not both right ones first."""
    references = coco([truth(1, 1, 0, 0, 10, 10)], images=(1, 2))
    detections = [found(1, 1, 0.5, 0, 0, 10, 10), found(1, 1, 0.5, 90, 90, 5, 5)]
    run = run_of(data_of(tmp_path, references, detections))
    numbers, _ = Coco(Outcome.of(run.results))(np.array([[2, 0]], np.int32))
    # Precision 1 up to recall 0.5 (51 of 101 recalls), then 2 of 3.
    assert numbers["AP50"][0] == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-12)


@pytest.mark.skipif(not native.available(), reason="no library of native kernels")
def test_neither_threads_nor_blocks_change_a_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = Sample(run_of(data_of(tmp_path, *random_set(3, 40))).results)
    weights = draws(40, 70, 0)
    whole, categories = sample.numbers(weights)
    for threads in (1, 3):
        monkeypatch.setattr("lossexport.runtime.binding.most_threads", lambda n=threads: n)
        parts = [sample.numbers(block) for block in (weights[:7], weights[7:])]
        for name, values in whole.items():
            joined = np.concatenate([part[0][name] for part in parts])
            assert joined.tobytes() == values.tobytes(), name
        joined = np.concatenate([part[1] for part in parts])
        assert joined.tobytes() == categories.tobytes()


@pytest.mark.skipif(not native.available(), reason="no library of native kernels")
def test_the_library_refuses_images_that_have_no_weight(tmp_path: Path) -> None:
    run = run_of(data_of(tmp_path, *random_set(1)))
    ranked = Outcome.of(run.results).ranked()
    with pytest.raises(LossexportError, match="weighted_coco: a place is out of range"):
        ranked.numbers(np.ones((1, 3), np.int32), RECALLS)
    one, bit = np.zeros(1, np.int32), np.ones(1, np.uint8)
    with pytest.raises(LossexportError, match="weighted_best: a place is out of range"):
        native.best(np.ones((1, 1), np.int32), np.ones(1), one + 1, bit, bit, one)
