"""An evaluator gives the numbers of `score` on files and of pycocotools, however it is fed."""

import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lossexport
from lossexport import Evaluator
from lossexport.evaluator import state
from lossexport.names import COCO_NUMBERS
from tests.boxes.helpers import Json, coco, found, load, pycocotools, truth

FILES = ("inputs", "notes", "gates", "gate_failures")
"""Keys of a summary that are about files and limits."""


def of_files(detections: Json, references: Json, **options: Any) -> dict[str, Any]:
    """The numbers of `score` on COCO files."""
    with tempfile.TemporaryDirectory() as folder:
        pred, ref = Path(folder, "pred.json"), Path(folder, "ref.json")
        pred.write_text(json.dumps(detections))
        ref.write_text(json.dumps(references))
        summary = lossexport.score(pred, ref, **options)
    summary["settings"].pop("format")
    return {key: value for key, value in summary.items() if key not in FILES}


def feed(evaluator: Evaluator, images: Json, detections: Json, references: Json) -> None:
    """One update of all rows of some images."""
    evaluator.update(
        [row for row in detections if row["image_id"] in images],
        {
            **columns([row for row in references["annotations"] if row["image_id"] in images]),
            "images": dict.fromkeys(images),
        },
    )


def columns(rows: Json) -> dict[str, Any]:
    """Annotations as columns."""
    fields = ("image_id", "category_id", "bbox", "area", "iscrowd", "id")
    return {field: [row[field] for row in rows] for field in fields}


def feed_frame(evaluator: Evaluator, image: Json, detections: Json, references: Json) -> None:
    """The same for an image, by corners; only whole numbers survive that without rounding."""
    rows = [row for row in detections if row["image_id"] == image]
    refs = [row for row in references["annotations"] if row["image_id"] == image]
    variances = [row.get("log_variance") for row in rows]
    evaluator.update_image(
        image,
        corners(rows),
        np.array([row["score"] for row in rows]),
        [row["category_id"] for row in rows],
        corners(refs),
        [row["category_id"] for row in refs],
        ref_iscrowd=[row["iscrowd"] for row in refs],
        ref_area=[row["area"] for row in refs],
        log_variance=[[np.nan] * 4 if v is None else v for v in variances],
    )


def corners(rows: Json) -> Any:
    box = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)
    box[:, 2:] += box[:, :2]
    return box


