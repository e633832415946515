"""Large inputs: little memory beyond the columns, little time."""

import json
import time
import tracemalloc
from pathlib import Path

from lossexport import formats
from lossexport.scoring import score
from tests.boxes.helpers import coco, found, truth

MB = 1 << 20
COLUMNS = 4 + 4 + 4 * 8 + 8
"""Bytes of a prediction: image, category, box, score."""


def peak_of_reading(pred: Path, ref: Path) -> float:
    tracemalloc.start()
    try:
        data = formats.read(pred, ref, "coco")
        assert len(data.predictions)
        return tracemalloc.get_traced_memory()[1] / MB
    finally:
        tracemalloc.stop()


def test_reading_is_streamed(tmp_path: Path) -> None:
    ref = tmp_path / "ref.json"
    ref.write_text(json.dumps(coco([truth(1, 1, 0, 0, 5, 5)])))
    peaks = []
    for count in (50_000, 150_000):
        pred = tmp_path / f"{count}.json"
        row = json.dumps({**found(1, 1, 0.123456, 10.25, 20.5, 30.75, 40.125), "note": "x" * 60})
        pred.write_text("[" + ",".join([row] * count) + "]")
        peaks.append(peak_of_reading(pred, ref))
    # The text grows by 18 MB and json.load's objects by 100 MB; here only columns may grow, of
    # which one exists twice while its blocks are joined.
    assert peaks[0] < 25
    assert peaks[1] - peaks[0] < 2.2 * 100_000 * COLUMNS / MB


def test_the_large_set_in_time_and_memory(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data/voc2007_half"
    pred, ref = folder / "dets_tiny_yolo_v2.json.gz", folder / "gt.json"
    score(pred, ref, out=tmp_path / "warm")  # the first run imports
    begun = time.perf_counter()
    summary = score(pred, ref, out=tmp_path / "out")
    assert time.perf_counter() - begun < 15
    assert summary["counts"]["predictions"] == 126_700
    assert summary["counts"]["inverted"] == 0
    tracemalloc.start()
    try:
        score(pred, ref, out=tmp_path / "out")
        assert tracemalloc.get_traced_memory()[1] / MB < 100
    finally:
        tracemalloc.stop()


def test_many_equal_boxes_in_one_image(tmp_path: Path) -> None:
    pred, ref = tmp_path / "pred.json", tmp_path / "ref.json"
    pred.write_text(json.dumps([found(1, 1, i / 100, 0, 0, 9, 9) for i in range(100)]))
    ref.write_text(json.dumps(coco([truth(1, 1, 0, 0, 9, 9)] * 6000)))
    score(pred, ref)  # the first run imports
    tracemalloc.start()
    try:
        summary = score(pred, ref)
        # 600,000 pairs of 16 bytes; 40 assignments over all of them at once would be 96 MB.
        assert tracemalloc.get_traced_memory()[1] / MB < 70
    finally:
        tracemalloc.stop()
    assert summary["counts"]["matched"] == 100


def test_inverted_boxes_of_a_real_detector_are_counted(shared: Path) -> None:
    folder = shared / "data/voc2007_half"
    summary = score(folder / "dets_yolo_v3.json.gz", folder / "gt.json")
    assert summary["counts"]["inverted"] == 3
