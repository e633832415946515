"""Flat names of the numbers of a summary."""

from pathlib import Path

import lossexport
from tests.boxes.helpers import load
from tests.scoring.causes.sets import REAL


def test_flat_numbers(shared: Path) -> None:
    pred, ref = (shared / "data" / part for part in REAL["crowd"])
    summary = lossexport.score(pred, ref, slices={"first": [summary_image(ref)]}, explain=True)
    found = lossexport.flat(summary, categories=True)
    assert all(type(value) in (int, float) for value in found.values())
    assert found["score/AP"] == summary["AP"]
    assert found["score/counts/matched"] == summary["counts"]["matched"]
    assert found["score/iou/mean"] == summary["iou"]["mean"]
    assert found["score/dAP/missed"] == summary["dAP"]["missed"]
    assert found["score/slice/slice/first/counts/images"] == 1
    row = next(row for row in summary["categories"] if row["name"] == "person")
    assert found["score/category/person/lrp/score"] == row["lrp"]["score"]
    assert "score/category/person/id" not in found
    # Undefined: no detection has a log variance, and the slice has no large box.
    assert "score/quality/mean" not in found
    undefined = {row["name"] for row in summary["categories"] if row["AP"] == -1}
    assert undefined
    assert not {f"score/category/{name}/AP" for name in undefined} & set(found)
    assert not any("schema" in name or "settings" in name for name in found)
    assert set(lossexport.flat(summary, "")) < {name.removeprefix("score/") for name in found}


def summary_image(ref: Path) -> int:
    return int(load(ref)["images"][0]["id"])


def test_a_comparison_too(shared: Path) -> None:
    pred = shared / "data" / REAL["yolox_nano"][0]
    found = lossexport.flat(lossexport.compare(pred, pred), "compare")
    assert found["compare/kept"] == 1