SPELLINGS: dict[str, Any] = {
    "numbers": [10, 9, 2, -3],
    "text": ["10", "9", "2", "b"],
    "names": ["b10", "a9", "B2", "é"],
    "mixed": ["10", 9, "x", 2],
}
side = st.integers(0, 9)
box = st.tuples(side, side, side, side)
place = st.tuples(st.integers(0, 3), st.integers(0, 1))
area = st.sampled_from([0, 30, 1025, 9217])
reference = st.tuples(place, box, st.sampled_from([0, 0, 1]), area)
variance = st.sampled_from([None, None, [0, 1, -2, 3], [-1.5, 0, 0, 2]])
detection = st.tuples(
    place,
    st.tuples(side, side, st.integers(-1, 9), side),
    st.sampled_from([0.1, 0.5, 0.5, 1]),
    variance,
)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(list(SPELLINGS)),
    st.sampled_from([[1, 2], [2, 1], ["dog", "cat"]]),
    st.lists(reference, max_size=14),
    st.lists(detection, min_size=1, max_size=20),
    st.sampled_from([0.5, 0.5, 0.3, 0.75]),
    st.booleans(),
    st.data(),
)
def test_any_split_order_and_merge(
    spelling: str,
    kinds: Json,
    references: Json,
    detections: Json,
    threshold: float,
    frames: bool,
    data: st.DataObject,
) -> None:
    images = SPELLINGS[spelling]
    gt = coco(
        [
            truth(images[i], kinds[k], *bbox, iscrowd=crowd, area=size)
            for (i, k), bbox, crowd, size in references
        ],
        images=images,
        categories=[(kind, f"kind {kind}") for kind in kinds],
    )
    if not frames:  # annotation ids from -1 on: 0 is one that pycocotools never matches
        for row in gt["annotations"]:
            row["id"] -= 2
    dets = [found(images[i], kinds[k], score, *bbox) for (i, k), bbox, score, _ in detections]
    for row, (*_, values) in zip(dets, detections, strict=True):
        if values:
            row["log_variance"] = values
    wanted = of_files(dets, gt, iou_threshold=threshold)
    if spelling != "mixed":  # pycocotools cannot sort those
        assert {name: wanted[name] for name in COCO_NUMBERS} == pycocotools(gt, dets)

    names = {kind: f"kind {kind}" for kind in kinds}
    shards = [Evaluator(threshold, categories=names) for _ in range(3)]
    order = data.draw(st.permutations(range(4)), label="order")
    for i in order:
        shard = shards[data.draw(st.integers(0, 2), label="shard")]
        if frames:
            feed_frame(shard, images[i], dets, gt)
        else:
            feed(shard, [images[i]], dets, gt)
        if data.draw(st.booleans(), label="match what waits"):
            shard.compute()
    merged = [shards[i] for i in data.draw(st.permutations(range(3)), label="merges")]
    whole = Evaluator.from_bytes(merged[0].to_bytes())
    for shard in merged[1:]:
        whole.merge(shard)
    assert whole.compute() == wanted

    once = Evaluator(threshold, categories=names)
    feed(once, images, dets, gt)
    assert once.compute() == wanted
    if not frames:  # where frames have no annotation ids, so had these
        assert whole.to_bytes() == once.to_bytes()
    assert Evaluator.from_bytes(whole.to_bytes()).to_bytes() == whole.to_bytes()


def scene(images: int, seed: int = 0) -> tuple[Json, Json]:
    """Detections around references, with few different scores."""
    rng = np.random.default_rng(seed)
    annotations, detections = [], []
    for image in range(images):
        for _ in range(6):
            corner, size = rng.uniform(0, 500, 2), rng.uniform(5, 150, 2)
            kind = int(rng.integers(1, 4))
            annotations.append(truth(image, kind, *corner, *size))
            for _ in range(2):
                shifted = [*(corner + rng.normal(0, 6, 2)), *(size * rng.uniform(0.8, 1.2, 2))]
                row = found(image, kind, round(float(rng.random()), 1), *shifted)
                detections.append({**row, "log_variance": rng.normal(1, 1, 4).tolist()})
    kinds = [(1, "one"), (2, "two"), (3, "three"), (4, "none")]
    return detections, coco(annotations, images=range(images), categories=kinds)


