"""An evaluator of oriented boxes gives the numbers of `score`, in whatever parts they come."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from lossexport import Evaluator, distributed, score
from lossexport.distributed import pieces, run
from lossexport.errors import LossexportError
from lossexport.evaluator import state
from tests.boxes import oriented as sets
from tests.distributed.test_pieces import Here

Rows = list[dict[str, Any]]


def rows_of(seed: int) -> tuple[Rows, Rows]:
    references, results = sets.draw(seed)
    return results, references["annotations"]


def on(image: int, rows: Rows) -> Rows:
    return [row for row in rows if row["image_id"] == image]


def feed(evaluator: Evaluator, images: Any, results: Rows, references: Rows) -> None:
    for image in images:
        evaluator.update(on(image, results), on(image, references))


@pytest.mark.parametrize("at_once", [3, 1 << 14])
def test_the_numbers_are_those_of_score(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(state, "BOXES_AT_ONCE", at_once)
    results, references = rows_of(4)
    expected = score(results, references)
    assert expected["settings"].pop("format") == "memory"
    assert expected["settings"]["boxes"] == "oriented"
    assert expected["counts"]["matched"] > 20
    images = sorted({row["image_id"] for row in references + results})
    random.Random(0).shuffle(images)
    first, second = Evaluator(), Evaluator()
    first.update([], [])
    feed(first, images[:3], results, references)
    feed(second, images[3:], results, references)
    data = second.to_bytes()
    assert Evaluator.from_bytes(data).to_bytes() == data
    first.merge(Evaluator.from_bytes(data))
    computed = first.compute()
    assert computed == {name: expected[name] for name in computed}
    assert {"iou", "probiou"} < computed.keys()
    whole = Evaluator()
    feed(whole, sorted(images), results, references)
    assert whole.to_bytes() == first.to_bytes()
    assert "ProbIoU, mean" in first._repr_html_()


def test_columns_of_arrays() -> None:
    rbox = np.array([[10, 10, 8, 4, 0.5]])
    evaluator = Evaluator()
    one = {"image_id": [1], "category_id": [1], "rbox": rbox}
    evaluator.update({**one, "score": [0.9]}, one)
    assert evaluator.compute()["iou"]["mean"] == 1
    none = {"image_id": [], "category_id": [], "rbox": np.empty((0, 5))}
    evaluator.update({**none, "score": []}, {**one, "image_id": [2]})
    assert evaluator.compute()["recall"] == 0.5


def test_images_one_by_one() -> None:
    """As in whole batches; an image without detections or references is of either kind."""
    rng = np.random.default_rng(5)
    whole, single = Evaluator(), Evaluator()
    for image in range(30):
        sizes = int(rng.integers(0, 6)), int(rng.integers(0, 4))
        boxes, refs = (rng.uniform(4, 5, (size, 5)) * [1, 1, 1, 1, 0.1] for size in sizes)
        labels = [rng.integers(1, 3, size) for size in sizes]
        scores, crowd = rng.random(sizes[0]), (rng.random(sizes[1]) < 0.2).astype(int)
        given = [boxes, scores, labels[0], refs, labels[1]]
        single.update_image(image, *(x if len(x) else [] for x in given), ref_iscrowd=crowd)
        ids = [np.full(size, image) for size in sizes]
        whole.update(
            {"image_id": ids[0], "category_id": labels[0], "rbox": boxes, "score": scores},
            {"image_id": ids[1], "category_id": labels[1], "rbox": refs, "iscrowd": crowd},
        )
        if not len(boxes) + len(refs):  # no row names it
            whole.update_image(image, [], [], [], [], [])
    assert single.compute() == whole.compute()
    assert single.compute()["counts"]["matched"] > 9


BOX = [5, 5, 4, 2, 0.5]


@pytest.mark.parametrize(
    ("given", "more", "why"),
    [
        (([BOX], [[0, 0, 1, 1]]), {}, "image 1: boxes are [n,5], and ref_boxes are [m,4]: give"),
        (([[5, 5, 4, 2, 90]], []), {}, "image 1: boxes[0][4] is 90.0: an angle is in radians, "),
        (([BOX], [[5, 5, -4, 2, 0]]), {}, "image 1: ref_boxes[0][2] is -4.0: a reference must n"),
        (([[5, 5, 4, np.nan, 0]], []), {}, "image 1: boxes[0][3] is nan: must be a finite number"),
        (([BOX], []), {"log_variance": [[0] * 4]}, "image 1: log_variance is that of x1, y1, x2"),
    ],
)
def test_one_image_is_checked(
    given: tuple[list[list[float]], list[list[float]]], more: dict[str, object], why: str
) -> None:
    boxes, refs = given
    evaluator = Evaluator()
    with pytest.raises(LossexportError) as caught:
        evaluator.update_image(1, boxes, [0.5], [1], refs, [1] * len(refs), **more)
    assert str(caught.value).startswith(why)
    assert len(evaluator) == 0


def test_a_mixture_is_refused() -> None:
    oriented = {"image_id": 1, "category_id": 1, "rbox": [10, 10, 8, 4, 0.5], "score": 0.5}
    plain = {"image_id": 2, "category_id": 1, "bbox": [10, 10, 8, 4], "score": 0.5}
    evaluator = Evaluator()
    with pytest.raises(LossexportError) as caught:
        evaluator.update([oriented], [plain])
    assert str(caught.value) == (
        "predictions: the boxes are rbox, and those of references are bbox: give both as rbox, or "
        "both as bbox alone"
    )
    evaluator.update([oriented], [oriented])
    before = evaluator.to_bytes()
    why = "boxes are not oriented, and those before are oriented (rbox): an evaluator takes one of"
    other = Evaluator()
    other.update([plain], [plain])
    with pytest.raises(LossexportError) as caught:
        evaluator.update([plain], [plain])
    assert str(caught.value) == f"{why} both"
    with pytest.raises(LossexportError) as caught:
        evaluator.update_image(2, [[0, 0, 1, 1]], [1], [1], [], [])
    assert str(caught.value) == f"{why} both"
    with pytest.raises(LossexportError) as caught:
        evaluator.merge(other)
    assert str(caught.value) == f"{why} both"
    assert evaluator.to_bytes() == before


def test_a_cluster_scores_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import nullcontext

    monkeypatch.setattr(run, "connected", lambda address, workers: nullcontext(Here()))
    monkeypatch.setattr(pieces, "ROWS", 20)
    results, references = rows_of(4)
    files = tmp_path / "dets.parquet", tmp_path / "gt.parquet"
    for file, rows in zip(files, (results, references), strict=True):
        parquet.write_table(pa.Table.from_pylist(rows), file, row_group_size=30)
    one, many = score(*files), distributed.score(*files)
    for name in ("inputs", "notes"):
        del one[name], many[name]
    assert many == one
    plain = [{**row, "bbox": row["obb"][:4]} for row in references]
    for row in plain:
        del row["obb"]
    parquet.write_table(pa.Table.from_pylist(plain), files[1])
    with pytest.raises(LossexportError) as caught:
        distributed.score(*files)
    assert str(caught.value) == (
        "predictions: the boxes are rbox, and those of references are bbox: give both as rbox, or "
        "both as bbox alone"
    )