@pytest.mark.parametrize("backend", ["native", "ort"])
def test_a_larger_set(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    """More images than wait together, rows of files in another order, on each backend."""
    detections, references = scene(60)
    rng = np.random.default_rng(1)
    shuffled = sorted(detections, key=lambda row: (row["image_id"] * 7919) % 60)
    wanted = of_files(shuffled, references, backend=backend)
    assert wanted["backend"] == backend
    assert 0.2 < wanted["AP"] < 0.9
    assert wanted["quality"]["spearman"] is not None
    names = {row["id"]: row["name"] for row in references["categories"]}
    for boxes_at_once, candidates in ((1 << 14, 1 << 20), (100, 1 << 20), (1 << 14, 400), (0, 0)):
        monkeypatch.setattr(state, "BOXES_AT_ONCE", boxes_at_once)
        monkeypatch.setattr(state, "CANDIDATES_AT_ONCE", candidates)
        evaluator = Evaluator(backend=backend, categories=names)
        for part in np.array_split(rng.permutation(60), 7):
            feed(evaluator, part.tolist(), detections, references)
        assert evaluator.compute() == wanted
        assert len(evaluator) == 60


def test_a_real_set(shared: Path) -> None:
    """Columns of 40 parts of a detector's results on VOC, in 4 shards."""
    folder = shared / "data/voc2007_half"
    pred, ref = folder / "dets_yolo_v3.json.gz", folder / "gt.json"
    wanted = lossexport.score(pred, ref)
    detections, references = load(pred), load(ref)
    rng = np.random.default_rng(0)
    part = {row["id"]: int(rng.integers(40)) for row in references["images"]}
    shards = [Evaluator(categories=references["categories"]) for _ in range(4)]
    preds: list[Json] = [[] for _ in range(40)]
    refs: list[Json] = [[] for _ in range(40)]
    for rows, parts in ((detections, preds), (references["annotations"], refs)):
        for row in rows:
            parts[part[row["image_id"]]].append(row)
    for i in rng.permutation(40):
        images = dict.fromkeys(image for image, at in part.items() if at == i)
        shards[i % 4].update(preds[i], {**columns(refs[i]), "images": images})
    whole = Evaluator.from_bytes(shards[3].to_bytes())
    for shard in shards[:3]:
        whole.merge(shard)
    result = whole.compute()
    assert result["counts"]["predictions"] == 43_973
    for name in set(result) - {"settings"}:
        assert result[name] == wanted[name], name


def test_without_given_categories() -> None:
    """Categories appear as they are seen, in another order in each shard."""
    detections, references = scene(12)
    references["categories"] = references["categories"][:3]
    wanted = of_files(detections, references)
    shards = [Evaluator(), Evaluator()]
    for image in range(12):
        feed(shards[image % 2], [image], detections, references)
    first, second = (Evaluator.from_bytes(shard.to_bytes()) for shard in shards)
    shards[0].merge(shards[1])
    second.merge(first)
    assert shards[0].to_bytes() == second.to_bytes()
    for row in wanted["categories"]:
        row["name"] = str(row["id"])
    assert shards[0].compute() == second.compute() == wanted


def test_predictions_that_references_do_not_know() -> None:
    """An image and a category without references count as in `score`."""
    detections, references = scene(4)
    strange = [found(77, 1, 0.99, 0, 0, 5, 5), found(1, 62, 0.4, 1, 1, 5, 5)]
    wanted = of_files([*detections, *strange], references)
    evaluator = Evaluator()
    feed(evaluator, [0, 1, 77], [*detections, *strange], references)
    feed(evaluator, [2, 3], [*detections, *strange], references)
    result = evaluator.compute()
    assert result["counts"]["unmatched_predictions"] > 2
    for name in (*COCO_NUMBERS, "precision", "recall", "f1", "best", "iou", "ciou"):
        assert result[name] == wanted[name], name
    assert [row["id"] for row in result["categories"]] == [1, 2, 3, 62]


def test_more_predictions_than_coco_looks_at() -> None:
    """Those beyond the best 100 of an image and category count for precision, not for AP."""
    references = coco([truth(1, 1, 10 * i, 0, 9, 9) for i in range(120)], categories=[(1, "a")])
    detections = [found(i % 2 + 1, 1, i % 7 / 7, 10 * (i // 2), 0, 9, 9) for i in range(260)]
    wanted = of_files(detections, references)
    assert wanted["counts"]["matched"] == 120
    evaluator = Evaluator(categories={1: "a"})
    for image in (2, 1):
        feed_frame(evaluator, image, detections, references)
    assert evaluator.compute() == wanted
    numbers = pycocotools(references, detections)
    assert {name: wanted[name] for name in COCO_NUMBERS} == numbers


def test_nothing_at_all() -> None:
    evaluator = Evaluator()
    empty = evaluator.compute()
    assert empty["AP"] == -1
    assert empty["iou"]["mean"] is None
    assert empty["counts"]["images"] == 0
    evaluator.update([], [])
    evaluator.update_image(5, [], [], [], [], [])
    assert evaluator.compute()["counts"]["images"] == 1
    assert Evaluator.from_bytes(evaluator.to_bytes()).compute() == evaluator.compute()
    evaluator.reset()
    assert evaluator.compute() == empty


def test_text_ids_are_ordered_as_text() -> None:
    """As in pycocotools, if the references write every id as text: "10" < "2" < "9"."""
    box = np.array([[10.0, 10, 60, 60]])
    away = np.array([[300.0, 10, 350, 60]])
    numbers: dict[str, set[float]] = {}
    casts: dict[str, Any] = {"text": str, "number": int, "mixed": lambda i: i if i == 2 else str(i)}
    for spelled, cast in casts.items():
        evaluators = [Evaluator() for _ in range(3)]
        for evaluator, image, at in zip(evaluators, (10, 9, 2), (box, away, box), strict=True):
            evaluator.update_image(cast(image), at, [0.5], [1], box, [1])
        for order in itertools.permutations(evaluators):
            whole = Evaluator()
            for part in order:
                whole.merge(part)
            numbers.setdefault(spelled, set()).add(whole.compute()["AP"])
    assert list(numbers["text"]) == pytest.approx([0.6633663366336634], abs=1e-15)
    assert numbers["number"] == numbers["mixed"]
    assert list(numbers["number"]) == pytest.approx([0.5544554455445545], abs=1e-15)


def test_ids_are_text_or_not_however_they_come() -> None:
    """An id counts as it is listed or, if it is not, as in its column; one number is enough."""
    box = [[10.0, 10, 50, 50]]

    def row(image: Any, kind: Any) -> dict[str, Any]:
        return {"image_id": [image], "category_id": [kind], "bbox": box, "score": [0.5]}

    def both(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
        return {name: first[name] + second[name] for name in first}

    for images, kinds, listed in (
        (("10", "9"), ("x", "y"), {}),
        (("10", 9), ("x", "y"), {}),
        (("10", "9"), ("10", 9), {}),
        ((10, "9"), ("10", "9"), {"10": None}),
        (("10", 9), ("10", "9"), {"10": None}),
        (("10", "9"), ("10", "9"), {10: None}),
    ):
        first, second = (row(*pair) for pair in zip(images, kinds, strict=True))
        once, parts = Evaluator(), Evaluator()
        once.update(both(first, second), {**both(first, second), "images": listed})
        parts.update(second, second)
        parts.update(first, {**first, "images": listed})
        assert once.to_bytes() == parts.to_bytes()
        assert once.compute() == parts.compute()
        order = [kind["id"] for kind in once.compute()["categories"]]
        assert order == ([9, 10] if 9 in kinds else ["x", "y"] if "x" in kinds else [10, 9])
    frames, rows = Evaluator(), Evaluator()
    frames.update_image(1, box * 2, [0.5] * 2, ["b", 1], box * 2, ["b", 1])
    frames.update_image(2, box, [0.5], ["10"], box, ["10"])
    rows.update(both(both(row(1, "b"), row(1, 1)), row(2, "10")), [])
    assert [kind["id"] for kind in frames.compute()["categories"]] == [1, 10, "b"]
    assert [kind["id"] for kind in rows.compute()["categories"]] == [1, 10, "b"]


def test_reset_keeps_the_settings() -> None:
    evaluator = Evaluator(0.75, categories=["b", "a"])
    evaluator.update_image(1, [[0, 0, 1, 1]], [0.5], ["a"], [], [])
    evaluator.reset()
    assert len(evaluator) == 0
    result = evaluator.compute()
    assert result["settings"] == {"iou_threshold": 0.75}
    assert [row["id"] for row in result["categories"]] == ["a", "b"]
    assert repr(evaluator) == "<Evaluator at IoU 0.75: 0 images, 0 predictions, 0 references>"


def test_page_of_notebooks() -> None:
    evaluator = Evaluator()
    evaluator.update_image(1, [[0, 0, 10, 10]], [0.5], [1], [[0, 0, 10, 10]], [1])
    page = evaluator._repr_html_()
    assert "1 image, 1 prediction, 1 reference" in page
    assert "<tr><th>AP50</th><td>1.0000</td></tr>" in page
    assert "<tr><th>APl</th><td>-</td></tr>" in page
    assert "<tr><th>CIoU, mean</th><td>1.0000</td></tr>" in page
